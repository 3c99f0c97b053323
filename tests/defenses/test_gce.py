"""Guided complement entropy against a loop over samples, and at the points where it is known."""

import math

import pytest
import torch
from torch import Tensor

from touchstone.defenses.gce import GuidedComplementEntropy


def reference(logits: Tensor, y: Tensor, alpha: float) -> Tensor:
    rows = []
    for row, label in zip(logits, y, strict=True):
        p = row.exp() / row.exp().sum()
        wrong = [p[k] / (1 - p[label]) for k in range(len(row)) if k != label]
        rows.append(p[label] ** alpha * sum(q * q.log() for q in wrong) / math.log(len(row)))
    return torch.stack(rows)


@pytest.mark.parametrize("alpha", [0.333, 0.0, 1.0])
def test_value_and_gradient(alpha: float, logits: Tensor, labels: Tensor) -> None:
    ours, theirs = GuidedComplementEntropy(alpha).loss(logits, labels), reference(logits, labels, alpha)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)  # the small constants of the authors' code
    (a,), (b,) = (torch.autograd.grad(v.sum(), logits) for v in (ours, theirs))
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_its_least_value_has_a_sure_true_class_and_equal_wrong_ones() -> None:
    logits = torch.tensor([[9.0, 0.0, 0.0, 0.0], [9.0, 3.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0]])
    best, uneven, wrong = GuidedComplementEntropy().loss(logits, torch.zeros(3, dtype=torch.int64)).tolist()
    assert best == pytest.approx(-math.log(3) / math.log(4), rel=1e-3)
    assert best < uneven < wrong < 0


def test_it_is_finite_where_softmax_saturates() -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0], [-200.0, 0.0, 0.0]], requires_grad=True)
    value = GuidedComplementEntropy().loss(logits, torch.zeros(2, dtype=torch.int64))
    assert value.isfinite().all()
    assert torch.autograd.grad(value.sum(), logits)[0].isfinite().all()


def test_the_exponent_is_checked() -> None:
    with pytest.raises(ValueError, match="alpha must be finite float >= 0"):
        GuidedComplementEntropy(alpha=-0.1)
