"""Sparse random search: pixels in colours of the box's corners change places; it uses logits only."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from touchstone.attacks.balls import walled
from touchstone.attacks.contract import between, prepare
from touchstone.attacks.rows import compact
from touchstone.losses import margin, misclassified
from touchstone.query import Query, tiles
from touchstone.ranges import Count, Share
from touchstone.rng import SampleRng

# The share of pixels that are exchanged is divided by this after each of so many queries out of 10000.
DIVISORS = {0: 2, 50: 4, 200: 5, 500: 6, 1000: 8, 2000: 10, 4000: 12, 6000: 15, 8000: 20}


def sparse_rs(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    queries: Count = 10000,
    p_init: Share = 0.3,
) -> Tensor:
    """Return the point of largest margin that random search over sets of pixels and their colours has found.

    Source: Croce et al. (2022), "Sparse-RS: a versatile framework for query-efficient sparse black-box adversarial
    attacks", alg. 1 and section 4.1 (l0), and the authors' code. A trial gives up some of the eps pixels for as many
    others, whose channels are drawn from the walls of the box. Deviations: every sample has draws of its own, so the
    result does not depend on the batch; and where fewer pixels are free than a trial wants, the others stay and take
    new colours. A row is left alone once it is misclassified whatever `stop` says, as published. Of a fractional eps
    the whole part counts. A box without walls is a ValueError.

    Options:
        queries: forward passes per sample, >= 1.
        p_init: share of the pixels that is exchanged, in [0, 1]: half of this at first, then less and less.
    """
    task = prepare(model, x, y, norm=norm, norms=("l0",), rng=rng, eps=eps, stop=stop)
    between(1, queries=queries)
    between(0, 1, p_init=p_init)
    walled(task.bounds)
    query, shape, bounds, ends = task.query, tuple(x.shape[1:]), task.bounds, task.x.clone()
    image = shape if len(shape) == 3 else (1, 1, math.prod(shape))
    places = image[1] * image[2]
    able = task.eps >= 1
    able[able.clone()] = ~misclassified(query.logits(task.x[able], rows=able.nonzero().squeeze(1)), task.y[able])
    rows = able.nonzero().squeeze(1)
    x, y, count = task.x[rows], task.y[rows], task.eps[rows].long().clamp_max(places)
    z, best = x.clone(), torch.full_like(task.eps[rows], -torch.inf)
    chosen = torch.zeros(len(rows), places, dtype=torch.bool, device=rows.device)  # the set of pixels
    for step in range(queries):
        if not len(rows):
            break
        u = task.rng.at(rows).uniform((1 + image[0], places), step=step, dtype=x.dtype)
        swaps = (share(step, queries, p_init) * count).long().clamp_min(1) if step else count
        for tile in tiles(len(rows), query.batch_size):
            new, gone = exchange(chosen[tile], u[tile, 0], swaps[tile])
            colour = torch.where(u[tile, 1:].view_as(x[tile]) < 0.5, bounds.lower, bounds.upper)
            trial = torch.where(spread(new, x), colour, torch.where(spread(gone, x), x[tile], z[tile]))
            value = margin(query.logits(trial, rows=rows[tile]), y[tile])
            better = value > best[tile]  # never true for NaN
            z[tile][better], best[tile][better] = trial[better], value[better]
            chosen[tile][better] = (chosen[tile] & ~gone | new)[better]
        solved = best > 0
        ends[rows[solved]] = z[solved]
        rows, x, y, count, z, best, chosen = compact(solved, rows, x, y, count, z, best, chosen)
    ends[rows] = z
    return ends


def share(step: int, queries: int, p_init: float) -> float:
    """Return the share of the pixels that query `step` >= 1 exchanges."""
    progress = step * 10000 // queries
    return p_init / next((divisor for mark, divisor in reversed(DIVISORS.items()) if progress > mark), 1)


def exchange(chosen: Tensor, u: Tensor, swaps: Tensor) -> tuple[Tensor, Tensor]:
    """Draw swaps (K,) of the chosen pixels (K, P) to give up, and as many others, from uniform numbers u (K, P).

    Returns: which pixels (K, P) get a new colour, and which are given up.
    """
    free = (~chosen).sum(dim=1)
    new, left = smallest(u, swaps, ~chosen), smallest(u, swaps, chosen)
    gone = smallest(u, torch.minimum(swaps, free), chosen)
    return new | (left & ~gone), gone


def smallest(u: Tensor, count: Tensor, among: Tensor) -> Tensor:
    """Say for each of u (K, P) whether it is one of the count (K,) smallest of its row among some (K, P) of it."""
    places = torch.arange(u.shape[1], device=u.device)
    key = (u.double() + places * (2.0**-25 / u.shape[1])).masked_fill_(~among, torch.inf)  # no two are equal
    most = min(int(count.max()), u.shape[1])
    value, place = key.topk(most, dim=1, largest=False)
    return torch.zeros_like(among).scatter_(1, place, (places[:most] < count[:, None]) & value.isfinite())


def spread(mask: Tensor, like: Tensor) -> Tensor:
    """Give a mask of pixels (K, P) the shape of images like (B, C, H, W), for all channels, or of other inputs."""
    return mask.view(-1, 1, *like.shape[2:]) if like.ndim == 4 else mask.view(-1, *like.shape[1:])
