"""Points that no attack chose: uniform in the ball. What they break needs no attack at all."""

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
