"""Probabilistically compact loss with logit constraints."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from touchstone.defenses.base import Objective
from touchstone.losses import margin
from touchstone.ranges import NotNegative, PrintedOrCoded, Share


def _runner_up(logits: Tensor, y: Tensor) -> Tensor:
    """Return how far (B,) the true logit is above the largest other one, and 0 below it."""
    return F.relu(-margin(logits, y))


def _expected(logits: Tensor, y: Tensor) -> Tensor:
    """Return how far (B,) the true logit is above the others, in the mean over the softmax among the others."""
    true = y[:, None]
    share = logits.scatter(1, true, -torch.inf).softmax(dim=1)
    return F.relu(share * (logits.gather(1, true) - logits)).sum(dim=1)


# variant -> (number of terms that eq. 6 is divided by, of C classes; the logit constraint)
VARIANTS: dict[str, tuple[Callable[[int], int], Callable[[Tensor, Tensor], Tensor]]] = {
    "printed": (lambda classes: 1, _runner_up),  # noqa: ARG005
    "coded": (lambda classes: classes - 1, _expected),
}


@dataclass(frozen=True)
class ProbabilisticallyCompact(Objective):
    """Mean of sum_{k != y} (p_k + xi - p_y)_+ + lam * (a_y - a_j)_+, p probabilities, a logits, j the runner-up.

    Source: Li et al. (2021), eqs. 6 and 16, lam a constant as in "Experiments". C' of eq. 16 is left out: it is a
    constant of the sum. `coded` divides the first part by C - 1, and in the second weights all wrong classes by
    their softmax among themselves, through which gradients flow too. The paper trains with cross-entropy first
    (a phase with `init: <slug of a cross-entropy>`), for where p_y is close to 0 the gradient vanishes.

    Args:
        variant: "printed" or "coded".
        xi: wanted gap between probabilities, in [0, 1]; 0.995 in the paper.
        lam: weight of the logit constraint, >= 0; 0.05 in the paper.

    Raises:
        ValueError: for an unknown variant or a negative constant.
    """

    variant: PrintedOrCoded
    xi: Share = 0.995
    lam: NotNegative = 0.05

    def parts(self, logits: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the probability gaps that are missing, and the logit gap."""
        terms, constraint = VARIANTS[self.variant]
        p, true = logits.softmax(dim=1), y[:, None]
        missing = F.relu(p + self.xi - p.gather(1, true)).scatter(1, true, 0.0).sum(dim=1)
        return {"pc": missing / terms(logits.shape[1]), "lc": self.lam * constraint(logits, y)}
