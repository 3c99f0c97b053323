"""Every objective against hand-written references, and what it reduces to when its constants are zero."""

from dataclasses import fields
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from small import EXAMPLES, Small, gradients, images, steps
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.defenses import DEFENSES
from touchstone.defenses.adv import Alternating
from touchstone.defenses.base import Defense, weights
from touchstone.defenses.ce import CrossEntropy
from touchstone.defenses.mart import Mart
from touchstone.defenses.minmax import MinMax
from touchstone.defenses.trades import Trades
from touchstone.registry import load, options
from touchstone.training import Phase, accuracy, fit

ZERO = [
    CrossEntropy(),
    CrossEntropy(l1=0.0, l2=0.0, layers="conv"),
    MinMax(variant="printed", lam=0.0, mu=0.0),
    MinMax(variant="coded", lam=0.0, mu=0.0, layers="conv1"),
]


@pytest.mark.parametrize("defense", ZERO, ids=str)
def test_zero_constants_are_plain_ce(defense: Defense, model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    (step,) = steps(defense, model, batch)
    expected = F.cross_entropy(model(batch[0]), batch[1])
    torch.testing.assert_close(step.loss, expected)
    for ours, theirs in zip(gradients(step.loss, model), gradients(expected, model), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_penalties_are_sums_over_weights_without_biases(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    (step,) = steps(CrossEntropy(l1=0.5, l2=0.25), model, batch)
    expected = sum(
        0.5 * p.detach().abs().sum().item() + 0.25 * (p.detach() ** 2).sum().item()
        for n, p in model.named_parameters()
        if "weight" in n
    )
    assert step.terms["penalty"].item() == pytest.approx(expected, rel=1e-5)
    assert step.loss.item() == pytest.approx(step.terms["ce"].item() + expected, rel=1e-5)


def test_penalties_are_on_the_layers_asked_for(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    (step,) = steps(CrossEntropy(l1=1.0, layers="conv1"), model, batch)
    assert step.terms["penalty"].item() == pytest.approx(model.net.conv1.weight.abs().sum().item(), rel=1e-5)


@pytest.mark.parametrize(("variant", "layers"), [("printed", "conv"), ("coded", "conv"), ("coded", "conv1")])
def test_minmax_value_and_gradient(variant: str, layers: str, model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    lam, mu = 0.7, 0.3
    (step,) = steps(MinMax(variant=variant, lam=lam, mu=mu, layers=layers), model, batch)
    ws = [model.net.conv1.weight] + ([model.net.conv2.weight] if layers == "conv" else [])
    l2 = sum((w**2).sum() if variant == "printed" else (w**2).sum().sqrt() for w in ws)
    l1 = sum(w.abs().sum() for w in ws)
    assert step.loss.item() == pytest.approx((step.terms["ce"] + lam * l1 - mu * l2).item(), rel=1e-5)
    w = ws[0]
    (whole,) = torch.autograd.grad(step.loss, w, retain_graph=True)
    (ce,) = torch.autograd.grad(step.terms["ce"], w)
    pull = 2 * w if variant == "printed" else w / w.norm()
    torch.testing.assert_close(whole - ce, lam * w.sign() - mu * pull, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("defense", "constants"),
    [
        (CrossEntropy, {"l1": -1.0}),
        (CrossEntropy, {"l2": -1.0}),
        (MinMax, {"variant": "printed", "lam": -1.0, "mu": 0.0}),
        (MinMax, {"variant": "printed", "lam": 0.0, "mu": -1.0}),
        (Trades, {"norm": "linf", "eps": -0.1, "attack_steps": 1, "step_size": 0.1, "beta": 1.0}),
        (Mart, {"norm": "linf", "eps": 0.1, "attack_steps": 0, "step_size": 0.1, "beta": 1.0}),
    ],
)
def test_constants_outside_their_range_are_errors(defense: type, constants: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be .*>="):
        defense(**constants)


def test_the_printed_penalty_turns_at_one_half_and_the_coded_one_is_never_negative(model: nn.Module) -> None:
    """lam = mu: |w| - w^2 falls for |w| > 0.5 without limit; |W|_1 - |W|_2 >= 0."""
    w = model.net.conv1.weight
    values = []
    for size in (0.1, 0.5, 0.9, 10.0):
        with torch.no_grad():
            w.fill_(0).view(-1)[0] = size
        l1, l2 = MinMax(variant="printed", lam=1.0, mu=1.0, layers="conv1").penalty(model)
        values.append((l1 - l2).item())
        l1, l2 = MinMax(variant="coded", lam=1.0, mu=1.0, layers="conv1").penalty(model)
        assert (l1 - l2).item() == pytest.approx(0.0, abs=1e-6)
    assert values[1] == max(values) == pytest.approx(0.25)
    assert values[-1] == pytest.approx(-90.0)


@pytest.mark.parametrize(
    ("variant", "lam", "mu", "bounded"),
    [("printed", 1.0, 1.0, True), ("printed", 0.5, 1.0, False), ("printed", 0.0, 0.0, True), ("coded", 0.1, 1.0, True)],
)
def test_bounded_below_the_turning_point(model: nn.Module, variant: str, lam: float, mu: float, bounded: bool) -> None:
    """The printed penalty turns at lam / (2 mu); the largest weight is 0.4."""
    with torch.no_grad():
        model.net.conv2.weight[0, 0, 0, 0] = -0.4
    assert MinMax(variant=variant, lam=lam, mu=mu).bounded(model) is bounded
    assert MinMax(variant=variant, lam=lam, mu=mu, layers="conv1").bounded(model)  # that weight is not penalised


PUBLISHED = {  # the constants that hold where a recipe says nothing, as the papers and the authors' codes have them
    "dropout": {"p": 0.5},
    "critic": {"cycle": 0.01, "gradient_penalty": 10, "attack_steps": 5, "confidence_decay": 0.5, "pretrain_epochs": 1},
    "vat": {"weight": 1, "power_iterations": 1},
    "gce": {"alpha": 0.333},
    "pc": {"xi": 0.995, "lam": 0.05},
    "mmc": {"scale": 10},
    "weightpen": {"alpha": 100, "s": 0.1},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_constants_that_a_recipe_leaves_out(name: str) -> None:
    defaults = {field.name: field.default for field in fields(load(DEFENSES[name].fn))}
    assert {option: defaults[option] for option in PUBLISHED[name]} == PUBLISHED[name]


def test_adv_takes_a_clean_step_then_one_on_the_pgd_version(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    defense = Alternating(norm="linf", eps=0.3, attack_steps=3, step_size=0.1, space="normalized")
    clean, adversarial = steps(defense, model, batch)
    torch.testing.assert_close(clean.loss, F.cross_entropy(model(batch[0]), batch[1]))
    assert adversarial.loss > clean.loss
    assert all(p.grad is None for p in model.parameters())


def test_adv_without_radius_repeats_the_clean_step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    defense = Alternating(norm="linf", eps=0.0, attack_steps=3, step_size=0.1, space="normalized")
    clean, adversarial = steps(defense, model, batch)
    torch.testing.assert_close(adversarial.loss, clean.loss)


def test_adv_attacks_the_updated_model(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    defense = Alternating(norm="linf", eps=0.3, attack_steps=2, step_size=0.2, space="pixel")
    stream = defense.steps(model, defense.setup(model, 0), *batch, seed=0, epoch=1)
    next(stream)
    with torch.no_grad():
        model.net.fc3.weight.zero_()
        model.net.fc3.bias.zero_()
    assert next(stream).loss.item() == pytest.approx(torch.log(torch.tensor(10.0)).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "passes"), [("ce", 1), ("at", 1), ("pc+at", 1), ("adv", 2), ("trades", 2), ("mart", 2), ("vat", 1)]
)
def test_batch_norm_learns_from_the_passes_of_the_loss_alone(name: str, passes: int) -> None:
    """Searches within a step see the model in eval mode, or leave its statistics alone."""
    model = Small(9, 7, 4)
    model.first = nn.Sequential(model.first, nn.BatchNorm1d(7).double())
    steps(load(DEFENSES[name].fn)(**EXAMPLES[name]), model.train(), (images(6), torch.arange(6) % 4))
    assert model.first[1].num_batches_tracked == passes
    assert all(module.training for module in model.modules())


# the critic draws after pre-training: test_critic.py
DRAWING = {"adv", "at", "gce+at", "pc+at", "trades", "mart", "vat", "dropout"}


@pytest.mark.parametrize("name", DEFENSES)
def test_draws_come_from_the_seed_of_the_batch_alone(name: str, model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    defense, losses = load(DEFENSES[name].fn)(**EXAMPLES[name]), []
    for disturb in (0, 17):
        torch.manual_seed(disturb)
        state = torch.get_rng_state()
        losses.append([step.loss.item() for step in steps(defense, model, batch, seed=3)])
        assert torch.equal(torch.get_rng_state(), state)
    assert losses[0] == losses[1]
    other = [step.loss.item() for step in steps(defense, model, batch, seed=4)]
    assert (losses[0] != other) == (name in DRAWING)


def test_layers(model: nn.Module) -> None:
    assert [len(weights(model, kind)) for kind in ("all", "conv", "conv1")] == [5, 2, 1]
    with pytest.raises(ValueError, match="all, conv, conv1; got 'fc'"):
        weights(model, "fc")
    with pytest.raises(ValueError, match="no layer of kind 'conv'"):
        weights(nn.Linear(2, 2), "conv")


def test_unknown_variant() -> None:
    with pytest.raises(ValueError, match="'printed', 'coded', got 'squared'"):
        MinMax(variant="squared", lam=1, mu=1)


def test_every_row_of_the_table_loads() -> None:
    for spec in DEFENSES.values():
        assert hasattr(load(spec.fn), "steps")


@pytest.mark.parametrize("name", DEFENSES)
def test_every_defense_has_a_loss_per_sample_that_follows_the_logits(name: str) -> None:
    defense: Defense = load(DEFENSES[name].fn)(**EXAMPLES[name])
    logits = torch.tensor([[0.5, 0.0, -1.0], [0.0, 0.5, -1.0]], requires_grad=True)
    value = defense.loss(logits, torch.tensor([0, 0]))
    assert value.shape == (2,)
    assert value[1] > value[0]  # the second is misclassified
    assert torch.autograd.grad(value.sum(), logits)[0].abs().sum(1).min() > 0


@pytest.mark.parametrize("defense", ZERO, ids=repr)
def test_the_loss_is_the_part_of_the_objective_that_depends_on_the_input(
    defense: Defense, model: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    x, y = batch
    trained = steps(defense, model, batch)[0].loss
    torch.testing.assert_close(defense.loss(model(x), y).mean(), trained)


def test_options_include_those_of_both_parts_of_a_combination() -> None:
    """Studies are checked against what is read from the source, without torch."""
    for name in DEFENSES:
        made = load(DEFENSES[name].fn)
        assert set(options(DEFENSES[name].fn)) == set(made.__dataclass_fields__)
        assert {k for k, o in options(DEFENSES[name].fn).items() if o.required} <= EXAMPLES[name].keys()


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """64 scanned digits, (64, 1, 8, 8) uint8, and their labels."""
    bunch = load_digits()
    return torch.from_numpy(bunch.images[:64] * 15).to(torch.uint8)[:, None], torch.from_numpy(bunch.target[:64])


ELSEWHERE = {"minmax", "critic"}  # needs convolutions: training/test_fit.py; needs a second optimiser: test_critic.py


@pytest.mark.parametrize("name", sorted(set(DEFENSES) - ELSEWHERE))
def test_every_defense_overfits_64_digits(name: str, digits: tuple[Tensor, Tensor]) -> None:
    model = Small(64, 64, 10).float()
    defense: Defense = load(DEFENSES[name].fn)(**EXAMPLES[name])
    if name.startswith("pc"):  # its gradient vanishes where p_y does
        fit(model, CrossEntropy(), *digits, [Phase(epochs=5, batch_size=64, lr=0.02)], seed=0)
    result = fit(model, defense, *digits, [Phase(epochs=30, batch_size=64, lr=0.02)], seed=0)
    assert result.status == "ok"
    assert accuracy(model, *digits) > 0.95
    assert result.history[-1]["loss"] < result.history[0]["loss"]
