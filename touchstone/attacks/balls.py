"""The balls that attacks are confined to: how a point gets inside, and how one is drawn from them."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from touchstone.attacks.contract import choose, walls
from touchstone.conditions import COLOURS
from touchstone.norms import project, rowwise, unit
from touchstone.rng import SampleRng
from touchstone.types import Bounds

BALLS = ("linf", "l2", "l1")

# Machine epsilons of a radius left free: x + delta is rounded in each entry, and in l1 and l2 the errors add up.
ROUNDING = {"l1": 100, "l2": 4}


def confine(z: Tensor, x: Tensor, eps: Tensor, norm: str, bounds: Bounds) -> Tensor:
    """Bring z (B, *shape) into the box, then into the ball of radius eps (B,) around x.

    The projection moves every coordinate towards x, which is in the box, so the second step does not undo
    the first; the last clip removes only rounding. For l2 and l1 this is the order of advertorch, not the
    nearest point of the intersection.
    """
    delta = bounds.clip(z).sub_(x)
    eps = eps * (1 - ROUNDING.get(norm, 0) * torch.finfo(x.dtype).eps)
    return bounds.clip(project(delta, eps, norm).add_(x))


def into_l1_ball(delta: Tensor, x: Tensor, eps: Tensor, bounds: Bounds) -> Tensor:
    """Return the point nearest to x + delta in the box and within the l1 distance eps (B,) of x.

    The nearest point moves value i by clip(|delta_i| - t, 0, room_i), where room_i is the way to the wall and
    t >= 0 the smallest number that brings the sum down to eps (Croce and Hein 2021, prop. 2.1). As t falls, a
    value starts to move at |delta_i| and stops at |delta_i| - room_i, so between two such levels the sum is
    linear: sorted, they give t exactly.
    """
    size = delta.flatten(1).double().abs()  # float32 would miss the radius, as in touchstone.norms
    room = torch.where(delta > 0, bounds.upper - x, x - bounds.lower).flatten(1).double().clamp_min_(0)
    levels = torch.cat([size, (size - room).clamp_min_(0)], dim=1)
    levels, order = levels.sort(dim=1, descending=True)
    moving = torch.where(order < size.shape[1], 1, -1).cumsum(dim=1)[:, :-1]
    sums = (levels[:, :-1] - levels[:, 1:]).mul_(moving).cumsum(dim=1)  # at levels 1, 2, ...
    after = (sums <= eps[:, None]).sum(dim=1, keepdim=True).clamp_max_(sums.shape[1] - 1)  # segment in which t lies
    before = torch.where(after > 0, sums.gather(1, (after - 1).clamp_min(0)), 0.0)
    t = levels.gather(1, after) - (eps[:, None] - before) / moving.gather(1, after).clamp_min(1)
    length = torch.minimum((size - t.clamp_min_(0)).clamp_min_(0), room).to(delta.dtype).view_as(delta)
    z = bounds.clip(x + length.copysign(delta))
    # Adding x rounds; over a thousand values that would carry the point out of the ball.
    return torch.where((z - x).abs() > length, torch.nextafter(z, x), z)


def in_unit_ball(rng: SampleRng, like: Tensor, norm: str, *, restart: int = 0, stream: int = 0) -> Tensor:
    """Draw one point per row, shaped like `like` (B, *shape), uniform in the unit ball of linf, l2 or l1."""
    choose("norm", norm, BALLS)
    shape = tuple(like.shape[1:])
    draw = partial(rng.uniform, restart=restart, dtype=like.dtype)
    if norm == "linf":
        return draw(shape, stream=stream).mul_(2).sub_(1)
    if norm == "l2":
        surface = unit(rng.normal(shape, restart=restart, stream=stream, dtype=like.dtype), "l2")
    else:  # exponential variables over their sum are uniform on the simplex
        surface = unit(signs(draw(shape, stream=stream + 2)) * draw(shape, stream=stream).neg_().log1p_(), "l1")
    return surface * rowwise(draw((), stream=stream + 1) ** (1 / max(1, math.prod(shape))), like)


def in_ball(
    x: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    bounds: Bounds,
    rng: SampleRng,
    restart: int = 0,
    stream: int = 0,
) -> Tensor:
    """Draw one point per row of x (B, *shape), uniform in the ball of radius eps, then clipped to the box.

    Args:
        x: (B, *shape) centres, inside the box.
        norm: a name in BALLS, or l0: eps random pixels (of a fraction the whole part) get random colours.
        eps: radius, >= 0, float or (B,).
        bounds: box of valid points.
        rng: of these rows.
        restart: which of the independent points.
        stream: three streams from this one on are used.

    Raises:
        ValueError: for a norm that has no ball here, and for l0 in a box without walls.
    """
    radius = torch.as_tensor(eps, dtype=x.dtype, device=x.device).expand(len(x))
    if norm == "l0":
        return recoloured(x, radius, bounds, rng, restart=restart, stream=stream)
    offset = in_unit_ball(rng, x, norm, restart=restart, stream=stream)
    return bounds.clip(offset.mul_(rowwise(radius, x)).add_(x))


def recoloured(x: Tensor, count: Tensor, bounds: Bounds, rng: SampleRng, *, restart: int, stream: int) -> Tensor:
    """Return x (B, *shape) with the whole part of count (B,) of its pixels, drawn at random, in uniform colours."""
    lower, upper = (torch.as_tensor(wall, dtype=x.dtype, device=x.device) for wall in bounds)
    walled(Bounds(lower, upper))
    places = (1, *x.shape[2:]) if x.ndim == 4 else tuple(x.shape[1:])
    rank = rng.uniform(places, restart=restart, stream=stream).flatten(1).argsort(dim=1, stable=True).argsort(dim=1)
    chosen = (rank < count.floor()[:, None]).view(-1, *places)
    colour = rng.uniform(tuple(x.shape[1:]), restart=restart, stream=stream + 1, dtype=x.dtype)
    return torch.where(chosen, lower + (upper - lower) * colour, x)


def walled(bounds: Bounds) -> None:
    """Raise ValueError unless the box, from which colours are drawn, is finite."""
    if walls(bounds) == "none":
        raise ValueError(f"{COLOURS}: pass Query(bounds=...)")


def signs(u: Tensor) -> Tensor:
    """Turn uniform numbers in [0, 1) into -1 or 1."""
    return torch.where(u < 0.5, -1.0, 1.0).to(u.dtype)
