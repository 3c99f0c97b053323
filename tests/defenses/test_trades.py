"""TRADES against its formula at the points that the inner maximisation returns."""

import pytest
import torch
from small import Small, assert_same, images, steps
from torch.nn import functional as F

from touchstone.defenses.inner import climbed, divergence
from touchstone.defenses.trades import Trades

Y = torch.tensor([0, 3, 1, 2, 0, 2])
INNER = {"norm": "linf", "eps": 0.1, "attack_steps": 4, "step_size": 0.04}


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_value_and_gradient(norm: str) -> None:
    model, x = Small(9, 7, 4), images(6)
    (step,) = steps(Trades(**{**INNER, "norm": norm}, beta=6.0), model, (x, Y), seed=5)
    p = model(x).softmax(dim=1)
    z = climbed(
        model, x, Y, norm=norm, eps=0.1, steps=4, step_size=0.04, seed=5,
        loss=lambda logits, rows: divergence(logits, p.detach()[rows]),
    )  # fmt: skip
    q = model(z).softmax(dim=1)
    ce, kl = -p.log()[torch.arange(6), Y].mean(), (p * (p.log() - q.log())).sum() / 6
    assert kl > 0
    assert_same(step.loss, ce + 6.0 * kl, model)


@pytest.mark.parametrize("constants", [{"beta": 0.0}, {"beta": 6.0, "eps": 0.0}])
def test_without_weight_or_radius_it_is_cross_entropy(constants: dict) -> None:
    model, x = Small(9, 7, 4), images(6)
    (step,) = steps(Trades(**{**INNER, **constants}), model, (x, Y))
    assert_same(step.loss, F.cross_entropy(model(x), Y), model)


def test_constants_are_checked() -> None:
    with pytest.raises(ValueError, match="beta must be finite float >= 0"):
        Trades(**INNER, beta=-1.0)
