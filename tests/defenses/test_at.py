"""Adversarial training in one step: what is attacked, how, and what the terms are."""

from dataclasses import replace

import pytest
import torch
from small import Small, assert_same, images, steps
from tiny_nets import samples, whitened
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.attacks.pgd import fgsm, pgd
from touchstone.defenses.at import Adversarial, AdversarialGCE, AdversarialPC
from touchstone.defenses.gce import GuidedComplementEntropy
from touchstone.defenses.pc import ProbabilisticallyCompact
from touchstone.query import Query
from touchstone.rng import SampleRng
from touchstone.threat import UNBOUNDED

Y = torch.tensor([0, 3, 1, 2, 0, 2])
PGD = {"norm": "linf", "eps": 0.1, "attack_steps": 3, "step_size": 0.04}
FGSM = {"norm": "linf", "eps": 0.1, "attack_steps": 1, "step_size": 1.0, "relative": True, "random_start": False}


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_madry_trains_on_the_pgd_version_alone(norm: str) -> None:
    model, x = Small(9, 7, 4), images(6)
    (step,) = steps(Adversarial(**{**PGD, "norm": norm}), model, (x, Y), seed=5)
    z = pgd(model, x, Y, norm=norm, eps=0.1, rng=5, steps=3, step_size=0.04)
    assert list(step.terms) == ["adversarial_ce"]
    assert_same(step.loss, F.cross_entropy(model(z), Y), model)


def test_fgsm_mix_adds_both_terms() -> None:
    model, x = Small(9, 7, 4), images(6)
    (step,) = steps(Adversarial(**FGSM, clean=0.25, adversarial=0.75), model, (x, Y))
    z = fgsm(model, x, Y, norm="linf", eps=0.1, rng=0)
    clean, adversarial = F.cross_entropy(model(x), Y), F.cross_entropy(model(z), Y)
    assert adversarial > clean
    torch.testing.assert_close(step.terms["clean_ce"], 0.25 * clean)
    assert_same(step.loss, 0.25 * clean + 0.75 * adversarial, model)


def test_without_a_box_the_perturbation_leaves_it() -> None:
    model = Small(9, 7, 4)
    x = images(6).round()  # zeros and ones: the box is in the way of half of the signs
    losses = {}
    for box in (True, False):
        (step,) = steps(Adversarial(**FGSM, box=box), model, (x, Y))
        losses[box] = step.loss
    z = fgsm(Query(model, bounds=UNBOUNDED), x, Y, norm="linf", eps=0.1, rng=0)
    assert z.min() < 0
    torch.testing.assert_close(losses[False], F.cross_entropy(model(z), Y))
    assert losses[True] < losses[False]


@pytest.mark.parametrize("clean", [0.0, 0.5])
@pytest.mark.parametrize(
    ("with_at", "without"),
    [
        (Adversarial, lambda logits, y: F.cross_entropy(logits, y, reduction="none")),
        (AdversarialGCE, GuidedComplementEntropy().loss),
        (lambda **c: AdversarialPC(variant="coded", **c), ProbabilisticallyCompact("coded").loss),
    ],
)
def test_at_radius_zero_it_is_the_plain_objective(with_at: type, without: object, clean: float) -> None:
    model, x = Small(9, 7, 4), images(6)
    defense = with_at(**{**PGD, "eps": 0.0}, clean=clean, adversarial=1 - clean)
    (step,) = steps(defense, model, (x, Y))
    assert_same(step.loss, without(model(x), Y).mean(), model)
    torch.testing.assert_close(defense.loss(model(x), Y), without(model(x), Y))


def test_the_attack_climbs_cross_entropy_or_the_loss_that_is_trained() -> None:
    model, x = Small(9, 7, 4), images(6)
    for attack_loss in ("ce", "own"):
        (step,) = steps(AdversarialGCE(**FGSM, alpha=1.0, attack_loss=attack_loss), model, (x, Y))
        own = GuidedComplementEntropy(1.0).loss
        z = fgsm(Query(model, own_loss=own), x, Y, norm="linf", eps=0.1, rng=0, loss=attack_loss)
        torch.testing.assert_close(step.loss, own(model(z), Y).mean())


def test_a_radius_is_drawn_for_each_batch_within_its_range() -> None:
    defense = Adversarial(**{**FGSM, "eps": 0.3}, eps_low=0.1)
    radii = torch.tensor([defense.radius(rng) for rng in range(400)])
    assert 0.1 <= radii.min() < 0.11
    assert 0.29 < radii.max() <= 0.3
    assert radii.mean() == pytest.approx(0.2, abs=0.01)
    assert defense.radius(7) == defense.radius(7)
    start = float(SampleRng(7, torch.zeros(1, dtype=torch.int64)).uniform((), stream=0))  # as the attack draws it
    assert defense.radius(7) != pytest.approx(0.1 + 0.2 * start)
    assert Adversarial(**FGSM).radius(7) == 0.1
    model, x = Small(9, 7, 4), images(6)
    (step,) = steps(defense, model, (x, Y), seed=7)
    z = fgsm(model, x, Y, norm="linf", eps=defense.radius(7), rng=0)
    torch.testing.assert_close(step.loss, F.cross_entropy(model(z), Y))


def test_in_normalised_space_the_radius_is_in_its_units(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    (step,) = steps(Adversarial(**FGSM, space="normalized"), model, batch)
    z = fgsm(model, *batch, norm="linf", eps=0.1 * model.normalize.std.item(), rng=0)
    torch.testing.assert_close(step.loss, F.cross_entropy(model(z), batch[1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clean": -1.0}, "clean must be finite float >= 0, got -1.0"),
        ({"eps_low": 0.2}, "eps_low must be in"),
        ({"attack_loss": "mse"}, "attack_loss must be one of"),
    ],
)
def test_constants_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adversarial(**PGD, **options)


def test_a_combination_checks_the_constants_of_both() -> None:
    with pytest.raises(ValueError, match="xi must be float >= 0 and <= 1"):
        AdversarialPC(**PGD, variant="coded", xi=-1.0)
    with pytest.raises(ValueError, match="adversarial must be finite float >= 0"):
        AdversarialPC(**PGD, variant="coded", adversarial=-1.0)


def test_whitened_space_is_that_of_images_whitened_beforehand() -> None:
    model = whitened()
    x, y = samples(model, count=6, wrong=2)
    defense = Adversarial(**FGSM, box=False, space="whitened", clean=1.0)
    (step,) = steps(defense, model, (x, y))
    (behind,) = steps(replace(defense, space="pixel"), model.net, (model.normalize(x), y))
    assert_same(step.loss, behind.loss, model.net)


def test_whitened_space_has_no_box() -> None:
    with pytest.raises(ValueError, match="space 'whitened' has no box"):
        Adversarial(**FGSM, space="whitened")
