"""The probabilistically compact loss and its logit constraint against loops over samples and classes."""

import math

import pytest
import torch
from torch import Tensor

from touchstone.defenses.pc import ProbabilisticallyCompact


def reference(logits: Tensor, y: Tensor, variant: str, xi: float, lam: float) -> Tensor:
    rows = []
    for a, label in zip(logits, y, strict=True):
        p = a.exp() / a.exp().sum()
        wrong = [k for k in range(len(a)) if k != label]
        compact = sum((p[k] + xi - p[label]).clamp_min(0) for k in wrong)
        if variant == "printed":
            runner_up = max(wrong, key=lambda k: a[k].item())
            constraint = (a[label] - a[runner_up]).clamp_min(0)
        else:
            compact = compact / len(wrong)
            total = sum(a[k].exp() for k in wrong)
            constraint = sum((a[k].exp() / total * (a[label] - a[k])).clamp_min(0) for k in wrong)
        rows.append(compact + lam * constraint)
    return torch.stack(rows)


@pytest.mark.parametrize(("xi", "lam"), [(0.995, 0.05), (0.3, 2.0), (0.995, 0.0)])
@pytest.mark.parametrize("variant", ["printed", "coded"])
def test_value_and_gradient(variant: str, xi: float, lam: float, logits: Tensor, labels: Tensor) -> None:
    ours = ProbabilisticallyCompact(variant, xi, lam).loss(logits, labels)
    theirs = reference(logits, labels, variant, xi, lam)
    torch.testing.assert_close(ours, theirs)
    (a,), (b,) = (torch.autograd.grad(v.sum(), logits) for v in (ours, theirs))
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("variant", ["printed", "coded"])
def test_with_two_classes_both_variants_are_one(variant: str) -> None:
    """One wrong class: C - 1 = 1, and its share among the wrong ones is 1. p_0 = 3/4."""
    logits = torch.tensor([[math.log(3.0), 0.0]])
    value = ProbabilisticallyCompact(variant, 0.995, 0.5).loss(logits, torch.tensor([0]))
    assert value.item() == pytest.approx(0.25 + 0.995 - 0.75 + 0.5 * math.log(3), rel=1e-5)


def test_nothing_is_asked_where_the_gaps_are_wide_and_logits_free() -> None:
    parts = ProbabilisticallyCompact("printed", 0.9, 0.0).parts(torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([0]))
    assert [part.item() for part in parts.values()] == [0.0, 0.0]


@pytest.mark.parametrize("variant", ["printed", "coded"])
def test_large_logits_leave_gradients_finite(variant: str) -> None:
    logits = torch.tensor([[500.0, 0.0, -500.0], [-500.0, 0.0, 500.0]], requires_grad=True)
    value = ProbabilisticallyCompact(variant).loss(logits, torch.tensor([0, 0]))
    assert torch.autograd.grad(value.sum(), logits)[0].isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "soft"}, "variant must be one of 'printed', 'coded', got 'soft'"),
        ({"xi": -1.0}, "xi must be float >= 0 and <= 1, got -1.0"),
        ({"lam": -1.0}, "lam must be finite float >= 0, got -1.0"),
    ],
)
def test_constants_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProbabilisticallyCompact(**{"variant": "coded", **options})
