"""Sigma-zero: gradient steps on a smooth count of what is changed, and a threshold below which changes are undone."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from touchstone.attacks.adam import adam_
from touchstone.attacks.contract import between, positive, prepare
from touchstone.attacks.rows import Best, compact
from touchstone.losses import margin, misclassified
from touchstone.norms import distance, rowwise, unit
from touchstone.query import Query, tiles
from touchstone.ranges import Count, NotNegative, Positive, Share
from touchstone.rng import SampleRng
from touchstone.types import Bounds, MinNorm


def sigma_zero(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    steps: Count = 1000,
    lr: Positive = 1.0,
    sigma: Positive = 1e-3,
    threshold: Share = 0.3,
    pace: NotNegative = 0.01,
    pixels: bool = True,
) -> MinNorm:
    """Return the misclassified iterate of fewest changed pixels of Adam on max(z_y - max z_j, 0) + a count of changes.

    Source: Cina et al. (2025), "Sigma-zero: gradient-based optimization of l0-norm adversarial examples", alg. 1, and
    the authors' code. There values are counted, each channel on its own: pixels=False. Deviations: what is counted by
    default are pixels, as the distance counts them, by their l2 norm over the channels, which changes nothing for one
    channel; the last iterate is tested too; and a row with one changed pixel, which cannot be improved, is left alone.
    The first step is taken from x and nothing is drawn.

    Options:
        steps: gradient steps, >= 1.
        lr: Adam's first step size, in the units of x, > 0; it falls to a tenth along a cosine.
        sigma: a change of square s counts as s / (s + sigma), in the units of x squared, > 0.
        threshold: changes that are smaller after a step are undone; the first threshold, in the units of x, in [0, 1].
        pace: it rises by this share of the step size where the iterate is misclassified, and falls by as much where it
            is not, >= 0; it stays in [0, 1].
        pixels: count pixels instead of values.
    """
    task = prepare(model, x, y, norm=norm, norms=("l0",), rng=rng)
    between(1, steps=steps)
    between(0, 1, threshold=threshold)
    between(0, pace=pace)
    positive(lr=lr, sigma=sigma)
    query, best = task.query, Best(task.x)
    rows = best.settle(misclassified(query.logits(task.x), task.y))
    x, y, tau = task.x[rows], task.y[rows], torch.full_like(best.dist[rows], threshold)
    delta, m, v = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)
    for step in range(steps):
        if not len(rows):
            break
        before, rate = annealed(lr, max(step - 1, 0), steps), annealed(lr, step, steps)
        for tile in tiles(len(rows), query.batch_size):
            d, here = delta[tile], x[tile]
            z = changed(here, d, task.bounds)
            _, gap, grad = query.grad(z, y[tile], margin, rows=rows[tile])
            best.offer(rows[tile], z, distance(z - here, "l0"), gap > 0)
            downhill = grad.nan_to_num_(nan=0.0).mul_(rowwise(torch.where(gap > 0, 0.0, -1.0), z))
            size = squares(d, pixels)
            count = size.flatten(1).shape[1]
            downhill.addcdiv_(d, (size + sigma).square_().expand_as(d), value=2 * sigma / count)
            adam_(d, m[tile], v[tile], unit(downhill, "linf"), before, step)
            d.copy_(task.bounds.clip(here + d).sub_(here))
            tau[tile] = (tau[tile] + torch.where(gap > 0, pace, -pace) * rate).clamp_(0, 1)
            d.masked_fill_(squares(d, pixels).sqrt_() < rowwise(tau[tile], d), 0.0)
        rows, x, y, tau, delta, m, v = compact(best.dist[rows] <= 1, rows, x, y, tau, delta, m, v)
    for tile in tiles(len(rows), query.batch_size):
        z = changed(x[tile], delta[tile], task.bounds)
        fooled = misclassified(query.logits(z, rows=rows[tile]), y[tile])
        best.offer(rows[tile], z, distance(z - x[tile], "l0"), fooled)
    return best.result()


def annealed(lr: float, step: int, steps: int) -> float:
    """Return the step size: lr at first, along a cosine to a tenth of it."""
    return lr * (0.1 + 0.9 * (1 + math.cos(math.pi * step / steps)) / 2)


def changed(x: Tensor, delta: Tensor, bounds: Bounds) -> Tensor:
    """Return x + delta (B, *shape) inside the box; what is not changed stays to the last bit."""
    return torch.where(delta != 0, bounds.clip(x + delta), x)


def squares(delta: Tensor, pixels: bool) -> Tensor:
    """Return the square of each value of delta (B, *shape), or of images summed over channels, (B, 1, H, W)."""
    size = delta.square()
    return size.sum(dim=1, keepdim=True) if pixels and delta.ndim == 4 else size
