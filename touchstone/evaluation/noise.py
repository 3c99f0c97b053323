"""Points that no attack chose: uniform in the ball. What they break needs no attack at all."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from touchstone.norms import rowwise, unit
from touchstone.registry import nearest
from touchstone.rng import SampleRng
from touchstone.types import Bounds

STREAM = 1000  # apart from the streams of the attacks: their random starts are not these points


def _linf(rng: SampleRng, shape: tuple[int, ...], draw: int) -> Tensor:
    return rng.uniform(shape, restart=draw, stream=STREAM) * 2 - 1


def _l2(rng: SampleRng, shape: tuple[int, ...], draw: int) -> Tensor:
    return _inwards(unit(rng.normal(shape, restart=draw, stream=STREAM), "l2"), rng, draw)


def _l1(rng: SampleRng, shape: tuple[int, ...], draw: int) -> Tensor:
    """Draw exponential variables: their shares of the sum are uniform on the simplex."""
    size = -torch.log1p(-rng.uniform(shape, restart=draw, stream=STREAM))
    sign = rng.integers(2, shape, restart=draw, stream=STREAM + 1) * 2 - 1
    return _inwards(unit(size * sign, "l1"), rng, draw)


BALLS: dict[str, Callable[[SampleRng, tuple[int, ...], int], Tensor]] = {"linf": _linf, "l2": _l2, "l1": _l1}


def in_ball(x: Tensor, *, norm: str, eps: float, bounds: Bounds, rng: SampleRng, draw: int = 0) -> Tensor:
    """Return one point per row of x (B, *shape), uniform in the ball of radius eps, then clipped to the box.

    Args:
        x: (B, *shape) centres, inside the box.
        norm: a name in BALLS.
        eps: radius >= 0.
        bounds: box of valid points.
        rng: of the block.
        draw: which of the independent points.

    Raises:
        ValueError: for a norm that has no ball here.
    """
    if norm not in BALLS:
        raise ValueError(f"no random points for norm {norm!r}; {nearest(norm, BALLS)}")
    return bounds.clip(x + eps * BALLS[norm](rng, tuple(x.shape[1:]), draw).to(x.dtype))


@contextmanager
def own_generator(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's global generators for models that draw from them, and restore them after."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _inwards(surface: Tensor, rng: SampleRng, draw: int) -> Tensor:
    """Scale points of the unit sphere by u^(1/d): uniform in the ball."""
    depth = rng.uniform((), restart=draw, stream=STREAM + 2) ** (1 / math.prod(surface.shape[1:]))
    return surface * rowwise(depth, surface)
