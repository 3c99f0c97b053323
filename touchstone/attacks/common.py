"""What every attack does first (check its arguments) and what the iterative ones share."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Collection, Mapping
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from touchstone.attacks import ATTACKS
from touchstone.norms import project, rowwise, unit
from touchstone.query import Query, as_query
from touchstone.registry import nearest
from touchstone.registry import options as signature
from touchstone.rng import SampleRng, as_rng
from touchstone.types import Bounds, MinNorm

STOPS = ("never", "first")
BALLS = ("linf", "l2", "l1")
SLACK = 1e-6  # how far x may lie outside the box: rounding of a normalisation, no more

# Machine epsilons of a radius left free: x + delta is rounded in each entry, and in l1 and l2 the errors add up.
ROUNDING = {"l1": 100, "l2": 4}


class Problem(NamedTuple):
    """Checked arguments: the counted model, x (B, *shape), y (B,), eps (B,), the box as tensors, the draws."""

    query: Query
    x: Tensor
    y: Tensor
    eps: Tensor
    bounds: Bounds
    rng: SampleRng


def prepare(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    norms: tuple[str, ...],
    rng: int | SampleRng,
    eps: float | Tensor = 0.0,
    stop: str = "never",
) -> Problem:
    """Check what is common to all attacks and bring it into one form.

    Raises:
        ValueError: norm not in norms; stop not in STOPS; x not floating point, or outside the box; y not (B,)
            int64 with valid class numbers; eps negative, not finite or of another length than x.
    """
    choose("norm", norm, norms)
    choose("stop", stop, STOPS)
    if not x.is_floating_point():
        raise ValueError(f"x must be floating point, got {x.dtype}")
    if y.shape != x.shape[:1] or y.dtype != torch.int64:
        raise ValueError(f"y must be ({len(x)},) int64, got {tuple(y.shape)} {y.dtype}")
    x = x.detach().contiguous()
    query = as_query(model, x)
    bounds = Bounds(*(torch.as_tensor(bound, dtype=x.dtype, device=x.device) for bound in query.bounds))
    radius = torch.as_tensor(eps, dtype=x.dtype, device=x.device)
    if radius.ndim and radius.shape != y.shape:
        raise ValueError(f"eps must be a number or ({len(x)},), got shape {tuple(radius.shape)}")
    if not bool(((radius >= 0) & radius.isfinite()).all()):
        raise ValueError(f"eps must be finite and >= 0, got {eps}")
    if not bool(((x >= bounds.lower - SLACK) & (x <= bounds.upper + SLACK)).all()):
        found = f"[{x.min():g}, {x.max():g}]"
        raise ValueError(f"x must lie within the query's bounds, got values in {found}: pass Query(bounds=...)")
    classes = query.probe(x) if len(x) else 0
    if len(x) and not bool(((y >= 0) & (y < classes)).all()):
        raise ValueError(f"y must be in [0, {classes}), got values in [{int(y.min())}, {int(y.max())}]")
    return Problem(query, x, y, radius.expand(len(x)), bounds, as_rng(rng, len(x), x.device))


def choose(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless value is one of choices."""
    if value not in choices:
        raise ValueError(f"{name} {value!r} is not supported here; {nearest(str(value), choices)}")


def between(low: float, high: float = math.inf, **options: float) -> None:
    """Raise ValueError for the first option outside [low, high]."""
    for name, value in options.items():
        if not low <= value <= high:
            wanted = f">= {low}" if high == math.inf else f"in [{low}, {high}]"
            raise ValueError(f"{name} must be {wanted}, got {value}")


def positive(**options: float) -> None:
    """Raise ValueError for the first option that is not above zero."""
    for name, value in options.items():
        if not value > 0:
            raise ValueError(f"{name} must be > 0, got {value}")


def extra(attack: str, options: Mapping[str, Any] | None, given: Collection[str]) -> dict[str, Any]:
    """Return the options for an attack that another one runs; ValueError for one it has not, or that is given."""
    allowed = tuple(name for name in signature(ATTACKS[attack].fn) if name not in given)
    for name in options or {}:
        choose("option", name, allowed)
    return dict(options or {})


def wrapped(module: str) -> ModuleType:
    """Import a module of a library that some attacks wrap; ModuleNotFoundError says how to get it."""
    try:
        with warnings.catch_warnings():  # of what the library imports: not ours to mend
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}: this attack needs pip install 'touchstone[wrapped]'") from error


def walled(bounds: Bounds) -> None:
    """Raise ValueError unless the box is finite."""
    if not all(bool(wall.isfinite().all()) for wall in bounds):
        raise ValueError("colours are drawn from the box, which must be finite here: pass Query(bounds=...)")


def compact(solved: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Drop the solved rows, in place, from tensors that the attack owns; returns views of what is left.

    The last rows move into the holes, so the cost is that of the dropped rows, not of the block.
    """
    left = len(solved) - int(solved.sum())
    holes = solved[:left].nonzero().squeeze(1)
    movers = (~solved[left:]).nonzero().squeeze(1) + left
    for tensor in tensors:
        tensor[holes] = tensor[movers]
    return tuple(tensor[:left] for tensor in tensors)


def confine(z: Tensor, x: Tensor, eps: Tensor, norm: str, bounds: Bounds) -> Tensor:
    """Bring z (B, *shape) into the box, then into the ball of radius eps (B,) around x.

    The projection moves every coordinate towards x, which is in the box, so the second step does not undo
    the first; the last clip removes only rounding. For l2 and l1 this is the order of advertorch, not the
    nearest point of the intersection.
    """
    delta = bounds.clip(z).sub_(x)
    eps = eps * (1 - ROUNDING.get(norm, 0) * torch.finfo(x.dtype).eps)
    return bounds.clip(project(delta, eps, norm).add_(x))


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


def signs(u: Tensor) -> Tensor:
    """Turn uniform numbers in [0, 1) into -1 or 1."""
    return torch.where(u < 0.5, -1.0, 1.0).to(u.dtype)


class Best:
    """The nearest adversarial point of each row so far: x where there is none yet."""

    def __init__(self, x: Tensor) -> None:
        self.x_adv = x.clone()
        self.dist = x.new_full((len(x),), torch.inf)

    def offer(self, rows: Tensor, z: Tensor, dist: Tensor, adversarial: Tensor) -> None:
        """Keep z (K, *shape) at distances (K,) for rows (K,) where it is adversarial and nearer than before."""
        better = adversarial & (dist < self.dist[rows])
        self.x_adv[rows[better]] = z[better]
        self.dist[rows[better]] = dist[better]

    def result(self) -> MinNorm:
        """Return what has been found."""
        return MinNorm(self.x_adv, self.dist, self.dist.isfinite())
