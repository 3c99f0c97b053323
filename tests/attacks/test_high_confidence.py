"""The high-confidence attack against a plain version of the published code, and where it has a closed form."""

import math

import pytest
import torch
from box_oracle import Linear
from test_primal_dual import setting
from torch import Tensor, nn

from touchstone.attacks import ATTACKS
from touchstone.attacks.high_confidence import confidence_step, high_confidence
from touchstone.query import Query
from touchstone.types import Bounds


def plain(
    model: nn.Module, x: Tensor, y: int, longest: float, overshoot: float, steps: int = 500
) -> tuple[Tensor, int]:
    """The author's loop on one image; the confidence is that of the clean image."""
    jac = torch.autograd.functional.jacobian(lambda v: model(v[None])[0], x)
    logits = model(x[None])[0].detach()
    away = [float((logits[k] - logits[y]).abs() / (jac[k] - jac[y]).norm()) if k != y else math.inf for k in range(4)]
    target, goal, r = away.index(min(away)), float(logits.softmax(0).max()), torch.zeros_like(x)
    for done in range(steps + 1):
        z = (x + (1 + overshoot) * r).requires_grad_()
        probs = model(z[None])[0].softmax(0)
        if done == steps or (int(probs.argmax()) == target and probs[target] >= goal):
            break
        (w,) = torch.autograd.grad(probs[target].log(), z)
        step = (1e-4 + abs(math.log(goal) - math.log(probs[target].item())) / w.norm()) * w / w.norm()
        r = r + step * min(1.0, longest / float(step.norm()))
        r = ((x + (1 + overshoot) * r).clamp(0, 1) - x) / (1 + overshoot)
    return z.detach(), target


@pytest.mark.parametrize(("longest", "overshoot"), [(0.1, 0.02), (0.03, 0.0)])
def test_it_is_the_published_attack_row_by_row(longest: float, overshoot: float) -> None:
    model, x, y = setting(8)
    query = Query(model, batch_size=3)
    ours = high_confidence(query, x, y, norm="l2", rng=0, longest=longest, overshoot=overshoot)
    goals = model(x).softmax(1).amax(1)
    for row in range(8):
        z, target = plain(model, x[row], int(y[row]), longest, overshoot)
        probs = model(z[None])[0].softmax(0)
        reached = int(probs.argmax()) == target and bool(probs[target] >= goals[row])
        assert ours.found[row] == reached
        if reached:
            torch.testing.assert_close(ours.x_adv[row], z, rtol=0, atol=1e-9)
    assert ours.found.any()
    assert len(query.backwards.unique()) > 1  # rows left at different steps


def test_where_it_fails_its_last_iterate_is_kept_for_whoever_counts_it() -> None:
    model, x, y = setting(8)
    few = {"norm": "l2", "rng": 0, "steps": 2, "longest": 0.03, "overshoot": 0.02}
    dropped, kept = (high_confidence(Query(model, batch_size=3), x, y, keep_last=keep, **few) for keep in (False, True))
    assert torch.equal(kept.found, dropped.found)
    assert torch.equal(kept.dist, dropped.dist)
    assert torch.equal(kept.x_adv[kept.found], dropped.x_adv[kept.found])
    lost = ~kept.found
    assert lost.any()
    assert torch.equal(dropped.x_adv[lost], x[lost])
    for row in lost.nonzero().flatten().tolist():
        last, _ = plain(model, x[row], int(y[row]), 0.03, 0.02, steps=2)
        torch.testing.assert_close(kept.x_adv[row], last, rtol=0, atol=1e-9)


@pytest.mark.parametrize("goal", [0.3, 0.6, 0.9])
def test_points_have_the_confidence_asked_for_and_hardly_more(goal: float) -> None:
    model, x, y = setting(8)
    query = Query(model, bounds=Bounds(-5.0, 5.0))
    found = high_confidence(query, x, y, norm="l2", rng=0, target_confidence=goal, longest=0.02)
    probs, predicted = model(found.x_adv).softmax(1).max(dim=1)
    assert found.found.sum() > 4
    assert (probs >= goal)[found.found].all()
    assert (predicted != y)[found.found].all()
    assert (probs < max(goal, 0.5) + 0.05)[found.found].all()


def test_two_classes_have_a_closed_form() -> None:
    """With logits (<w, x>, 0) the confidence C is reached where <w, x> = log(C / (1 - C)), straight along w."""
    torch.manual_seed(0)
    w = torch.randn(12, dtype=torch.float64)
    model = Linear(torch.stack([w, torch.zeros_like(w)]), torch.zeros(2, dtype=torch.float64))
    x = torch.randn(6, 12, dtype=torch.float64)
    y = model(x).argmax(dim=1)
    query = Query(model, bounds=Bounds(-torch.inf, torch.inf))
    for goal in (0.6, 0.99):
        found = high_confidence(query, x, y, norm="l2", rng=0, target_confidence=goal, overshoot=0.0)
        exact = ((x @ w).abs() + math.log(goal / (1 - goal))) / w.norm()
        assert found.found.all()
        assert (found.dist >= exact * (1 - 1e-9)).all()
        assert (found.dist <= exact + 1e-3).all()


def test_saturated_float32_confidences_are_told_apart() -> None:
    """At x 1 - p is 1e-13: the mirrored point is asked for, not the one at 0.78 where float32 has p = 1 as well."""
    model = Linear(torch.tensor([[30.0], [-30.0]]), torch.zeros(2)).float()
    query = Query(model, bounds=Bounds(-2.0, 2.0))
    found = high_confidence(query, torch.tensor([[0.5]]), torch.tensor([0]), norm="l2", rng=0)
    assert found.found.all()
    assert found.dist.item() == pytest.approx(1.0, abs=0.03)


def test_wrong_already_is_enough_only_with_the_confidence() -> None:
    model, x, y = setting(8)
    wrong = (y + 1) % 4
    at_once = high_confidence(model, x, wrong, norm="l2", rng=0)
    assert at_once.found.all()
    assert not at_once.dist.any()
    sure = high_confidence(Query(model, bounds=Bounds(-5.0, 5.0)), x, wrong, norm="l2", rng=0, target_confidence=0.9)
    probs, predicted = model(sure.x_adv).softmax(1).max(dim=1)
    assert (sure.dist > 0).all()
    assert sure.found.any()
    assert torch.equal(predicted[sure.found], y[sure.found])
    assert (probs[sure.found] >= 0.9).all()


@pytest.mark.parametrize(
    ("constants", "length"),
    [
        ({}, 2.0),
        ({"nudge": 0.5}, 2.5),
        ({"longest": 1.0}, 1.0),
        ({"floor": 12.0, "nudge": 0.5}, (10 / 13 + 0.5) * 5 / 13),
    ],
)
def test_a_step_closes_the_gap_along_the_slope_and_a_flat_row_takes_none(constants: dict, length: float) -> None:
    """With the floor |w| = 5 counts as 13."""
    slope = torch.tensor([[3.0, -4.0], [0.0, 0.0], [0.0, 0.0]], requires_grad=True)
    step = confidence_step(slope, torch.tensor([-10.0, 1.0, math.nan]), **constants)
    torch.testing.assert_close(step, torch.tensor([[0.6 * length, -0.8 * length], [0.0, 0.0], [0.0, 0.0]]))
    assert torch.autograd.grad(step.sum(), slope)[0].isfinite().all()


def test_its_criterion_is_confidence() -> None:
    assert ATTACKS["high-confidence"].criterion == "confidence"
