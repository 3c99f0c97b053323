"""The high-confidence attack: steps to where the linearised log-likelihood of a target reaches a confidence."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Gt, Lt
from torch import Tensor, nn

from touchstone.attacks.boundary import NUDGE, nearest_boundary
from touchstone.attacks.contract import between, positive, prepare
from touchstone.attacks.rows import Best, compact
from touchstone.losses import ce64, misclassified
from touchstone.norms import distance, rowwise, steepest
from touchstone.query import Query, tiles
from touchstone.ranges import Count, NotNegative, Positive
from touchstone.rng import SampleRng
from touchstone.types import MinNorm


def high_confidence(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    steps: Count = 500,
    target_confidence: Annotated[float, Gt(0), Lt(1)] | None = None,
    longest: Positive | None = 0.1,
    overshoot: NotNegative = 0.02,
    keep_last: bool = False,
) -> MinNorm:
    """Return the first point that the model takes for the nearest other class with the confidence asked for.

    Source: Matyasko (2020), alg. 1 and section 4.5, and the author's code. As printed: overshoot=0; alg. 1 alone,
    without section 4.5, has longest=None too. The code counts the perturbation of whoever was not broken too, for which
    there is keep_last=True. As coded, each step is 1e-4 longer and the target is the class with the
    nearest boundary linearised at x, which is kept. Deviations: a sample that is misclassified with that confidence
    already needs nothing, where the author, who leaves y in the evaluation (and the prediction at x in training only),
    goes to the nearest boundary of y, mostly that of the prediction; and likelihoods are computed in float64, for
    float32 has no confidences between 1 - 6e-8 and 1. Found is what is predicted as the target with at least the
    confidence. Nothing is drawn.

    Options:
        steps: gradient steps, >= 1.
        target_confidence: softmax probability of the target that counts as success, in (0, 1); None asks of each
            row what the model gives its prediction at x.
        longest: a step is cut to this l2 norm, > 0, in the units of x; None cuts none.
        overshoot: steps are stretched by 1 + overshoot, >= 0.
        keep_last: return the last iterate, not x, where none will do; not found and at distance inf as ever.
    """
    task = prepare(model, x, y, norm=norm, norms=("l2",), rng=rng)
    between(1, steps=steps)
    between(0, overshoot=overshoot)
    if longest is not None:
        positive(longest=longest)
    if target_confidence is not None and not 0 < target_confidence < 1:
        raise ValueError(f"target_confidence must be in (0, 1), got {target_confidence}")
    query, best, rows = task.query, Best(task.x), task.everyone
    clean = query.logits(task.x)
    target, goal = clean.argmax(dim=1), likelihood(clean, clean.argmax(dim=1))
    if target_confidence is not None:
        goal = torch.full_like(goal, math.log(target_confidence))
    right = (~misclassified(clean, task.y)).nonzero().squeeze(1)
    for tile in tiles(len(right), query.batch_size):
        ids = right[tile]
        target[ids] = nearest_boundary(query, task.x[ids], task.y[ids], ids, "l2")[0]
    z, x, y = task.x.clone(), task.x.clone(), task.y.clone()
    for _ in range(steps):
        there = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        for tile in tiles(len(rows), query.batch_size):
            logits, value, grad = query.grad(z[tile], target[tile], likelihood, rows=rows[tile])
            there[tile] = arrived(logits, y[tile], target[tile], goal[tile])
            best.offer(rows[tile], z[tile], distance(z[tile] - x[tile], "l2"), there[tile])
            step = confidence_step(grad, goal[tile] - value, nudge=NUDGE, longest=longest)
            z[tile] = task.bounds.clip(torch.add(z[tile], step, alpha=1 + overshoot))
        rows, z, x, y, target, goal = compact(there, rows, z, x, y, target, goal)
        if not len(rows):
            break
    if len(rows):
        there = arrived(query.logits(z, rows=rows), y, target, goal)
        best.offer(rows, z, distance(z - x, "l2"), there)
        if keep_last:
            best.x_adv[rows[~there]] = z[~there]
    return best.result()


def confidence_step(
    slope: Tensor, gap: Tensor, *, nudge: float = 0.0, floor: float = 0.0, longest: float | None = None
) -> Tensor:
    """Return the shortest step (B, *shape) along which a function that is linear in x changes by |gap|.

    Source: Matyasko (2020), alg. 1 (lines 5 to 7); the constants are of the author's code. Gradients pass through both
    arguments; where the slope is zero so is the step.

    Args:
        slope: (B, *shape), the gradient w of the log-likelihood.
        gap: (B,), what its value lacks.
        nudge: added to the length |gap| / |w|, >= 0, in the units of x.
        floor: |w| is taken as the root of |w|^2 + floor^2, so that a vanishing slope makes no endless step; >= 0.
        longest: a step is cut to this l2 norm, > 0, in the units of x; None cuts none.
    """
    size = distance(slope, "l2")
    steep = size > 0
    # before any division, for its gradient would be NaN
    size, gap = torch.where(steep, size, 1.0), torch.where(steep, gap, 0.0)
    steepness = torch.hypot(size, torch.full_like(size, floor))
    length = ((gap.abs() / steepness).to(size.dtype) + nudge) * (size / steepness)
    if longest is not None:
        length = length.clamp_max(longest)
    return steepest(slope, "l2") * rowwise(length, slope)


def arrived(logits: Tensor, y: Tensor, target: Tensor, goal: Tensor) -> Tensor:
    """Say for each row (B,) whether the target, and not y, is predicted, with log-likelihood goal or more."""
    hit = misclassified(logits, y) & (logits.argmax(dim=1) == target)
    return hit & (likelihood(logits, target) >= goal)


def likelihood(logits: Tensor, y: Tensor) -> Tensor:
    """Return log p_y (B,) in float64."""
    return -ce64(logits, y)
