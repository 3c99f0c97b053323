"""Steepest ascent inside ball and box, from random points, again on the rows that are left: PGD and its kin."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from touchstone.attacks.balls import confine, in_ball
from touchstone.attacks.contract import Problem
from touchstone.attacks.rows import compact
from touchstone.losses import Loss, misclassified
from touchstone.norms import rowwise, steepest, unit
from touchstone.query import tiles
from touchstone.types import Bounds


def climb(
    task: Problem,
    start: Tensor,
    rows: Tensor,
    *,
    norm: str,
    stop: str,
    steps: int,
    step_size: Tensor,
    loss: Loss,
    sparsity: float = 1.0,
    decay: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Take the same number of steps on every row, with momentum if `decay` is not zero.

    Args:
        task: the block.
        start: (K, *shape) starting points of rows.
        rows: (K,) int64, the part of the block to work on.
        norm: of the ball, and of the steepest direction.
        stop: never or first; rows solved under "first" leave the block.
        steps: gradient steps.
        step_size: (B,) length of a step in the norm.
        loss: maximised.
        sparsity: see `ascend`.
        decay: factor on the old momentum, to which the gradient over its l1 norm is added (Dong et al. 2018,
            eq. 6).

    Returns: the end points (K, *shape), and which of them (K,) are known to be misclassified. Last iterates are
    not checked; with stop="never" none is.
    """
    query, asked = task.query, rows
    ends, solved = torch.empty_like(task.x), torch.zeros(len(task.x), dtype=torch.bool, device=rows.device)
    rows, z, x, y, eps, step = rows.clone(), start.clone(), task.x[rows], task.y[rows], task.eps[rows], step_size[rows]
    momentum = torch.zeros_like(z) if decay else z.new_empty(len(z), 0)
    for _ in range(steps):
        fooled = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        for tile in tiles(len(rows), query.batch_size):
            logits, _, grad = query.grad(z[tile], y[tile], loss, rows=rows[tile])
            if stop == "first":
                fooled[tile] = misclassified(logits, y[tile])
                ends[rows[tile][fooled[tile]]] = z[tile][fooled[tile]]
            if decay:
                grad = momentum[tile].mul_(decay).add_(unit(grad.nan_to_num(nan=0.0), "l1"))
            moved = ascend(z[tile], grad, step[tile], norm, sparsity, task.bounds)
            z[tile] = confine(moved, x[tile], eps[tile], norm, task.bounds)
        if fooled.any():
            solved[rows[fooled]] = True
            rows, z, x, y, eps, step, momentum = compact(fooled, rows, z, x, y, eps, step, momentum)
        if not len(rows):
            break
    ends[rows] = z
    return ends[asked], solved[asked]


def ascend(z: Tensor, grad: Tensor, step: Tensor, norm: str, sparsity: float, bounds: Bounds) -> Tensor:
    """Return z (K, *shape) moved by `step` (K,) along the steepest direction of grad (K, *shape) in the norm.

    In l1 that is a single entry, too few for one step. There the share 1 - sparsity of the entries, those of
    largest gradient, moves by equal parts of `step`, and what the wall does not let an entry take goes to the
    next one.
    """
    if norm != "l1":
        return torch.addcmul(z, steepest(grad, norm), rowwise(step, z))
    sign = grad.nan_to_num(nan=0.0).sign()
    room = torch.where(sign > 0, bounds.upper - z, torch.where(sign < 0, z - bounds.lower, 0.0)).flatten(1)
    entries = max(1, round((1 - sparsity) * room.shape[1]))
    largest = grad.flatten(1).abs().argsort(dim=1, descending=True, stable=True)
    parts = torch.minimum(room, step[:, None] / entries).gather(1, largest)
    before = parts.cumsum(dim=1).sub_(parts)
    moves = torch.minimum(parts, step[:, None] - before).clamp_min_(0)
    return z + torch.zeros_like(room).scatter_(1, largest, moves).view_as(z).mul_(sign)


def sweep(task: Problem, attempts: int, attempt: Callable[[int, Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    """Make attempts one after another, each on the rows that all before it left correctly classified.

    Args:
        task: the block.
        attempts: how many, >= 1.
        attempt: (number, rows (K,) int64) -> end points (K, *shape), and which of them (K,) are known to be
            misclassified; the others are looked at before the next attempt, never after the last.

    Returns: (B, *shape), the end point of each row's last attempt.
    """
    x_adv, left = task.x.clone(), task.everyone
    for number in range(attempts):
        ends, solved = attempt(number, left)
        x_adv[left] = ends
        if number + 1 == attempts:
            break
        open_ = ~solved
        last = task.query.logits(ends[open_], rows=left[open_])
        solved[open_] = misclassified(last, task.y[left[open_]])
        left = left[~solved]
        if not len(left):
            break
    return x_adv


def lengths(task: Problem, step_size: float, relative: bool) -> Tensor:
    """Return the step length of each row (B,)."""
    return task.eps * step_size if relative else torch.full_like(task.eps, step_size)


def random_points(task: Problem, rows: Tensor, norm: str, restart: int) -> Tensor:
    """Draw one point of the eps-ball around each of x[rows], uniform in the ball, then clipped to the box."""
    rng = task.rng.at(rows)
    return in_ball(task.x[rows], norm=norm, eps=task.eps[rows], bounds=task.bounds, rng=rng, restart=restart)
