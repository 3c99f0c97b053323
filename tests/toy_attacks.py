"""An attack that wraps another and takes some of its options itself."""

# ruff: noqa: ARG001
from torch import Tensor, nn

from touchstone.rng import SampleRng


def wrapper(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float,
    rng: int | SampleRng,
    stop: str = "never",
    attack: str = "pgd",
    steps: int = 100,
    options: dict | None = None,
) -> Tensor:
    return x
