"""Margin maximisation against loops over samples and classes, and against its closed form on a linear net."""

from dataclasses import replace

import pytest
import torch
from small import Small, assert_same, gradients, images, steps
from tiny_nets import conv, samples, whitened
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.defenses.margin import MarginMaximization

Y = torch.tensor([0, 3, 1, 2, 0, 2])


def reference(model: Small, x: Tensor, y: Tensor, variant: str, norm: str, c: float) -> Tensor:
    """Sample by sample: hinge, and the largest of all differences of input gradients."""
    total = x.new_zeros(())
    for sample, label in zip(x, y, strict=True):
        logits = model(sample[None])[0]
        others = [j for j in range(len(logits)) if j != label]
        hinge = max((1 + logits[j] - logits[label]).clamp_min(0) for j in others)
        slope = 1 - model.features(sample[None])[0] ** 2  # of tanh
        jacobian = model.classifier.weight * slope @ model.first.weight  # (C, inputs)
        gaps = [jacobian[label] - jacobian[j] for j in others]
        sizes = [g.abs().sum() if norm == "l1" else (g**2).sum() for g in gaps]
        if (variant, norm) == ("printed", "l2"):
            sizes = [s.sqrt() for s in sizes]
        total = total + hinge + c * max(sizes)
    return total / len(x)


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("variant", ["printed", "coded"])
def test_value_and_gradient(variant: str, norm: str) -> None:
    model, x = Small(9, 7, 4), images(6)
    (step,) = steps(MarginMaximization(variant=variant, norm=norm, c=0.3), model, (x, Y))
    assert_same(step.loss, reference(model, x, Y, variant, norm, 0.3), model)
    torch.testing.assert_close(step.loss, step.terms["hinge"] + step.terms["sensitivity"])


def test_on_a_linear_net_the_sensitivity_is_the_largest_distance_between_weight_vectors() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 4).double())
    w = model[1].weight
    for norm, p in (("l2", 2), ("l1", 1)):
        (step,) = steps(MarginMaximization(variant="printed", norm=norm, c=1.0), model, (images(6), Y))
        closed = torch.stack([torch.cdist(w[y][None], w, p=p).max() for y in Y]).mean()
        torch.testing.assert_close(step.terms["sensitivity"], closed)
        expected = torch.autograd.grad(closed, w)[0]
        torch.testing.assert_close(torch.autograd.grad(step.terms["sensitivity"], w)[0], expected)


def test_without_sensitivity_it_is_cross_entropy() -> None:
    model, x = Small(9, 7, 4), images(6)
    (step,) = steps(MarginMaximization(variant="coded", norm="l2", c=0.0, data="ce"), model, (x, Y))
    assert_same(step.loss, F.cross_entropy(model(x), Y), model)


def test_the_hinge_pulls_towards_the_label() -> None:
    """As printed, eq. 3.18 would fall when the true logit falls."""
    loss = MarginMaximization(variant="printed", norm="l2", c=1.0).loss
    logits = torch.tensor([[0.5, 0.0, -1.0], [5.0, 0.0, -1.0], [-5.0, 0.0, -1.0]])
    assert loss(logits, torch.zeros(3, dtype=torch.int64)).tolist() == [0.5, 0.0, 6.0]


def test_the_image_needs_no_gradient_and_gets_none() -> None:
    model, x = Small(9, 7, 4), images(6)
    (step,) = steps(MarginMaximization(variant="coded", norm="l2", c=1.0), model, (x, Y))
    gradients(step.loss, model)
    assert not x.requires_grad
    assert x.grad is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "squared"}, "variant must be one of 'printed', 'coded', got 'squared'"),
        ({"norm": "linf"}, "norm must be one of 'l2', 'l1', got 'linf'"),
        ({"data": "mse"}, "data must be one of 'hinge', 'ce', got 'mse'"),
        ({"c": -1.0}, "c must be finite float >= 0, got -1.0"),
    ],
)
def test_constants_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MarginMaximization(**{"variant": "coded", "norm": "l2", "c": 1.0, **options})


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("space", ["normalized", "whitened"])
def test_the_gradient_is_taken_in_the_space(space: str, norm: str) -> None:
    """As if the images were moved there beforehand, and the net alone were trained on them."""
    model = {"normalized": conv, "whitened": whitened}[space]()
    x, y = samples(model, count=6, wrong=2)
    defense = MarginMaximization(variant="printed", norm=norm, c=0.3, data="ce")
    (behind,) = steps(defense, model.net, (model.normalize(x), y))
    (step,) = steps(replace(defense, space=space), model, (x, y))
    assert_same(step.loss, behind.loss, model.net)
    (pixels,) = steps(defense, model, (x, y))
    assert not torch.isclose(pixels.terms["sensitivity"], step.terms["sensitivity"], rtol=0.05)
