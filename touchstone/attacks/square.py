"""Square attack: random search with square patches; it uses logits only."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from touchstone.attacks.balls import into_l1_ball, signs
from touchstone.attacks.contract import between, prepare
from touchstone.attacks.rows import compact
from touchstone.losses import margin
from touchstone.norms import distance, rowwise, unit
from touchstone.query import Query, tiles
from touchstone.ranges import Count, Share
from touchstone.rng import SampleRng
from touchstone.types import Bounds

# The share of pixels per square is halved after each of these queries out of 10000 (the authors' p_selection).
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
POWERS = {"l2": 2, "l1": 1}  # a norm to this power is a sum over the values
FALL = {"l2": 2, "l1": 4}  # the power with which the height of a pyramid falls
POSITIONS = 4  # uniform numbers per query for the corners of two windows; then one per channel, then a coin


def square(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    queries: Count = 5000,
    p_init: Share = 0.8,
) -> Tensor:
    """Return the point of largest margin that random search over square patches has found.

    Source: Andriushchenko et al. (2020), alg. 1 to 3, and the authors' code; l1: Croce and Hein (2021), "Mind the box:
    l1-APGD for sparse adversarial attacks on image classifiers", section 4, and their code. Deviations: every sample
    has squares of its own, so the result does not depend on the batch; squares reach the last row and column, which the
    authors' code leaves out; the first l2 and l1 tiles are not turned at random. A row is left alone once it is
    misclassified whatever `stop` says, as published.

    Options:
        queries: forward passes per sample, >= 1.
        p_init: share of the pixels in the first squares, in [0, 1].
    """
    task = prepare(model, x, y, norm=norm, norms=SEARCHES, rng=rng, eps=eps, stop=stop)
    between(1, queries=queries)
    between(0, 1, p_init=p_init)
    query, draws, search = task.query, task.rng, SEARCHES[norm]
    shape = tuple(x.shape[1:])
    image = shape if len(shape) == 3 else (1, 1, math.prod(shape))
    ends, rows = torch.empty_like(task.x), task.everyone
    x, y, eps = task.x.clone().view(-1, *image), task.y.clone(), task.eps.clone()
    z, best = x.clone(), torch.full_like(eps, -torch.inf)
    for step in range(queries):
        if not len(rows):
            break
        u = draws.uniform((POSITIONS + image[0] + 1,) if step else image, step=step, dtype=x.dtype)
        size = search.size(share(step, queries, p_init), image)
        for tile in tiles(len(rows), query.batch_size):
            if step:
                trial = search.propose(z[tile], x[tile], eps[tile], u[tile], size)
            else:
                trial = search.begin(x[tile], eps[tile], u[tile])
            centre = x[tile].view(-1, *shape)
            trial = search.confine(trial.view(-1, *shape), centre, eps[tile], task.bounds)
            value = margin(query.logits(trial, rows=rows[tile]), y[tile])
            better = value > best[tile]  # never true for NaN
            z[tile][better] = trial[better].view(-1, *image)
            best[tile][better] = value[better]
        solved = best > 0
        if solved.any():
            ends[rows[solved]] = z[solved].view(-1, *shape)
            rows, x, z, y, eps, best = compact(solved, rows, x, z, y, eps, best)
            draws = task.rng.at(rows)
    ends[rows] = z.view(-1, *shape)
    return ends


def share(step: int, queries: int, p_init: float) -> float:
    """Return the share of the pixels that the window of query `step` covers; query 0 has none."""
    progress = (step - 1) * 10000 // queries
    return p_init / 2 ** sum(progress > mark for mark in HALVINGS)


def side(covered: float, image: tuple[int, int, int]) -> int:
    """Return the side of a window over a share of the image (C, H, W), 0 if that rounds to nothing."""
    _, height, width = image
    return round(covered * width) if height == 1 else round(math.sqrt(covered * height * width))


def size_linf(covered: float, image: tuple[int, int, int]) -> tuple[int, int]:
    """Return height and width of the linf window: at least one pixel."""
    length = max(1, side(covered, image))
    return min(length, image[1]), min(length, image[2])


def size_odd(covered: float, image: tuple[int, int, int]) -> tuple[int, int]:
    """Return height and width of the l2 and l1 windows: odd, at least three pixels."""
    length = max(3, side(covered, image)) | 1
    return min(length, image[1]), min(length, image[2])


def stripes(x: Tensor, eps: Tensor, u: Tensor) -> Tensor:
    """Return x with +eps or -eps on each column of each channel; x and u are (B, C, H, W)."""
    return x + rowwise(eps, x) * signs(u[:, :, :1])


def patch_linf(z: Tensor, x: Tensor, eps: Tensor, u: Tensor, size: tuple[int, int]) -> Tensor:
    """Return z with the perturbation set to +eps or -eps (per channel) inside one window."""
    inside = mask(corners(u[:, :2], size, x), size, x)
    sign = signs(u[:, POSITIONS : POSITIONS + x.shape[1], None, None])
    return torch.where(inside, x + rowwise(eps, x) * sign, z)


def bumps(x: Tensor, eps: Tensor, u: Tensor, *, norm: str) -> Tensor:
    """Return x with a grid of about 5 x 5 bumps of random sign; x and u are (B, C, H, W).

    In l2 their total norm is eps, in l1 that of each channel's bump is 1.
    """
    height, width = x.shape[2:]
    h, w = max(1, height // 5), max(1, width // 5)
    down, across = height // h, width // w
    sign = signs(u[:, :, :down, :across]).repeat_interleave(h, 2).repeat_interleave(w, 3)
    delta = torch.zeros_like(x)
    top, left = (height - down * h) // 2, (width - across * w) // 2
    delta[:, :, top : top + down * h, left : left + across * w] = sign * bump(h, w, x, norm).repeat(down, across)
    return x + (unit(delta, "l2").mul_(rowwise(eps, x)) if norm == "l2" else delta)


def patch(z: Tensor, x: Tensor, eps: Tensor, u: Tensor, size: tuple[int, int], *, norm: str) -> Tensor:
    """Return z with the norm of two windows, and what is left of eps, moved into the first one (2020, alg. 3).

    In l2 the perturbation has norm eps afterwards. In l1 it may have more, for the code gives the window as many times
    its due as there are channels; the projection that follows is part of the search.
    """
    delta, channels, power = z - x, x.shape[1], POWERS[norm]
    first, second = corners(u[:, :2], size, x), corners(u[:, 2:4], size, x)
    unused = (eps**power - distance(delta, norm) ** power).clamp_min_(0) / channels
    freed = (delta.abs() ** power).mul_(mask(first, size, x) | mask(second, size, x)).sum(dim=(2, 3))
    budget = (freed + unused[:, None]) ** (1 / power) * (channels if norm == "l1" else 1)
    pattern = bump(*size, x, norm)
    if size[0] == size[1]:
        pattern = torch.where(u[:, -1, None, None] < 0.5, pattern, pattern.T)[:, None]
    rows = first[0][:, None] + torch.arange(size[0], device=x.device)
    columns = first[1][:, None] + torch.arange(size[1], device=x.device)
    window = (
        torch.arange(len(x), device=x.device)[:, None, None, None],
        torch.arange(channels, device=x.device)[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    )
    sign = signs(u[:, POSITIONS : POSITIONS + channels, None, None])
    fresh = unit(delta[window].flatten(0, 1), norm).view(-1, channels, *size) + sign * pattern
    delta.masked_fill_(mask(second, size, x), 0)
    delta[window] = unit(fresh.flatten(0, 1), norm).view_as(fresh) * budget[:, :, None, None]
    return x + (unit(delta, "l2").mul_(rowwise(eps, x)) if norm == "l2" else delta)


def bump(height: int, width: int, like: Tensor, norm: str) -> Tensor:
    """Return the update pattern (height, width) of unit norm: one pyramid up beside one pyramid down (alg. 3)."""
    if height == 1 < width:
        return bump(width, 1, like, norm).T
    upper = height // 2
    pattern = torch.cat([pyramid(upper, width, like, norm), -pyramid(height - upper, width, like, norm)])
    return unit(pattern[None], norm)[0]


def pyramid(height: int, width: int, like: Tensor, norm: str) -> Tensor:
    """Return (height, width) of unit norm: 1 in the middle, plus 1/4, 1/9, ... on ever larger squares around it.

    In l1 these are 1/16, 1/81, ..., as in the code of Croce and Hein (2021).
    """
    row = (torch.arange(height, dtype=like.dtype, device=like.device) - height // 2).abs()
    column = (torch.arange(width, dtype=like.dtype, device=like.device) - width // 2).abs()
    ring = torch.maximum(row[:, None], column)[..., None]
    level = torch.arange(max(height, width) // 2 + 1, dtype=like.dtype, device=like.device)
    heights = torch.where(level >= ring, 1 / (level + 1) ** FALL[norm], 0.0).sum(dim=-1)
    return unit(heights[None], norm)[0] if height else heights


def corners(u: Tensor, size: tuple[int, int], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return top row and left column (B,) of a window of that size inside x (B, C, H, W), from u (B, 2)."""
    room = torch.tensor([x.shape[2] - size[0] + 1, x.shape[3] - size[1] + 1], device=x.device)
    top, left = (u * room).long().unbind(1)
    return top, left


