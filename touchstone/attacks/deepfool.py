"""DeepFool: repeated steps to the nearest boundary of the linearised classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from touchstone.attacks.boundary import boundary_step
from touchstone.attacks.contract import between, prepare
from touchstone.attacks.rows import Best, compact
from touchstone.losses import misclassified
from touchstone.norms import distance
from touchstone.query import Query, tiles
from touchstone.ranges import Count, NotNegative
from touchstone.rng import SampleRng
from touchstone.types import MinNorm


def deepfool(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    steps: Count = 50,
    overshoot: NotNegative = 0.02,
) -> MinNorm:
    """Return the first misclassified point on the way to the nearest linearised boundary over all classes.

    Source: Moosavi-Dezfooli, Fawzi, Frossard (2016), alg. 2 and section 3.3, and the authors' code. Deviations: the
    iterate is clipped to the box after each step, and where the box is active the point need not be close to optimal;
    the class to leave is y, where the authors leave the prediction at x. Nothing is drawn.

    Options:
        steps: linearisations, >= 1.
        overshoot: the summed steps are stretched by 1 + overshoot, >= 0.
    """
    task = prepare(model, x, y, norm=norm, norms=("linf", "l2"), rng=rng)
    between(1, steps=steps)
    between(0, overshoot=overshoot)
    query, best, rows = task.query, Best(task.x), task.everyone
    z, x, y, total = task.x.clone(), task.x.clone(), task.y.clone(), torch.zeros_like(task.x)
    for step in range(steps + 1):
        fooled = misclassified(query.logits(z, rows=rows), y)
        best.offer(rows, z, distance(z - x, norm), fooled)
        rows, z, x, y, total = compact(fooled, rows, z, x, y, total)
        if step == steps or not len(rows):
            break
        for tile in tiles(len(rows), query.batch_size):
            total[tile] += boundary_step(query, z[tile], y[tile], rows[tile], norm)
            z[tile] = task.bounds.clip(x[tile] + (1 + overshoot) * total[tile])
    return best.result()
