"""The small records that models, attacks and defenses exchange."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from touchstone.recipe import MODEL


class Bounds(NamedTuple):
    """Box of valid inputs; floats, or tensors that broadcast against (B, C, H, W)."""

    lower: float | Tensor
    upper: float | Tensor

    def clip(self, x: Tensor) -> Tensor:
        """Clip x (B, *shape) into the box."""
        lower, upper = (torch.as_tensor(bound, dtype=x.dtype, device=x.device) for bound in self)
        return torch.minimum(torch.maximum(x, lower), upper)  # clamp with tensor bounds is five times slower


UNIT = Bounds(0.0, 1.0)


class MinNorm(NamedTuple):
    """Result of a minimal-norm attack: x_adv (B, *shape), dist (B,) (inf where not found), found (B,) bool."""

    x_adv: Tensor
    dist: Tensor
    found: Tensor


class Step(NamedTuple):
    """One optimiser step of a defense: which parameters, the scalar loss, its terms for history.csv, whose optimiser.

    A group is a name: `model`, or one that the phase has settings for. A phase has one optimiser per group.
    """

    parameters: Iterable[Parameter]
    loss: Tensor
    terms: dict[str, Tensor]
    group: str = MODEL
