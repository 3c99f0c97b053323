"""EAD against a plain version of the published code, and against its own optimum on linear models."""

import math

import pytest
import torch
from box_oracle import SHAPES, Linear, case
from test_primal_dual import setting
from torch import Tensor, nn

from touchstone.attacks.ead import ead
from touchstone.losses import margin
from touchstone.norms import distance
from touchstone.query import Query

BETA = 0.05


def plain(
    model: nn.Module,
    x: Tensor,
    y: int,
    *,
    steps: int,
    lr: float,
    c: float,
    beta: float,
    kappa: float,
    rule: str,
    fista: bool,
) -> float:
    """The authors' loop on one image with torch's autograd; the l1 distance of the point that the rule prefers."""
    nearest, chosen, lower, upper = math.inf, math.inf, 0.0, 1e10
    others = [k for k in range(4) if k != y]
    for _ in range(4):
        z, slack, reached = x, x, False
        for k in range(steps):
            point = slack.clone().requires_grad_()
            logits = model(point[None])[0]
            loss = ((point - x) ** 2).sum() + c * (logits[y] - logits[others].max() + kappa).clamp(min=0)
            (grad,) = torch.autograd.grad(loss, point)
            v = slack - lr * math.sqrt(1 - k / steps) * grad
            up, down = torch.clamp(v - beta, max=1), torch.clamp(v + beta, min=0)
            new = torch.where(v - x > beta, up, torch.where(v - x < -beta, down, x))
            slack = new + (k / (k + 3) if fista else 0) * (new - z)
            z = new
            logits = model(z[None])[0]
            if logits[y] + kappa <= logits[others].max() and logits[y] < logits[others].max():
                reached = True
                d = (z - x).detach()
                size = float(d.abs().sum())
                value = size if rule == "l1" else float((d**2).sum()) + beta * size
                if value < nearest:
                    nearest, chosen = value, size
        upper, lower = (min(upper, c), lower) if reached else (upper, max(lower, c))
        c = (lower + upper) / 2 if upper < 1e10 else c * 10
    return chosen


@pytest.mark.parametrize("kappa", [0.0, 0.3])
@pytest.mark.parametrize("fista", [True, False])
@pytest.mark.parametrize("rule", ["l1", "en"])
def test_ead_is_the_published_attack_row_by_row(rule: str, fista: bool, kappa: float) -> None:
    model, x, y = setting(4)
    options = {"steps": 25, "lr": 0.05, "beta": 0.01, "rule": rule, "fista": fista}
    ours = ead(
        model, x, y, norm="l1", rng=0, init_const=0.1, binary_steps=4, confidence=kappa, abort_early=False, **options
    )
    theirs = [plain(model, x[row], int(y[row]), c=0.1, kappa=kappa, **options) for row in range(4)]
    assert ours.found.any()
    assert ours.dist.tolist() == pytest.approx(theirs, rel=1e-6)
    assert (margin(model(ours.x_adv), y)[ours.found] >= kappa).all()


WALLS = pytest.mark.parametrize("walls", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["walls", "free"])


def elastic_optimum(model: Linear, x: Tensor, y: int, k: int, beta: float) -> float:
    """Return the smallest |d|_2^2 + beta |d|_1 inside the box that reaches class k.

    d_i = sign(w_i) min(max(t |w_i| - beta, 0) / 2, room_i); <w, d> grows with t, so bisection finds t.
    """
    w = (model.weight[k] - model.weight[y]).detach()
    x = x.flatten()
    gap = float((model(x[None])[0, y] - model(x[None])[0, k]).detach())
    room = torch.where(w > 0, 1 - x, x)
    low, high = 0.0, 1e4
    for _ in range(80):
        middle = (low + high) / 2
        d = torch.minimum((middle * w.abs() - beta).clamp_min(0) / 2, room)
        low, high = (middle, high) if float((w.abs() * d).sum()) < gap else (low, middle)
    d = torch.minimum((high * w.abs() - beta).clamp_min(0) / 2, room)
    return float(d.square().sum() + beta * d.sum())


@WALLS
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_ead_is_near_the_elastic_optimum_of_its_class(shape: tuple[int, ...], walls: bool) -> None:
    """1.25, since the threshold makes the l1 term weigh 1 / step as much as the rule says; without a threshold 1.02."""
    model, x, y, _ = case(shape, 4, "l1", walls=walls)
    options = {"steps": 120, "init_const": 0.1, "binary_steps": 6, "lr": 0.05, "abort_early": False}
    for beta, bound in ((0.0, 1.02), (1e-3, 1.25)):
        found = ead(model, x, y, norm="l1", rng=0, rule="en", beta=beta, **options)
        assert found.found.all()
        reached = model(found.x_adv).argmax(dim=1)
        delta = found.x_adv - x
        value = distance(delta, "l2").square() + beta * distance(delta, "l1")
        for row in range(len(x)):
            exact = elastic_optimum(model, x[row], int(y[row]), int(reached[row]), beta)
            assert exact * (1 - 1e-4) <= value[row] <= exact * bound


@pytest.mark.slow
@WALLS
def test_a_large_beta_comes_near_the_smallest_l1_distance(walls: bool) -> None:
    """1.2: thresholds of 0.05 leave a multiple of them on each pixel that moves, and steps shrink with the pixel."""
    model, x, y, best = case((3, 4, 4), 4, "l1", walls=walls)
    options = {"steps": 250, "init_const": 0.1, "binary_steps": 7, "lr": 0.05, "abort_early": False}
    found = ead(model, x, y, norm="l1", rng=0, beta=BETA, **options)
    reached = model(found.x_adv).argmax(dim=1)
    exact = best[torch.arange(len(x)), reached]
    assert (found.dist >= exact * (1 - 1e-4)).all()
    assert (found.dist <= exact * 1.2).all()
    loose = ead(model, x, y, norm="l1", rng=0, beta=0.0, **options)
    assert (found.dist < loose.dist).all()


def test_the_rules_choose_differently() -> None:
    model, x, y = setting(12)
    options = {"norm": "l1", "rng": 0, "steps": 60, "lr": 0.05, "init_const": 0.1, "beta": 0.01, "abort_early": False}
    l1, en = (ead(model, x, y, rule=rule, **options) for rule in ("l1", "en"))
    assert (l1.dist <= en.dist).all()
    assert (l1.dist < en.dist).any()
    torch.testing.assert_close(en.dist, distance(en.x_adv - x, "l1"))


def test_ead_spends_two_forwards_and_a_backward_per_step_and_gives_up_row_by_row() -> None:
    model, x, y = setting()
    y[[0, 3]] = (y[[0, 3]] + 1) % 4
    options = {"norm": "l1", "rng": 0, "steps": 100, "lr": 0.05, "init_const": 1.0, "binary_steps": 2}
    query, hasty = Query(model, batch_size=4), Query(model)
    ead(query, x, y, abort_early=False, **options)
    assert query.backwards.tolist() == [0, 200, 200, 0, 200, 200]
    assert query.forwards.tolist() == [1, 401, 401, 1, 401, 401]
    ead(hasty, x, y, **options)
    assert (hasty.backwards[[1, 2, 4, 5]] < 200).any()
