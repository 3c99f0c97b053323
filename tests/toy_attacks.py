"""An attack that wraps another and takes some of its options itself."""

# ruff: noqa: ARG001
import torch
from torch import Tensor, nn
from torch.nn import functional as F

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


def climb(model: nn.Module, x: Tensor, y: Tensor, eps: float = 0.5, steps: int = 10) -> Tensor:
    """A foreign attack: steps along the sign of the gradient, from a random point, and nothing of our contract."""
    start, z = x, (x + 0.1 * eps * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    for _ in range(steps):
        z = z.detach().requires_grad_()
        F.cross_entropy(model(z), y, reduction="sum").backward()
        z = (start + (z + eps * z.grad.sign() / 4 - start).clamp(-eps, eps)).clamp(0, 1)
    return z


def nothing(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """A foreign attack that forgets to return its points."""


STEPS = 4


def steps_by_name(*, steps: int = STEPS) -> int:
    """Its source does not say how many steps it takes by itself."""
    return steps


def asserts(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """A foreign attack that gives up without a word."""
    raise AssertionError
