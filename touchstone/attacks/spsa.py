"""SPSA: ascent along a gradient estimated from logits at random points nearby."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from touchstone.attacks.adam import adam_
from touchstone.attacks.balls import confine, signs
from touchstone.attacks.contract import between, positive, prepare
from touchstone.attacks.rows import compact
from touchstone.losses import Loss, misclassified
from touchstone.query import Query, tiles
from touchstone.ranges import Count, Positive
from touchstone.registry import LossName
from touchstone.rng import SampleRng


def spsa(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    steps: Count = 100,
    lr: Positive = 0.01,
    delta: Positive = 0.01,
    directions: Count = 128,
    loss: LossName = "margin",
) -> Tensor:
    """Return the last iterate of Adam on finite differences of the loss along random sign vectors.

    Source: Uesato et al. (2018), alg. 1; defaults of advertorch (LinfSPSAAttack), but for its single step.
    Deviation: every sample has directions of its own, where advertorch gives one set to the whole batch. As
    published, the search starts at x, and the model is asked up to delta outside the box, for logits only. With
    stop="first" each iterate is looked at, for one more forward pass.

    Options:
        steps: Adam steps, >= 1; each costs 2 x directions forward passes.
        lr: Adam's step size in the units of x, > 0.
        delta: half the distance over which a difference is taken, > 0.
        directions: sign vectors per step, >= 1.
    """
    task = prepare(model, x, y, norm=norm, norms=("linf",), rng=rng, eps=eps, stop=stop)
    between(1, steps=steps, directions=directions)
    positive(lr=lr, delta=delta)
    query, objective = task.query, task.query.loss(loss)
    ends, rows = torch.empty_like(task.x), task.everyone
    x, y, eps, z = task.x.clone(), task.y.clone(), task.eps.clone(), task.x.clone()
    m, v = torch.zeros_like(z), torch.zeros_like(z)
    for step in range(steps):
        if stop == "first":
            fooled = misclassified(query.logits(z, rows=rows), y)
            ends[rows[fooled]] = z[fooled]
            rows, x, y, eps, z, m, v = compact(fooled, rows, x, y, eps, z, m, v)
        for tile in tiles(len(rows), max(1, query.batch_size // (2 * directions))):
            u = task.rng.at(rows[tile]).uniform((directions, *z.shape[1:]), step=step, dtype=z.dtype)
            uphill = slope(query, z[tile], y[tile], rows[tile], signs(u), delta, objective)
            adam_(z[tile], m[tile], v[tile], uphill.neg_(), lr, step)
            z[tile] = confine(z[tile], x[tile], eps[tile], norm, task.bounds)
    ends[rows] = z
    return ends


def slope(query: Query, z: Tensor, y: Tensor, rows: Tensor, signs: Tensor, delta: float, loss: Loss) -> Tensor:
    """Estimate the gradient of the loss at z (B, *shape) from differences along signs (B, N, *shape) of +-1.

    A difference that is not finite counts as none.
    """
    count = signs.shape[1]
    offset = signs * delta
    points = torch.cat([z[:, None] + offset, z[:, None] - offset], dim=1).flatten(0, 1)
    logits = query.logits(points, rows=rows.repeat_interleave(2 * count))
    ahead, behind = loss(logits, y.repeat_interleave(2 * count)).view(-1, 2, 1, count).unbind(1)
    change = ahead - behind
    change = torch.where(change.isfinite(), change, 0.0)
    return (change @ signs.flatten(2)).div_(2 * delta * count).view_as(z)
