"""An attack that wraps another and takes some of its options itself."""

# ruff: noqa: ARG001
from torch import Tensor, nn


def wrapper(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float,
    rng: int,
    stop: str = "never",
    attack: str = "pgd",
    steps: int = 100,
    options: dict | None = None,
) -> Tensor:
    return x
