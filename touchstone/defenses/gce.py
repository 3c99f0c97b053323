"""Guided complement entropy: the probabilities of the wrong classes are made equal."""

import math
from dataclasses import dataclass

from torch import Tensor

from touchstone.defenses.base import Objective
from touchstone.ranges import NotNegative


@dataclass(frozen=True)
class GuidedComplementEntropy(Objective):
    """Mean of p_y^alpha * sum_{k != y} q_k log q_k / log C with q_k = p_k / (1 - p_y): between -1 and 0.

    Source: Chen et al. (2019), "Improving adversarial robustness via guided complement entropy", and the
    authors' code: three small constants (1e-7 twice, 1e-10) keep it finite, and the divisor is log C, not log(C - 1).

    Args:
        alpha: guiding exponent, >= 0; 1/3 in the paper.
    """

    alpha: NotNegative = 0.333

    def parts(self, logits: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the guided complement entropy."""
        p = logits.softmax(dim=1)
        true = p.gather(1, y[:, None])
        q = p / (1 - true + 1e-7)
        entropy = (q * (q + 1e-10).log()).scatter(1, y[:, None], 0.0).sum(dim=1)  # of the wrong classes, negative
        return {"gce": (true.squeeze(1) + 1e-7) ** self.alpha * entropy / math.log(logits.shape[1])}
