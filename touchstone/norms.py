"""lp distances, projections and steepest directions, one value per row; all inputs are (B, *shape)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from touchstone.registry import nearest


def rowwise(value: Tensor, like: Tensor) -> Tensor:
    """Reshape value (B,) to (B, 1, ..., 1), so that it broadcasts against like (B, *shape)."""
    return value.view(-1, *[1] * (like.ndim - 1))


def pixels(delta: Tensor) -> Tensor:
    """Count the changed pixels (B,): for (B, C, H, W) a pixel is changed if any of its channels is."""
    changed = delta != 0
    return (changed.any(dim=1) if delta.ndim == 4 else changed).flatten(1).sum(dim=1)


def values(delta: Tensor) -> Tensor:
    """Count the changed values (B,), each channel on its own."""
    return (delta != 0).flatten(1).sum(dim=1)


DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {
    "linf": lambda delta: delta.flatten(1).abs().amax(dim=1),
    # summed in float64: for large images float32 would be 1e-6 off
    "l2": lambda delta: torch.linalg.vector_norm(delta.flatten(1), dim=1, dtype=torch.float64).to(delta.dtype),
    "l1": lambda delta: delta.flatten(1).abs().sum(dim=1),
    "l0": lambda delta: pixels(delta).to(delta.dtype),
}


def distance(delta: Tensor, norm: str) -> Tensor:
    """Return the norm of each row of delta (B, *shape) as (B,); l0 counts pixels."""
    return _pick(DISTANCES, norm)(delta)


def _project_linf(delta: Tensor, eps: Tensor) -> Tensor:
    radius = rowwise(eps, delta)
    return torch.minimum(torch.maximum(delta, -radius), radius)  # clamp with row bounds is three times slower


def _project_l2(delta: Tensor, eps: Tensor) -> Tensor:
    size = distance(delta, "l2")
    factor = torch.where(size > eps, eps / size, 1.0)  # inside: exactly 1, the point is not touched
    return delta * rowwise(factor, delta)


def _project_l1(delta: Tensor, eps: Tensor) -> Tensor:
    """Soft-threshold at the theta that makes the norm eps (Duchi et al. 2008, Fig. 1)."""
    magnitude = delta.flatten(1).double().abs()  # float32 would miss the radius by 1e-5 for large images
    ordered = magnitude.sort(dim=1, descending=True).values
    excess = ordered.cumsum(dim=1) - eps[:, None]
    rank = torch.arange(1, magnitude.shape[1] + 1, device=delta.device)
    kept = (ordered * rank > excess).sum(dim=1, keepdim=True).clamp_min_(1)
    theta = (excess.gather(1, kept - 1) / kept).clamp_min_(0)
    shrunk = (magnitude - theta).clamp_min_(0).to(delta.dtype).view_as(delta).copysign_(delta)
    return torch.where(rowwise(distance(delta, "l1") > eps, delta), shrunk, delta)


def _project_l0(delta: Tensor, eps: Tensor) -> Tensor:
    """Keep the pixels of largest Euclidean norm, as many as the whole part of eps says."""
    energy = delta.square().sum(dim=1, keepdim=True) if delta.ndim == 4 else delta.square()
    rank = energy.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return torch.where((rank < eps.floor()[:, None]).view_as(energy), delta, 0.0)


PROJECTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linf": _project_linf,
    "l2": _project_l2,
    "l1": _project_l1,
    "l0": _project_l0,
}


def project(delta: Tensor, eps: float | Tensor, norm: str) -> Tensor:
    """Return the nearest point of the norm's ball, row by row; rows inside it come back bit for bit.

    Args:
        delta: (B, *shape).
        eps: radius, >= 0, float or (B,).
        norm: linf, l2, l1 or l0. Distances are exact up to rounding: the result's norm is <= eps (1 + 1e-6), from
            points as far out as 1e9 eps. For l0, which counts pixels, nearest is meant in l2.
    """
    radius = torch.as_tensor(eps, dtype=delta.dtype, device=delta.device).expand(len(delta))
    return _pick(PROJECTIONS, norm)(delta, radius)


def unit(delta: Tensor, norm: str) -> Tensor:
    """Divide each row of delta (B, *shape) by its norm; zero rows stay zero."""
    # Divide by the largest entry first: in float32 squares of entries below 1e-23 underflow.
    scaled = delta / rowwise(_or_one(distance(delta, "linf")), delta)
    return scaled / rowwise(_or_one(distance(scaled, norm)), delta)


def _or_one(size: Tensor) -> Tensor:
    """Replace zeros by ones, so that a zero row divided by its own size stays zero."""
    return torch.where(size > 0, size, 1.0)


def _steepest_l1(grad: Tensor) -> Tensor:
    flat = grad.flatten(1)
    largest = flat.abs().argmax(dim=1, keepdim=True)
    return torch.zeros_like(flat).scatter_(1, largest, flat.gather(1, largest).sign()).view_as(grad)


STEEPEST: dict[str, Callable[[Tensor], Tensor]] = {
    "linf": torch.sign,
    "l2": lambda grad: unit(grad, "l2"),
    "l1": _steepest_l1,
}


def steepest(grad: Tensor, norm: str) -> Tensor:
    """Return the d with |d| <= 1 that maximises <grad, d> (zero where the gradient is zero or NaN)."""
    return _pick(STEEPEST, norm)(grad.nan_to_num(nan=0.0))


DUAL = {"linf": "l1", "l2": "l2", "l1": "linf"}


def _pick(table: dict[str, Callable], norm: str) -> Callable:
    if norm not in table:
        raise ValueError(f"unknown norm {norm!r}; {nearest(norm, table)}")
    return table[norm]
