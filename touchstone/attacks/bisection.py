"""What attacks share that weigh the logits against the distance: a search for the weight, and when a row gives up."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

UPPER = 1e10  # constant above which the search counts as not bracketed
CHECKS = 10  # how often in a run `looks` says yes
PROGRESS = 1e-4  # relative fall of the loss between two looks below which a row gives up


class Bisection(NamedTuple):
    """The constants (K,) that are tried next, and the bounds (K,) between which the smallest sufficient ones lie.

    Source: Carlini and Wagner (2017), section V.A, in the form of advertorch.
    """

    const: Tensor
    lower: Tensor
    upper: Tensor

    @classmethod
    def begin(cls, const: Tensor) -> Bisection:
        """Return the search that starts from constants (K,)."""
        return cls(const, torch.zeros_like(const), torch.full_like(const, UPPER))

    def after(self, reached: Tensor) -> Bisection:
        """Return the next constants: smaller where these sufficed (K,), ten times larger before the first success."""
        upper = torch.where(reached, torch.minimum(self.upper, self.const), self.upper)
        lower = torch.where(reached, self.lower, torch.maximum(self.lower, self.const))
        return Bisection(torch.where(upper < UPPER, (lower + upper) / 2, self.const * 10), lower, upper)


def looks(step: int, steps: int) -> bool:
    """Say whether step number `step` of a run is one at which progress is looked at."""
    return step % max(1, steps // CHECKS) == 0


def stuck(loss: Tensor, last: Tensor) -> Tensor:
    """Say which rows (K,) have not got on since the last look; a NaN loss has not."""
    return ~(loss <= last * (1 - PROGRESS))
