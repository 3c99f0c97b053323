"""The penalty on the last layer: value, gradient, its zero, and the angles at it."""

import pytest
import torch
from small import Small, assert_same, images, steps
from torch import nn
from torch.nn import functional as F

from touchstone.defenses.mmc import simplex
from touchstone.defenses.weightpen import WeightPenalization

Y = torch.tensor([0, 3, 1, 2, 0, 2])


@pytest.mark.parametrize("variant", ["printed", "coded"])
def test_value_and_gradient(variant: str) -> None:
    model, x, s = Small(9, 7, 4), images(6), 0.7
    (step,) = steps(WeightPenalization(variant, alpha=3.0, s=s), model, (x, Y))
    w = model.classifier.weight
    sigma = torch.tensor([[s**2 if i == j else s**2 / (1 - 4) for j in range(4)] for i in range(4)]).double()
    gap = w @ w.T - sigma
    size = (gap**2).sum().sqrt() if variant == "coded" else torch.linalg.eigvalsh(gap).abs().max()
    torch.testing.assert_close(step.terms["penalty"], 3.0 * size)
    assert_same(step.loss, F.cross_entropy(model(x), Y) + 3.0 * size, model)


@pytest.mark.parametrize("variant", ["printed", "coded"])
def test_the_penalty_is_not_rounded_under_autocast(variant: str) -> None:
    near = simplex(4, 7).float() + 1e-4 * torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    defense = WeightPenalization(variant, alpha=1.0, s=1.0)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = defense.penalty(near)
    assert torch.equal(rounded, defense.penalty(near))


@pytest.mark.parametrize("variant", ["printed", "coded"])
def test_without_weight_it_is_cross_entropy(variant: str) -> None:
    model, x = Small(9, 7, 4), images(6)
    (step,) = steps(WeightPenalization(variant, alpha=0.0), model, (x, Y))
    assert_same(step.loss, F.cross_entropy(model(x), Y), model)


@pytest.mark.parametrize("variant", ["printed", "coded"])
def test_a_simplex_costs_nothing_and_the_gradient_there_is_finite(variant: str) -> None:
    weight = (0.1 * simplex(4, 7)).requires_grad_()
    penalty = WeightPenalization(variant, s=0.1).penalty(weight)
    assert penalty.item() == pytest.approx(0.0, abs=1e-12)
    assert torch.autograd.grad(penalty, weight)[0].isfinite().all()


def test_descent_on_the_penalty_ends_at_equal_lengths_and_equal_angles() -> None:
    weight = torch.randn(4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    defense = WeightPenalization("coded", alpha=1.0, s=1.0)
    optimizer = torch.optim.Adam([weight], lr=0.05)
    for number in range(400):
        optimizer.param_groups[0]["lr"] = 0.05 * 0.98**number
        optimizer.zero_grad()
        defense.penalty(weight).backward()
        optimizer.step()
    cosines = F.normalize(weight.detach()) @ F.normalize(weight.detach()).T
    expected = torch.full((4, 4), -1 / 3, dtype=torch.float64).fill_diagonal_(1.0)
    torch.testing.assert_close(cosines, expected, atol=1e-2, rtol=0)
    torch.testing.assert_close(weight.detach().norm(dim=1), torch.ones(4).double(), atol=1e-2, rtol=0)


def test_the_last_layer_must_be_linear() -> None:
    with pytest.raises(ValueError, match="the `classifier` of Sequential is NoneType"):
        steps(WeightPenalization("coded"), nn.Sequential(nn.Flatten(), nn.Linear(9, 4).double()), (images(6), Y))


def test_constants_are_checked() -> None:
    with pytest.raises(ValueError, match="variant must be one of 'printed', 'coded', got 'l2'"):
        WeightPenalization("l2")
    with pytest.raises(ValueError, match="alpha must be finite float >= 0"):
        WeightPenalization("coded", alpha=-1.0)
