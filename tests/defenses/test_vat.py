"""VAT: the direction against the eigenvector of the divergence's curvature, and the loss against its formula."""

import pytest
import torch
from small import Small, assert_same, images, steps
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.defenses.vat import VirtualAdversarial

Y = torch.tensor([0, 3, 1, 2, 0, 2])


def curvatures(model: Small, x: Tensor) -> list[Tensor]:
    """Hessian of KL(p(x) || p(x + r)) in r at 0: J' (diag p - p p') J."""
    out = []
    for sample in x:
        slope = 1 - model.features(sample[None])[0] ** 2
        jacobian = model.classifier.weight * slope @ model.first.weight
        p = model(sample[None])[0].softmax(dim=0)
        out.append((jacobian.T @ (p.diag() - torch.outer(p, p)) @ jacobian).detach())
    return out


def test_many_power_iterations_find_the_direction_of_largest_curvature() -> None:
    model, x = Small(9, 7, 4), images(6)
    d = VirtualAdversarial(eps=1.0, power_iterations=60, xi=1e-5).direction(model, x, seed=2).flatten(1)
    for row, hessian in zip(d, curvatures(model, x), strict=True):
        top = torch.linalg.eigh(hessian).eigenvectors[:, -1]
        assert (row @ top).abs().item() == pytest.approx(1.0, abs=1e-3)


def test_one_iteration_multiplies_the_first_direction_by_the_curvature() -> None:
    """The step from one iteration to the second is one product with the Hessian."""
    model, x = Small(9, 7, 4), images(6)
    one, two = (VirtualAdversarial(1.0, n, 1e-5).direction(model, x, seed=2).flatten(1) for n in (1, 2))
    for a, b, hessian in zip(one, two, curvatures(model, x), strict=True):
        torch.testing.assert_close(F.normalize(hessian @ a, dim=0), b, atol=1e-3, rtol=0)


def test_value_and_gradient() -> None:
    model, x = Small(9, 7, 4), images(6)
    defense = VirtualAdversarial(eps=2.0, weight=0.5)
    (step,) = steps(defense, model, (x, Y), seed=5)
    moved = x + 2.0 * defense.direction(model, x, seed=5)
    assert (moved - x).flatten(1).norm(dim=1).tolist() == pytest.approx([2.0] * 6)
    p = model(x).softmax(dim=1).detach()
    kl = (p * (p.log() - model(moved).log_softmax(dim=1))).sum() / 6
    assert_same(step.loss, F.cross_entropy(model(x), Y) + 0.5 * kl, model)


@pytest.mark.parametrize("constants", [{"eps": 0.0}, {"eps": 2.0, "weight": 0.0}])
def test_without_weight_or_length_it_is_cross_entropy(constants: dict) -> None:
    model, x = Small(9, 7, 4), images(6)
    (step,) = steps(VirtualAdversarial(**constants), model, (x, Y))
    assert_same(step.loss, F.cross_entropy(model(x), Y), model)


def test_in_float32_the_default_probe_still_gives_the_direction(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    """1e-6, the probe of the authors' codes, does not."""
    exact = VirtualAdversarial(eps=1.0, xi=1e-6).direction(model.double(), batch[0].double(), seed=2)
    cosines = {}
    for xi in (VirtualAdversarial(eps=1.0).xi, 1e-6):
        d = VirtualAdversarial(eps=1.0, xi=xi).direction(model.float(), batch[0], seed=2)
        cosines[xi] = (d * exact).flatten(1).sum(dim=1).mean().item()
    assert cosines[1e-2] > 0.95
    assert cosines[1e-6] < 0.5


def test_constants_are_checked() -> None:
    for wrong, message in [
        ({"eps": -1.0}, "eps must be finite float >= 0"),
        ({"power_iterations": 0}, "power_iterations must be int >= 1 and <= 1000000000"),
        ({"xi": 0.0}, "xi must be finite float > 0"),
        ({"weight": -1.0}, "weight must be finite float >= 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            VirtualAdversarial(**{"eps": 1.0, **wrong})
