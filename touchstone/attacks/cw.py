"""Carlini and Wagner's l2 attack: Adam in tanh space, the loss weight found by bisection."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from touchstone.attacks import ATTACKS
from touchstone.attacks.common import Best, Problem, between, compact, positive, prepare
from touchstone.losses import margin
from touchstone.norms import distance, rowwise
from touchstone.query import Query, tiles
from touchstone.rng import SampleRng
from touchstone.types import Bounds, MinNorm

UPPER = 1e10  # constant above which the search counts as not bracketed
SHRINK = 0.999999  # keeps atanh finite for pixels at 0 and 1, which would otherwise never move
CHECKS = 10  # how often abort_early looks
PROGRESS = 1e-4  # relative fall of the loss between two looks below which a row gives up
BETA1, BETA2, TINY = 0.9, 0.999, 1e-8  # Adam


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
    steps: int = 10000,
    lr: float = 0.01,
    binary_steps: int = 9,
    init_const: float = 1e-3,
    confidence: float = 0.0,
    abort_early: bool = True,
) -> MinNorm:
    """Return the nearest misclassified iterate of |x' - x|^2 + c max(z_y - max z_j + confidence, 0), over all c.

    Source: Carlini and Wagner (2017), section V.A; defaults, bisection and early abort of advertorch. Deviations:
    abort_early looks at each row's own loss (advertorch stops the batch on its sum), the distance is measured
    from x instead of x shrunk by 1e-6, and rows that are adversarial at x are returned at once. An unbounded
    input space is searched without the change of variables.

    Args:
        model: Module or Query, (B, *shape) -> logits (B, C).
        x: (B, *shape) float, inside the query's box, which must be finite or unbounded.
        y: (B,) int64 true classes.
        norm: l2.
        rng: seed or SampleRng of the block; nothing is drawn.
        steps: Adam steps for each constant, >= 1.
        lr: Adam's step size in tanh space, > 0.
        binary_steps: how many constants are tried, >= 1.
        init_const: first constant c, > 0; multiplied by ten until a row succeeds, then bisected.
        confidence: margin in logits that counts as success, >= 0.
        abort_early: a row whose loss fell by less than 1e-4 (relative) within a tenth of the steps goes no further.

    Returns: the nearest iterate with margin > 0 and >= confidence, and its l2 distance in the query's space.

    Raises:
        ValueError: an argument outside what is said above.
    """
    task = prepare(model, x, y, norm=norm, norms=ATTACKS["cw"].norms, rng=rng)
    between(1, steps=steps, binary_steps=binary_steps)
    between(0, confidence=confidence)
    positive(lr=lr, init_const=init_const)
    best = Best(task.x)
    gap = margin(task.query.logits(task.x), task.y)
    everyone = torch.arange(len(task.x), device=task.x.device)
    best.offer(everyone, task.x, torch.zeros_like(gap), (gap > 0) & (gap >= confidence))
    rows = everyone[best.dist > 0]
    const = torch.full_like(best.dist[rows], init_const)
    lower, upper = torch.zeros_like(const), torch.full_like(const, UPPER)
    for _ in range(binary_steps if len(rows) else 0):
        reached = descend(task, rows, const, best, steps=steps, lr=lr, confidence=confidence, abort_early=abort_early)
        const, lower, upper = bisect(const, lower, upper, reached)
    return best.result()


def bisect(const: Tensor, lower: Tensor, upper: Tensor, reached: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the next constants (K,) and their bounds: smaller after a success, ten times larger before the first."""
    upper = torch.where(reached, torch.minimum(upper, const), upper)
    lower = torch.where(reached, lower, torch.maximum(lower, const))
    return torch.where(upper < UPPER, (lower + upper) / 2, const * 10), lower, upper


def descend(
    task: Problem,
    rows: Tensor,
    const: Tensor,
    best: Best,
    *,
    steps: int,
    lr: float,
    confidence: float,
    abort_early: bool,
) -> Tensor:
    """Run Adam from x for the rows (K,) of the block with their constants (K,); say which (K,) succeeded."""
    space = coordinates(task.bounds)
    reached = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    at = torch.arange(len(rows), device=rows.device)  # place in `reached` of each row still in the block
    x, y, c = task.x[rows], task.y[rows], const.clone()
    w, last = space.enter(x), torch.full_like(const, torch.inf)
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for step in range(steps):
        look = abort_early and step % max(1, steps // CHECKS) == 0
        stuck = torch.zeros(len(w), dtype=torch.bool, device=w.device)
        for tile in tiles(len(w), task.query.batch_size):
            z, slope = space.leave(w[tile])
            ids = at[tile]
            _, gap, grad = task.query.grad(z, y[tile], margin, rows=rows[ids])
            offset = z - x[tile]
            dist = distance(offset, "l2")
            success = (gap > 0) & (gap >= confidence)
            reached[ids] |= success
            best.offer(rows[ids], z, dist, success)
            if look:
                loss = dist.square() + c[tile] * (confidence - gap).clamp_min(0)
                stuck[tile] = ~(loss <= last[tile] * (1 - PROGRESS))  # a NaN loss leaves too
                last[tile] = loss
            hinge = rowwise(torch.where(gap <= confidence, -c[tile], 0.0), z)
            uphill = grad.nan_to_num_(nan=0.0).mul_(hinge).add_(offset, alpha=2).mul_(slope)
            adam_(w[tile], m[tile], v[tile], uphill, lr, step)
        if stuck.any():
            w, m, v, x, y, c, last, at = compact(stuck, w, m, v, x, y, c, last, at)
        if not len(w):
            break
    return reached


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


def adam_(w: Tensor, m: Tensor, v: Tensor, grad: Tensor, lr: float, step: int) -> Tensor:
    """Take Adam's step number `step` (from 0) on every row of w, in place (Kingma and Ba 2015, alg. 1).

    Returns: what the mean gradient was divided by, shaped as w.
    """
    m.lerp_(grad, 1 - BETA1)
    v.mul_(BETA2).addcmul_(grad, grad, value=1 - BETA2)
    spread = v.sqrt().div_((1 - BETA2 ** (step + 1)) ** 0.5).add_(TINY)
    w.addcdiv_(m, spread, value=-lr / (1 - BETA1 ** (step + 1)))
    return spread
