"""What every attack promises and asks for, and the checks of what it is given.

An attack is a function over a block of samples. It proposes points; whether they count is for `touchstone.evaluation`.

    fixed:    attack(model, x, y, *, norm, eps, rng, stop="never", **options) -> x_adv
    minimal:  attack(model, x, y, *, norm, rng, **options) -> MinNorm(x_adv, dist, found)

Args:
    model: Module or Query, (B, *shape) -> logits (B, C).
    x: (B, *shape) floating point, inside the box of the query, which is [0, 1] for a Module.
    y: (B,) int64, the true classes, which an attack leads away from.
    norm: one of those that the table ATTACKS has for the attack. l0 counts pixels; inputs that are not images
        (B, C, H, W) are one row of pixels.
    eps: radius, >= 0, in the units of x (l0: how many pixels), float or (B,); no longer than two points of the box can
        lie apart.
    rng: seed, or SampleRng of the block. A draw belongs to a sample, a restart and a step, whoever shares the batch.
    stop: "never" does all that was published and returns the published iterate; "first" leaves a row alone as soon as
        a point of it is seen misclassified, and returns that point. Either way further restarts and targets skip the
        rows that are misclassified after the ones before.
    options: keywords of the attack, by default as published; its docstring says what they mean. Where there is a
        `loss`, it is a name of touchstone.registry.LOSSES, and maximised.

Returns:
    x_adv (B, *shape), detached, inside the box, of the type of x. A fixed attack keeps it within eps of x; a minimal
    one returns its distance dist (B,) from x too, in that norm and in the query's space, and whether one was found
    (B,) bool: where not, dist is inf and x_adv is x, but for an option that says otherwise. What is misclassified
    already is found at distance zero.
    Everything else stays as it was: x, y, the model with its mode and gradients, the global generators.

Raises:
    ValueError: an argument outside what is said here, or an option outside what the attack says of it. The message
        says what would be right.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor, nn

from touchstone.conditions import Walls
from touchstone.norms import distance
from touchstone.query import MIXED, Query, as_query
from touchstone.ranges import MOST
from touchstone.registry import nearest
from touchstone.rng import SampleRng, as_rng
from touchstone.types import Bounds

STOPS = ("never", "first")
SLACK = 1e-6  # how far x may lie outside the box: rounding of a normalisation, no more


class Problem(NamedTuple):
    """Checked arguments: the counted model, x (B, *shape), y (B,), eps (B,), the box as tensors, the draws."""

    query: Query
    x: Tensor
    y: Tensor
    eps: Tensor
    bounds: Bounds
    rng: SampleRng

    @property
    def everyone(self) -> Tensor:
        """All rows of the block, (B,) int64."""
        return torch.arange(len(self.x), device=self.x.device)


def prepare(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    norms: Collection[str],
    rng: int | SampleRng,
    eps: float | Tensor = 0.0,
    stop: str = "never",
) -> Problem:
    """Check what the contract says of the arguments, and bring them into one form; the attack has these norms.

    Raises:
        ValueError: norm not in norms; stop not in STOPS; x not float32 or float64, or outside the box; y not (B,)
            int64 with valid class numbers; eps negative, not finite, beyond the box or of another length than x; or the
            caller is in torch.inference_mode, where every gradient would be zero, or in torch.autocast.
    """
    choose("norm", norm, norms)
    choose("stop", stop, STOPS)
    if torch.is_inference_mode_enabled() or (torch.is_autocast_enabled(x.device.type) and not MIXED.get()):
        raise ValueError("an attack needs exact gradients: call it outside torch.inference_mode and torch.autocast")
    floats(x)
    class_numbers(y, len(x))
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
        meant = "divide by 255" if float(x.max()) > 2 else "pass Query(bounds=...)"
        raise ValueError(f"x must lie within the query's bounds, got values in {found}: {meant}")
    if len(x):
        within(radius, x, norm, bounds)
        below(y, query.probe(x))
    return Problem(query, x, y, radius.expand(len(x)), bounds, as_rng(rng, len(x), x.device))


def within(eps: Tensor, x: Tensor, norm: str, bounds: Bounds) -> None:
    """Raise ValueError if a radius exceeds every distance inside the box, as one in other units does.

    Args:
        eps: radii, () or (B,).
        x: (B, *shape) samples, B >= 1, of which the shape counts.
        norm: of the distance.
        bounds: of the box; without walls nothing is too far.
    """
    across = torch.as_tensor(bounds.upper - bounds.lower, dtype=x.dtype, device=x.device).expand_as(x[:1])
    most, largest = float(distance(across, norm)), float(eps.max())
    if largest > most * (1 + SLACK):
        unit = norm == "linf" and walls(bounds) == "unit"
        meant = "; of 0 to 255 take epsilon / 255" if unit else ""
        raise ValueError(f"no {norm} distance exceeds {most:g}, got epsilon {largest:g}{meant}")


def floats(x: Tensor) -> None:
    """Raise ValueError unless x is float32 or float64: half precision has no digits for a step of an attack."""
    if not x.is_floating_point():
        raise ValueError(
            f"x must be floating point, got {x.dtype}{': divide by 255' if x.dtype == torch.uint8 else ''}"
        )
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x must be float32 or float64, got {x.dtype}: convert it with .float()")


def class_numbers(y: Tensor, rows: int) -> None:
    """Raise ValueError unless y is (rows,) int64."""
    if y.shape != (rows,) or y.dtype != torch.int64:
        meant = ": of one-hot labels take y.argmax(1)" if y.ndim == 2 else ""
        raise ValueError(f"y must be ({rows},) int64, got {tuple(y.shape)} {y.dtype}{meant}")


def below(y: Tensor, classes: int) -> None:
    """Raise ValueError unless all y (B,) are numbers of classes."""
    if not bool(((y >= 0) & (y < classes)).all()):
        raise ValueError(f"y must be in [0, {classes}), got values in [{int(y.min())}, {int(y.max())}]")


def choose(name: str, value: str, choices: Collection[str]) -> None:
    """Raise ValueError unless value is one of choices."""
    if value not in choices:
        raise ValueError(f"{name} {value!r} is not supported here; {nearest(str(value), choices)}")


def walls(bounds: Bounds) -> Walls:
    """Return the kind of a box, as `touchstone.conditions` speaks of it: "none" if some wall is not finite."""
    lower, upper = (torch.as_tensor(bound) for bound in bounds)
    if not bool(lower.isfinite().all() & upper.isfinite().all()):
        return "none"
    if bool((lower == 0).all() & (upper == 1).all()):
        return "unit"
    return "one" if lower.numel() == upper.numel() == 1 else "each"


def between(low: float, high: float = math.inf, **options: float) -> None:
    """Raise ValueError for the first option outside [low, high], not finite, or an integer that counts to no end."""
    for name, value in options.items():
        most = min(high, MOST) if isinstance(value, int) else high
        if not (low <= value <= most and math.isfinite(value)):
            wanted = f">= {low}" if high == math.inf and value < low else f"in [{low}, {most}]"
            raise ValueError(f"{name} must be {wanted}, got {value}")


def positive(**options: float) -> None:
    """Raise ValueError for the first option that is not above zero, or not finite."""
    for name, value in options.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be > 0, got {value}")
