"""APGD: projected gradient ascent that chooses its own step sizes; untargeted, and targeted class by class."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from touchstone.attacks.balls import BALLS, confine, into_l1_ball
from touchstone.attacks.climb import random_points
from touchstone.attacks.contract import Problem, between, prepare
from touchstone.attacks.rows import compact
from touchstone.losses import Loss, dlr_targeted, margin_targeted, misclassified
from touchstone.norms import distance, rowwise, steepest, values
from touchstone.query import Query, tiles
from touchstone.ranges import Count
from touchstone.registry import LossName
from touchstone.rng import SampleRng
from touchstone.types import Bounds

MOMENTUM = 0.75  # weight of the new step; the rest goes to the one before
FIRST_STEP = 2.0  # step length for linf and l2 at the start, in units of eps
RHO = 0.75  # share of the steps between two checkpoints that must have raised the loss
L1_STAGES = ((3, 0.3), (2, 0.6), (1, 1.0))  # multiple of eps, and the share of all steps at which it ends
L1_CHECKS = 0.04  # share of a stage's steps between two checks of the sparsity
L1_SPARSER = 1.5  # a step changes that many times fewer values than the best point so far
L1_SETTLED = 0.95  # the step is shortened unless the support shrank to less than this share
L1_SHORTEST = 0.1  # step length for l1, in units of eps, below which it does not fall


class Climb(NamedTuple):
    """What is remembered of the K rows still in the block; all of it is changed in place."""

    rows: Tensor  # (K,) which rows of the block they are
    x: Tensor
    y: Tensor
    goal: Tensor  # (K,) or (K, 2), what the loss is given for labels
    eps: Tensor
    z: Tensor  # the iterate
    old: Tensor  # the one before; no columns for l1, which has no momentum
    best: Tensor  # the iterate of largest loss so far
    slope: Tensor  # the gradient there
    top: Tensor  # (K,) the loss there
    last: Tensor  # (K,) the loss of the iterate before
    rises: Tensor  # (K,) steps since the last checkpoint that raised the loss
    then: Tensor  # (K,) `top` at the last checkpoint
    kept: Tensor  # (K,) whether the last checkpoint left the step as it was
    step: Tensor  # (K,) step length
    support: Tensor  # (K,) l1: values changed in `best` at the last check


def apgd(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    steps: Count = 100,
    restarts: Count = 1,
    loss: LossName = "ce",
) -> Tensor:
    """Return adversarial candidates by gradient ascent whose step is halved where the loss stops rising.

    Source: Croce and Hein (2020), alg. 1; for l1 Croce and Hein (2021), alg. 1, with radii 3 eps, 2 eps and eps one
    after the other. Deviations: random starts are uniform in the ball (linf, l2) instead of on its surface; l2
    points go into the box before the ball; the last iterate costs no gradient.

    With stop="never" a row ends at its misclassified iterate of largest loss; one that no restart solves ends, whatever
    `stop` says, at the iterate of largest loss of the last restart.

    Options:
        steps: gradient steps per restart, >= 1.
        restarts: number of starts, >= 1.
    """
    task = prepare(model, x, y, norm=norm, norms=BALLS, rng=rng, eps=eps, stop=stop)
    between(1, steps=steps, restarts=restarts)
    return restarted(task, [task.y], task.query.loss(loss), norm=norm, stop=stop, steps=steps, restarts=restarts)


def apgd_t(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    steps: Count = 100,
    restarts: Count = 1,
    targets: Count = 9,
) -> Tensor:
    """Return adversarial candidates by APGD on the targeted DLR loss, one likely class after another.

    Source: Croce and Hein (2020), eq. 7 and section 6. Any misclassification counts, not only the target. With
    fewer than four classes that loss does not exist: the target's logit minus the true one replaces it, and the
    query gets the flag "margin_instead_of_dlr". What a row ends at is said in `apgd`.

    Options:
        steps: gradient steps per start, >= 1.
        restarts: number of starts for each target, >= 1.
        targets: how many of the other classes are tried, those of largest logit at x first, >= 1; all of them if
            there are fewer. Target k starts with restart k * restarts.
    """
    task = prepare(model, x, y, norm=norm, norms=BALLS, rng=rng, eps=eps, stop=stop)
    between(1, steps=steps, restarts=restarts, targets=targets)
    if not len(x):
        return task.x.clone()
    towards = dlr_targeted
    if task.query.classes < 4:
        towards = margin_targeted
        task.query.flags.add("margin_instead_of_dlr")
    others = task.query.logits(task.x).scatter(1, task.y[:, None], -torch.inf)
    likely = others.topk(min(targets, task.query.classes - 1), dim=1).indices
    goals = [torch.stack([task.y, target], dim=1) for target in likely.unbind(1)]

    def loss(logits: Tensor, goal: Tensor) -> Tensor:
        return towards(logits, goal[:, 0], goal[:, 1])

    return restarted(task, goals, loss, norm=norm, stop=stop, steps=steps, restarts=restarts)


def restarted(
    task: Problem, goals: list[Tensor], loss: Loss, *, norm: str, stop: str, steps: int, restarts: int
) -> Tensor:
    """Run each goal, (B,) or (B, 2) labels for the loss, `restarts` times on the rows that are left."""
    x_adv, left = task.x.clone(), task.everyone
    for restart in range(restarts * len(goals)):
        if not len(left):
            break
        task.query.restarts[left] = restart
        goal, start = goals[restart // restarts][left], starts(task, left, norm, restart)
        x, eps, done = task.x[left], task.eps[left], 0
        for factor, share in L1_STAGES if norm == "l1" else L1_STAGES[-1:]:
            radius, until = factor * eps, math.ceil(share * steps)
            if norm == "l1":
                start = into_l1_ball(start - x, x, radius, task.bounds)
            # A point of a larger ball settles nothing: only the last radius, the real one, does.
            when = stop if factor == 1 else None
            options = {"norm": norm, "stop": when, "steps": until - done}
            start, solved = ascend(task, left, start, goal, radius, loss, **options)
            done = until
        x_adv[left] = start
        left = left[~solved]
    return x_adv


def starts(task: Problem, rows: Tensor, norm: str, restart: int) -> Tensor:
    """Draw a start for each of rows: uniform in the ball, or for l1 normal noise, which is projected later."""
    if norm != "l1":
        return random_points(task, rows, norm, restart)
    x = task.x[rows]
    return x + task.rng.at(rows).normal(tuple(x.shape[1:]), restart=restart, dtype=x.dtype)


def ascend(
    task: Problem,
    rows: Tensor,
    start: Tensor,
    goal: Tensor,
    eps: Tensor,
    loss: Loss,
    *,
    norm: str,
    stop: str | None,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """Climb from start (K, *shape) within eps (K,) of x[rows]; with stop None success is not looked at.

    Returns: the misclassified iterates of largest loss, or of largest loss where none is (K, *shape), and which
    of them (K,) are misclassified.
    """
    query, checks = task.query, (sparsity_checks if norm == "l1" else checkpoints)(steps)
    ends, solved = torch.empty_like(task.x), torch.zeros(len(task.x), dtype=torch.bool, device=rows.device)
    height = torch.full((len(task.x),), -torch.inf, dtype=torch.float64, device=rows.device)  # loss of `ends`
    now = begin(task, rows, start, goal, eps, norm)
    for step in range(steps + 1):
        fooled = torch.zeros(len(now.rows), dtype=torch.bool, device=rows.device)
        for tile in tiles(len(now.rows), query.batch_size):
            part = Climb(*(tensor[tile] for tensor in now))
            if step < steps:
                logits, value, grad = query.grad(part.z, part.goal, loss, rows=part.rows)
            else:
                logits = query.logits(part.z, rows=part.rows)
                value, grad = loss(logits, part.goal), part.slope
            if stop:
                fooled[tile] = misclassified(logits, part.y)
                higher = fooled[tile] & (~solved[part.rows] | (value > height[part.rows]))
                ends[part.rows[higher]], height[part.rows[higher]] = part.z[higher], value[higher].double()
                solved[part.rows] |= fooled[tile]
            keep_best(part, value, grad)
            if step in checks:
                back = sparser(part) if norm == "l1" else halved(part, step - checks[step])
                part.z[back], grad[back] = part.best[back], part.slope[back]
            if step < steps:
                move(part, grad, norm, task.bounds, first=step == 0)
        if stop == "first" and fooled.any():
            now = Climb(*compact(fooled, *now))
        if not len(now.rows):
            break
    open_ = ~solved[now.rows]
    ends[now.rows[open_]] = now.best[open_]
    return ends[rows], solved[rows]


def begin(task: Problem, rows: Tensor, start: Tensor, goal: Tensor, eps: Tensor, norm: str) -> Climb:
    """Return the state before the first step."""
    x, lowest = task.x[rows], torch.full(rows.shape, -torch.inf, dtype=torch.float64, device=rows.device)
    return Climb(
        rows=rows.clone(),
        x=x,
        y=task.y[rows],
        goal=goal.clone(),
        eps=eps.clone(),
        z=start.clone(),
        old=start.new_empty(len(rows), 0) if norm == "l1" else start.clone(),
        best=start.clone(),
        slope=torch.zeros_like(start),
        top=lowest,
        last=torch.full_like(lowest, torch.inf),  # the start is no rise
        rises=torch.zeros_like(rows),
        then=lowest.clone(),
        kept=torch.ones_like(rows, dtype=torch.bool),
        step=eps.clone() if norm == "l1" else FIRST_STEP * eps,
        support=values(start - x),
    )


def keep_best(now: Climb, value: Tensor, grad: Tensor) -> None:
    """Take note of the loss (K,) and gradient at z; a NaN loss is never better."""
    now.rises.add_(value > now.last)
    now.last.copy_(value)
    better = value > now.top
    now.best[better], now.slope[better] = now.z[better], grad[better]
    now.top[better] = value[better].double()


def move(now: Climb, grad: Tensor, norm: str, bounds: Bounds, *, first: bool) -> None:
    """Take one step, in place; after the first, linf and l2 carry on a quarter of the step before."""
    if norm == "l1":
        ahead = sparse_direction(grad, now.support).mul_(rowwise(now.step, grad)).add_(now.z).sub_(now.x)
        now.z.copy_(into_l1_ball(ahead, now.x, now.eps, bounds))
        return
    ahead = torch.addcmul(now.z, steepest(grad, norm), rowwise(now.step, grad))
    ahead = confine(ahead, now.x, now.eps, norm, bounds)
    if not first:
        onwards = torch.lerp(now.z, ahead, MOMENTUM).add_(now.z - now.old, alpha=1 - MOMENTUM)
        ahead = confine(onwards, now.x, now.eps, norm, bounds)
    now.old.copy_(now.z)
    now.z.copy_(ahead)


def checkpoints(steps: int) -> dict[int, int]:
    """Return each step at which the step size is looked at, with the one before it (2020, section 3.1).

    The first is 22 % of all steps, each interval 3 % shorter than the last but at least 6 %. In whole percents,
    since 0.22 + 0.19 is more than 0.41 in floating point.
    """
    marks, percent, width = [0], 0, 22
    while percent + width <= 100:
        percent, width = percent + width, max(width - 3, 6)
        marks.append(-(-percent * steps // 100))
    return {after: before for before, after in pairwise(marks) if after > before}


def halved(now: Climb, interval: int) -> Tensor:
    """Halve the step of the rows that oscillate or are stuck, and say which (K,); they go back to their best."""
    stuck = now.kept & (now.then == now.top)
    back = (now.rises < RHO * interval) | stuck
    now.step[back] /= 2
    now.kept.copy_(~back)
    now.then.copy_(now.top)
    now.rises.zero_()
    return back


def sparsity_checks(steps: int) -> dict[int, int]:
    """Return each step at which the sparsity is looked at, with the one before it."""
    every = max(1, int(L1_CHECKS * steps))
    return {step: step - every for step in range(every, steps + 1, every)}


def sparser(now: Climb) -> Tensor:
    """Adapt step and sparsity, in place, and say for which rows (K,) the best point has become sparser.

    They go back to it with the full step; the others get a shorter one.
    """
    support = values(now.best - now.x)
    shrunk = support < L1_SETTLED * now.support
    shorter = torch.maximum(now.step / L1_SPARSER, L1_SHORTEST * now.eps)
    now.step.copy_(torch.where(shrunk, now.eps, shorter))
    now.support.copy_(support)
    return shrunk


def sparse_direction(grad: Tensor, support: Tensor) -> Tensor:
    """Return the signs of the support / 1.5 largest entries of grad (B, *shape), ties included, at l1 norm one."""
    flat = grad.nan_to_num(nan=0.0).flatten(1)
    size = flat.abs()
    count = (support / L1_SPARSER).ceil().long().clamp_(1, flat.shape[1])
    least = size.sort(dim=1, descending=True).values.gather(1, count[:, None] - 1)
    signs = flat.sign().mul_(size >= least)
    return signs.div_(distance(signs, "l1").clamp_min_(1)[:, None]).view_as(grad)
