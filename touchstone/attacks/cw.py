"""Carlini and Wagner's l2 attack: Adam in tanh space, the loss weight found by bisection."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from touchstone.attacks.adam import adam_
from touchstone.attacks.bisection import Bisection, looks, stuck
from touchstone.attacks.contract import Problem, between, positive, prepare
from touchstone.attacks.rows import Best, compact
from touchstone.losses import margin
from touchstone.norms import distance, rowwise
from touchstone.query import Query, tiles
from touchstone.ranges import Count, NotNegative, Positive
from touchstone.rng import SampleRng
from touchstone.types import Bounds, MinNorm

SHRINK = 0.999999  # keeps atanh finite for pixels at 0 and 1, which would otherwise never move


class Coordinates(NamedTuple):
    """A change of variables: x -> w, and w -> (x, dx/dw), both elementwise."""

    enter: Callable[[Tensor], Tensor]
    leave: Callable[[Tensor], tuple[Tensor, Tensor | float]]


def cw(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    steps: Count = 10000,
    lr: Positive = 0.01,
    binary_steps: Count = 9,
    init_const: Positive = 1e-3,
    confidence: NotNegative = 0.0,
    abort_early: bool = True,
) -> MinNorm:
    """Return the nearest misclassified iterate of |x' - x|^2 + c max(z_y - max z_j + confidence, 0), over all c.

    Source: Carlini and Wagner (2017), section V.A; defaults, bisection and early abort of advertorch. Deviations:
    abort_early looks at each row's own loss (advertorch stops the batch on its sum), the distance is measured
    from x instead of x shrunk by 1e-6, and rows that are adversarial at x are returned at once. An unbounded
    input space is searched without the change of variables; a box with some walls only is a ValueError. Nothing is
    drawn.

    Options:
        steps: Adam steps for each constant, >= 1.
        lr: Adam's step size in tanh space, > 0.
        binary_steps: how many constants are tried, >= 1.
        init_const: first constant c, > 0; multiplied by ten until a row succeeds, then bisected.
        confidence: margin in logits that counts as success, >= 0; a misclassified point has a margin > 0.
        abort_early: a row whose loss fell by less than 1e-4 (relative) within a tenth of the steps goes no further.
    """
    task = prepare(model, x, y, norm=norm, norms=("l2",), rng=rng)
    between(1, steps=steps, binary_steps=binary_steps)
    between(0, confidence=confidence)
    positive(lr=lr, init_const=init_const)
    best, gap = Best(task.x), margin(task.query.logits(task.x), task.y)
    rows = best.settle((gap > 0) & (gap >= confidence))
    search = Bisection.begin(torch.full_like(best.dist[rows], init_const))
    run = {"steps": steps, "lr": lr, "confidence": confidence, "abort_early": abort_early}
    for _ in range(binary_steps if len(rows) else 0):
        search = search.after(descend(task, best, rows, search.const, **run))
    return best.result()


def descend(
    task: Problem,
    best: Best,
    rows: Tensor,
    const: Tensor,
    *,
    steps: int,
    lr: float,
    confidence: float,
    abort_early: bool,
) -> Tensor:
    """Run Adam from x for the rows (K,) of the block with their constants (K,); say which (K,) succeeded."""
    query, space, asked = task.query, coordinates(task.bounds), rows
    reached = torch.zeros(len(task.x), dtype=torch.bool, device=rows.device)
    rows, x, y, c = rows.clone(), task.x[rows], task.y[rows], const.clone()
    w, last = space.enter(x), torch.full_like(const, torch.inf)
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for step in range(steps):
        look = abort_early and looks(step, steps)
        idle = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        for tile in tiles(len(rows), query.batch_size):
            z, slope = space.leave(w[tile])
            _, gap, grad = query.grad(z, y[tile], margin, rows=rows[tile])
            offset = z - x[tile]
            dist = distance(offset, "l2")
            success = (gap > 0) & (gap >= confidence)
            reached[rows[tile]] |= success
            best.offer(rows[tile], z, dist, success)
            if look:
                loss = dist.square() + c[tile] * (confidence - gap).clamp_min(0)
                idle[tile] = stuck(loss, last[tile])
                last[tile] = loss
            hinge = rowwise(torch.where(gap <= confidence, -c[tile], 0.0), z)
            uphill = grad.nan_to_num_(nan=0.0).mul_(hinge).add_(offset, alpha=2).mul_(slope)
            adam_(w[tile], m[tile], v[tile], uphill, lr, step)
        if idle.any():
            rows, w, m, v, x, y, c, last = compact(idle, rows, w, m, v, x, y, c, last)
        if not len(rows):
            break
    return reached[asked]


def coordinates(bounds: Bounds) -> Coordinates:
    """Return variables in which the box has no walls: tanh for a finite box, the identity without one."""
    lower, upper = bounds
    if bool(lower.isinf().all() & upper.isinf().all()):
        return Coordinates(lambda x: x.clone(), lambda w: (w.clone(), 1.0))
    if not bool(lower.isfinite().all() & upper.isfinite().all()):
        raise ValueError("cw needs a box that is finite, or unbounded on both sides, in every channel")
    half, middle = (upper - lower) / 2, (upper + lower) / 2
    unit = torch.where(half > 0, half, 1.0)

    def enter(x: Tensor) -> Tensor:
        return ((x - middle) / unit).clamp_(-1, 1).mul_(SHRINK).atanh_()

    def leave(w: Tensor) -> tuple[Tensor, Tensor]:
        t = w.tanh()
        return bounds.clip(middle + half * t), half - half * t.square()

    return Coordinates(enter, leave)
