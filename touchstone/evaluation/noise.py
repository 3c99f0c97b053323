"""Points that no attack chose: uniform in the ball. What they break needs no attack at all."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from touchstone.attacks import balls
from touchstone.attacks.noise import STREAM
from touchstone.rng import SampleRng
from touchstone.types import Bounds


def in_ball(x: Tensor, *, norm: str, eps: float, bounds: Bounds, rng: SampleRng, draw: int = 0) -> Tensor:
    """Return the point per row of x (B, *shape) that the attack `noise` tries in its restart `draw`.

    Arguments and errors are those of `touchstone.attacks.balls.in_ball`.
    """
    return balls.in_ball(x, norm=norm, eps=eps, bounds=bounds, rng=rng, restart=draw, stream=STREAM)


@contextmanager
def own_generator(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's global generators for models that draw from them, and restore them after."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
