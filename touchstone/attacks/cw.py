"""Carlini and Wagner's l2 attack: Adam in tanh space, the loss weight found by bisection."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from touchstone.attacks.adam import adam_
from touchstone.attacks.bisection import Bisection, looks, stuck
from touchstone.attacks.contract import Problem, between, positive, prepare
from touchstone.attacks.rows import Best, compact
from touchstone.conditions import Facts, hold
from touchstone.losses import Loss, margin
from touchstone.norms import distance, rowwise
from touchstone.query import Query, tiles
from touchstone.ranges import Count, NotNegative, Positive, Whole
from touchstone.rng import SampleRng
from touchstone.types import Bounds, MinNorm

SHRINK = 0.999999  # keeps atanh finite for pixels at 0 and 1, which would otherwise never move


class Goal(NamedTuple):
    """A loss that has to rise above zero and up to `least`, and the class (B,) of each row that it looks at."""

    loss: Loss
    classes: Tensor
    least: float

    def met(self, value: Tensor) -> Tensor:
        """Say for each value of the loss (K,) whether it is high enough."""
        return (value > 0) & (value >= self.least)


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
    target_confidence: Annotated[float, Ge(0.5), Lt(1)] | None = None,
    target_class: Whole | None = None,
    abort_early: bool = True,
) -> MinNorm:
    """Return the nearest misclassified iterate of |x' - x|^2 + c max(z_y - max z_j + confidence, 0), over all c.

    Source: Carlini and Wagner (2017), section V.A; defaults, bisection and early abort of advertorch. Deviations:
    abort_early looks at each row's own loss (advertorch stops the batch on its sum), the distance is measured
    from x instead of x shrunk by 1e-6, and rows that are adversarial at x are returned at once. An unbounded
    input space is searched without the change of variables; a box with some walls only is a ValueError. Nothing is
    drawn. With a target_confidence the margin gives way to the log-odds of the class, so that the confidence is one
    number for all rows.

    Options:
        steps: Adam steps for each constant, >= 1.
        lr: Adam's step size in tanh space, > 0.
        binary_steps: how many constants are tried, >= 1.
        init_const: first constant c, > 0; multiplied by ten until a row succeeds, then bisected.
        confidence: margin in logits that counts as success, >= 0; a misclassified point has a margin > 0.
        target_confidence: softmax probability, in [0.5, 1), of the class led to that counts as success, instead of a
            margin; None leaves it to `confidence`.
        target_class: number of the class to lead to, >= 0: another misclassification does not count, and rows whose
            true class it is are not found. None is any class but the true one.
        abort_early: a row whose loss fell by less than 1e-4 (relative) within a tenth of the steps goes no further.
    """
    task = prepare(model, x, y, norm=norm, norms=("l2",), rng=rng)
    between(1, steps=steps, binary_steps=binary_steps)
    between(0, confidence=confidence)
    positive(lr=lr, init_const=init_const)
    if target_confidence is not None and not 0.5 <= target_confidence < 1:
        raise ValueError(f"target_confidence must be in [0.5, 1), got {target_confidence}")
    together = {"confidence": confidence, "target_confidence": target_confidence, "target_class": target_class}
    hold("touchstone.attacks.cw:cw", together, Facts(classes=task.query.classes))
    best, logits, able = Best(task.x), task.query.logits(task.x), torch.ones_like(task.y, dtype=torch.bool)
    least = confidence if target_confidence is None else math.log(target_confidence / (1 - target_confidence))
    goal = Goal(GOALS[target_class is not None, target_confidence is not None], task.y, least)
    if target_class is not None:
        between(0, target_class=target_class)
        goal, able = goal._replace(classes=torch.full_like(task.y, target_class)), task.y != target_class
    rows = best.settle(goal.met(goal.loss(logits, goal.classes)) & able)
    rows = rows[able[rows]]
    search = Bisection.begin(torch.full_like(best.dist[rows], init_const))
    run = {"steps": steps, "lr": lr, "abort_early": abort_early}
    for _ in range(binary_steps if len(rows) else 0):
        search = search.after(descend(task, goal, best, rows, search.const, **run))
    return best.result()


def descend(
    task: Problem,
    goal: Goal,
    best: Best,
    rows: Tensor,
    const: Tensor,
    *,
    steps: int,
    lr: float,
    abort_early: bool,
) -> Tensor:
    """Run Adam from x for the rows (K,) of the block with their constants (K,); say which (K,) succeeded."""
    query, space, asked = task.query, coordinates(task.bounds), rows
    reached = torch.zeros(len(task.x), dtype=torch.bool, device=rows.device)
    rows, x, classes, c = rows.clone(), task.x[rows], goal.classes[rows], const.clone()
    w, last = space.enter(x), torch.full_like(const, torch.inf)
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for step in range(steps):
        look = abort_early and looks(step, steps)
        idle = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        for tile in tiles(len(rows), query.batch_size):
            z, slope = space.leave(w[tile])
            _, gap, grad = query.grad(z, classes[tile], goal.loss, rows=rows[tile])
            offset = z - x[tile]
            dist = distance(offset, "l2")
            success = goal.met(gap)
            reached[rows[tile]] |= success
            best.offer(rows[tile], z, dist, success)
            if look:
                loss = dist.square() + c[tile] * (goal.least - gap).clamp_min(0)
                idle[tile] = stuck(loss, last[tile])
                last[tile] = loss
            hinge = rowwise(torch.where(gap <= goal.least, -c[tile], 0.0), z)
            uphill = grad.nan_to_num_(nan=0.0).mul_(hinge).add_(offset, alpha=2).mul_(slope)
            adam_(w[tile], m[tile], v[tile], uphill, lr, step)
        if idle.any():
            rows, w, m, v, x, classes, c, last = compact(idle, rows, w, m, v, x, classes, c, last)
        if not len(rows):
            break
    return reached[asked]


def lead(logits: Tensor, target: Tensor) -> Tensor:
    """Return the target's logit less the largest other one (K,)."""
    return -margin(logits, target)


def odds(logits: Tensor, target: Tensor) -> Tensor:
    """Return the log-odds log p / (1 - p) (K,) of the target, in float64: float32 has none where p rounds to 1."""
    others = logits.double().scatter(1, target[:, None], -torch.inf)
    return logits.double().gather(1, target[:, None]).squeeze(1) - others.logsumexp(dim=1)


def odds_of_another(logits: Tensor, y: Tensor) -> Tensor:
    """Return the log-odds (K,) of the likeliest class but y."""
    return odds(logits, logits.scatter(1, y[:, None], -torch.inf).argmax(dim=1))


# (to one class?, by its probability?) -> what has to rise
GOALS: dict[tuple[bool, bool], Loss] = {
    (False, False): margin,
    (True, False): lead,
    (False, True): odds_of_another,
    (True, True): odds,
}


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
