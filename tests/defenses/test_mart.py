"""MART against a loop over samples at the points that the inner maximisation returns."""

import pytest
import torch
from small import Small, assert_same, images, steps
from torch.nn import functional as F

from touchstone.defenses.inner import climbed
from touchstone.defenses.mart import Mart

Y = torch.tensor([0, 3, 1, 2, 0, 2])
INNER = {"norm": "linf", "eps": 0.1, "attack_steps": 4, "step_size": 0.04}


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.1), ("linf", 0.0)])
def test_value_and_gradient(norm: str, eps: float) -> None:
    """At radius zero the divergence vanishes and the boosted cross-entropy at x is left."""
    model, x = Small(9, 7, 4), images(6)
    (step,) = steps(Mart(**{**INNER, "norm": norm, "eps": eps}, beta=5.0), model, (x, Y), seed=5)
    z = climbed(
        model, x, Y, norm=norm, eps=eps, steps=4, step_size=0.04, seed=5,
        loss=lambda logits, rows: F.cross_entropy(logits, Y[rows], reduction="none"),
    )  # fmt: skip
    clean, adversarial = model(x).softmax(dim=1), model(z).softmax(dim=1)
    rows = []
    for p, q, y in zip(clean, adversarial, Y, strict=True):
        wrong = max(q[k] for k in range(4) if k != y)
        boosted = -q[y].log() - (1.0001 - wrong).log()
        rows.append(boosted + 5.0 * (p * (p / q).log()).sum() * (1.0000001 - p[y]))
    assert_same(step.loss, torch.stack(rows).mean(), model)


def test_without_weight_the_clean_pass_has_no_say() -> None:
    model, x = Small(9, 7, 4), images(6)
    (step,) = steps(Mart(**INNER, beta=0.0), model, (x, Y))
    torch.testing.assert_close(step.loss, step.terms["bce"])


def test_sure_and_wrong_is_finite() -> None:
    logits = torch.tensor([[-300.0, 300.0, 0.0]], requires_grad=True)
    value = Mart(**INNER, beta=1.0).loss(logits, torch.tensor([0]))
    assert value.isfinite().all()
    assert torch.autograd.grad(value.sum(), logits)[0].isfinite().all()


def test_constants_are_checked() -> None:
    with pytest.raises(ValueError, match="beta must be finite float >= 0"):
        Mart(**INNER, beta=-1.0)
