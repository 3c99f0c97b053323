"""The decision boundary of a linearised classifier: how far it is, and the steps that reach it."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from touchstone.norms import DUAL, distance, rowwise, steepest, unit
from touchstone.query import Query
from touchstone.types import Bounds

NUDGE = 1e-4  # added to a step, as in DeepFool's code: a point exactly on the boundary has to leave it


def rivals(logits: Tensor, y: Tensor, candidates: int | None = None) -> Tensor:
    """Return the classes (K, M) but y (K,) among those of largest logits (K, C), in the order of their numbers.

    Where y is among the `candidates` largest, as it is where the prediction is right, M is one less; None is all.
    """
    likely = logits.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
    return likely[:, : min(candidates or logits.shape[1], logits.shape[1]) - 1].sort(dim=1).values


def nearest_boundary(
    query: Query, z: Tensor, y: Tensor, rows: Tensor, norm: str, others: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Linearise at z (K, *shape) and find the class whose boundary to y (K,) is nearest; the box is not looked at.

    The class is one of others (K, M), or any but y.

    Returns: the class (K,), its logit less that of y (K,), the distance of the boundary (K,), inf where the model is
    flat or not finite, and the slope of that difference (K, *shape).
    """
    if others is None:
        others = torch.arange(query.classes - 1, device=z.device).expand(len(z), -1)
        others = others + (others >= y[:, None])
    logits, slope = query.jacobian(z, others, rows=rows, less=y)
    lead = logits.gather(1, others) - logits.gather(1, y[:, None])
    steepness = distance(slope.flatten(0, 1), DUAL[norm]).view_as(lead)
    away = torch.where(steepness > 0, lead.abs() / steepness, torch.inf)  # NaN logits: inf too
    one, nearest = torch.arange(len(z), device=z.device), away.argmin(dim=1)
    return others[one, nearest], lead[one, nearest], away[one, nearest], slope[one, nearest]


def boundary_step(
    query: Query,
    z: Tensor,
    y: Tensor,
    rows: Tensor,
    norm: str,
    others: Tensor | None = None,
    *,
    nudge: float = NUDGE,
    longest: float | None = None,
) -> Tensor:
    """Return the shortest step (K, *shape) to a boundary of the classifier linearised at z; zero where it is flat.

    Its length is that of the way to the boundary, cut to `longest`, plus `nudge`; others (K, M) as in
    `nearest_boundary`.
    """
    _, _, reach, slope = nearest_boundary(query, z, y, rows, norm, others)
    length = torch.where(reach.isfinite(), reach.clamp_max(longest or torch.inf) + nudge, 0.0)
    return steepest(slope, norm) * rowwise(length, z)


def onto_plane(z: Tensor, slope: Tensor, gap: Tensor, bounds: Bounds, norm: str) -> Tensor:
    """Return the d (K, *shape) of smallest norm with <slope, d> = gap (K,) and z + d in the box.

    Every value moves along +-slope and not beyond its wall. In linf all move equally far, in l2 in proportion to
    the slope, in l1 the steepest first, until the gap is closed. Where the box is too small for the gap, z + d is
    its corner.

    Source: Croce and Hein (2020), FAB, section 2.2.
    """
    pull = unit(slope, "linf").flatten(1).abs()  # largest entry one: nothing underflows
    sign = slope.flatten(1).sign().mul_(pull.sign()).mul_(gap.sign()[:, None]).view_as(z)
    need = gap.abs() / distance(slope, "linf").clamp_min(torch.finfo(slope.dtype).tiny)
    room = torch.maximum((bounds.upper - z) * sign, (bounds.lower - z) * sign)  # the wall is on the side of the sign
    room = room.nan_to_num_(nan=0.0, posinf=torch.inf).clamp_min_(0).flatten(1)  # nan: no box and no slope
    move = steepest_first if norm == "l1" else partial(together, speed=pull if norm == "l2" else pull.sign())
    return move(pull, need, room).view_as(z).mul_(sign)


def together(pull: Tensor, need: Tensor, room: Tensor, *, speed: Tensor) -> Tensor:
    """Return min(time * speed, room) (K, N) at the first time at which <pull, it> = need (K,), or room.

    What is gained is concave in time and linear while nobody reaches a wall. So Newton's steps from zero never go
    too far, and end after a few; a sort would cost more.
    """
    power, time, last = pull * speed, torch.zeros_like(need), torch.finfo(need.dtype)
    while True:
        moved = torch.minimum(speed * time[:, None], room)
        short = need - (pull * moved).sum(dim=1)
        rate = (room - moved).sign_().mul_(power).sum(dim=1)  # of those that still move
        moving = (short > 8 * last.eps * need) & (rate > 0)
        if not bool(moving.any()):
            return moved
        time = torch.where(moving, time + short / rate, time).clamp_max_(last.max)


def steepest_first(pull: Tensor, need: Tensor, room: Tensor) -> Tensor:
    """Return the way (K, N) of each value when those of largest pull go to their wall until <pull, it> = need (K,)."""
    pulls, order = pull.sort(dim=1, descending=True)
    gained = running_sum(pulls * room.gather(1, order))
    moved = ((need[:, None] - gained) / pulls.clamp_min(torch.finfo(pull.dtype).tiny)).clamp_min_(0)
    return torch.minimum(torch.zeros_like(pull).scatter_(1, order, moved), room)


def running_sum(values: Tensor) -> Tensor:
    """Sum the values to the left of each place of values (K, N)."""
    return torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1]], dim=1).cumsum(dim=1)
