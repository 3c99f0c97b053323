"""EAD: C&W's loss with an elastic-net distance, minimised by shrinking steps; the loss weight found by bisection."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from touchstone.attacks.bisection import Bisection, looks, stuck
from touchstone.attacks.contract import Problem, between, choose, positive, prepare
from touchstone.attacks.rows import Best, compact
from touchstone.losses import margin
from touchstone.norms import distance, rowwise
from touchstone.proximal import soft
from touchstone.query import Query, tiles
from touchstone.ranges import Count, NotNegative, Positive
from touchstone.rng import SampleRng
from touchstone.types import MinNorm

RULES = ("l1", "en")


def ead(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    steps: Count = 1000,
    lr: Positive = 0.01,
    binary_steps: Count = 9,
    init_const: Positive = 1e-3,
    beta: NotNegative = 1e-3,
    confidence: NotNegative = 0.0,
    rule: Literal["l1", "en"] = "l1",
    fista: bool = True,
    abort_early: bool = True,
) -> MinNorm:
    """Return the best misclassified iterate for |x' - x|_2^2 + beta |x' - x|_1 + c max(z_y - max z_j + confidence, 0).

    Source: Chen et al. (2018), eq. 4 to 8 and alg. 1; defaults, step lengths lr sqrt(1 - k / steps), bisection and
    early abort of the authors' code. As there, the threshold is beta itself and not beta times the step length, so
    that the steps settle where the l1 term weighs beta / step; and with fista the model sees points outside the box.
    Deviations: those of `cw`, whose bisection and early abort these are. The distance returned is l1 whatever the
    rule. Nothing is drawn.

    Options:
        steps: gradient steps for each constant, >= 1.
        lr: first step length, > 0.
        binary_steps: how many constants are tried, >= 1.
        init_const: first constant c, > 0; multiplied by ten until a row succeeds, then bisected.
        beta: threshold of each step and weight of the l1 distance, >= 0, in the units of x.
        confidence: margin in logits that counts as success, >= 0; a misclassified point has a margin > 0.
        rule: which iterate is best: l1 (smallest l1 distance) or en (smallest |.|_2^2 + beta |.|_1).
        fista: take the gradient at a point extrapolated from the last two iterates (alg. 1), not at the last.
        abort_early: a row whose loss fell by less than 1e-4 (relative) within a tenth of the steps goes no further.
    """
    task = prepare(model, x, y, norm=norm, norms=("l1",), rng=rng)
    between(1, steps=steps, binary_steps=binary_steps)
    between(0, confidence=confidence, beta=beta)
    positive(lr=lr, init_const=init_const)
    choose("rule", rule, RULES)
    best, gap = Best(task.x), margin(task.query.logits(task.x), task.y)  # best by the rule
    rows = best.settle((gap > 0) & (gap >= confidence))
    search = Bisection.begin(torch.full_like(best.dist[rows], init_const))
    run = {"steps": steps, "lr": lr, "beta": beta, "confidence": confidence, "rule": rule}
    for _ in range(binary_steps if len(rows) else 0):
        reached = shrink(task, best, rows, search.const, **run, fista=fista, abort_early=abort_early)
        search = search.after(reached)
    x_adv, _, found = best.result()
    return MinNorm(x_adv, torch.where(found, distance(x_adv - task.x, "l1"), torch.inf), found)


def shrink(
    task: Problem,
    best: Best,
    rows: Tensor,
    const: Tensor,
    *,
    steps: int,
    lr: float,
    beta: float,
    confidence: float,
    rule: str,
    fista: bool,
    abort_early: bool,
) -> Tensor:
    """Run (F)ISTA from x for the rows (K,) of the block with their constants (K,); say which (K,) succeeded."""
    query, asked = task.query, rows
    reached = torch.zeros(len(task.x), dtype=torch.bool, device=rows.device)
    rows, x, y, c = rows.clone(), task.x[rows], task.y[rows], const.clone()
    z, ahead, last = x.clone(), x.clone(), torch.full_like(const, torch.inf)
    threshold = torch.full_like(const, beta)
    for step in range(steps):
        rate, momentum = lr * math.sqrt(1 - step / steps), step / (step + 3) if fista else 0.0
        look = abort_early and looks(step, steps)
        idle = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        for tile in tiles(len(rows), query.batch_size):
            ids = rows[tile]
            _, gap, grad = query.grad(ahead[tile], y[tile], margin, rows=ids)
            hinge = rowwise(torch.where(gap <= confidence, -c[tile], 0.0), grad)
            offset = ahead[tile] - x[tile]
            downhill = grad.nan_to_num_(nan=0.0).mul_(hinge).add_(offset, alpha=2)
            shrunk = soft(offset.sub_(downhill, alpha=rate), threshold[: len(ids)])
            nearer = task.bounds.clip(shrunk.add_(x[tile]))
            ahead[tile] = torch.lerp(z[tile], nearer, 1 + momentum)
            z[tile] = nearer
            gap = margin(query.logits(nearer, rows=ids), y[tile])
            success = (gap > 0) & (gap >= confidence)
            offset = nearer - x[tile]
            size = distance(offset, "l1")
            elastic = distance(offset, "l2").square() + beta * size
            reached[ids] |= success
            best.offer(ids, nearer, size if rule == "l1" else elastic, success)
            if look:
                loss = elastic + c[tile] * (confidence - gap).clamp_min(0)
                idle[tile] = stuck(loss, last[tile])
                last[tile] = loss
        if idle.any():
            rows, z, ahead, x, y, c, last = compact(idle, rows, z, ahead, x, y, c, last)
        if not len(rows):
            break
    return reached[asked]
