"""DDN: the direction from the gradient, the norm from whether the last point was adversarial."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from touchstone.attacks.contract import between, positive, prepare
from touchstone.attacks.rows import Best
from touchstone.losses import misclassified
from touchstone.norms import distance, rowwise, steepest, unit
from touchstone.query import Query, tiles
from touchstone.ranges import Count, Positive, Share
from touchstone.registry import LossName
from touchstone.rng import SampleRng
from touchstone.types import MinNorm

LAST_RATE = 0.01  # the cosine schedule of the step length runs from 1 to this


def ddn(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    steps: Count = 100,
    init_eps: Positive = 1.0,
    gamma: Share = 0.05,
    loss: LossName = "ce",
) -> MinNorm:
    """Return the nearest misclassified iterate of gradient steps rescaled to a norm that shrinks on success.

    Source: Rony et al. (2019), alg. 1, and the authors' code. Deviations: no quantisation to 256 levels, and the
    last iterate is tested too (one more forward pass). Where the gradient is zero the direction is drawn.

    Options:
        steps: gradient steps, >= 1.
        init_eps: first norm of the perturbation, > 0, in the units of x.
        gamma: the norm is multiplied by 1 - gamma after a success, else by 1 + gamma; in [0, 1].
    """
    task = prepare(model, x, y, norm=norm, norms=("l2",), rng=rng)
    between(1, steps=steps)
    between(0, 1, gamma=gamma)
    positive(init_eps=init_eps)
    query, x, y, objective = task.query, task.x, task.y, task.query.loss(loss)
    best, rows = Best(x), task.everyone
    widest = distance(torch.maximum(x - task.bounds.lower, task.bounds.upper - x), "l2")
    z, eps = x.clone(), torch.full_like(widest, init_eps)
    for step in range(steps):
        rate = LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * step / steps)) / 2
        for tile in tiles(len(x), query.batch_size):
            logits, _, grad = query.grad(z[tile], y[tile], objective, rows=rows[tile])
            fooled = misclassified(logits, y[tile])
            offset = z[tile] - x[tile]
            best.offer(rows[tile], z[tile], distance(offset, "l2"), fooled)
            direction = steepest(grad, "l2")
            flat = distance(direction, "linf") == 0
            if flat.any():
                noise = task.rng.at(rows[tile][flat]).normal(tuple(x.shape[1:]), step=step, dtype=x.dtype)
                direction[flat] = unit(noise, "l2")
            resized = torch.where(fooled, eps[tile] * (1 - gamma), eps[tile] * (1 + gamma))
            eps[tile] = torch.minimum(resized, widest[tile])
            offset = unit(offset.add_(direction, alpha=rate), "l2").mul_(rowwise(eps[tile], offset))
            z[tile] = task.bounds.clip(offset.add_(x[tile]))
    best.offer(rows, z, distance(z - x, "l2"), misclassified(query.logits(z), y))
    return best.result()