def mask(corner: tuple[Tensor, Tensor], size: tuple[int, int], x: Tensor) -> Tensor:
    """Return (B, 1, H, W), true inside the window of each row."""
    row = torch.arange(x.shape[2], device=x.device) - corner[0][:, None]
    column = torch.arange(x.shape[3], device=x.device) - corner[1][:, None]
    inside = ((row >= 0) & (row < size[0]))[:, :, None] & ((column >= 0) & (column < size[1]))[:, None]
    return inside[:, None]


def in_box(trial: Tensor, _: Tensor, __: Tensor, bounds: Bounds) -> Tensor:
    """Clip a trial (B, *shape) that is in its ball already."""
    return bounds.clip(trial)


def in_l1_ball_and_box(trial: Tensor, x: Tensor, eps: Tensor, bounds: Bounds) -> Tensor:
    """Project a trial (B, *shape) onto the box and the l1 ball of radius eps (B,) around x."""
    return into_l1_ball(trial - x, x, eps, bounds)


class Search(NamedTuple):
    """What differs between the norms: window size (share, image), first trial, later trials, and their domain."""

    size: Callable[[float, tuple[int, int, int]], tuple[int, int]]
    begin: Callable[[Tensor, Tensor, Tensor], Tensor]
    propose: Callable[[Tensor, Tensor, Tensor, Tensor, tuple[int, int]], Tensor]
    confine: Callable[[Tensor, Tensor, Tensor, Bounds], Tensor]


SEARCHES = {
    "linf": Search(size_linf, stripes, patch_linf, in_box),
    "l2": Search(size_odd, partial(bumps, norm="l2"), partial(patch, norm="l2"), in_box),
    "l1": Search(size_odd, partial(bumps, norm="l1"), partial(patch, norm="l1"), in_l1_ball_and_box),
}
