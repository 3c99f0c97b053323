"""Cross-entropy, with an L1 or squared L2 penalty on weights: std, std+l1, std+l2."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from touchstone.defenses.base import Objective, means, step, weights
from touchstone.ranges import NotNegative
from touchstone.types import Step


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """Mean CE + l1 * sum|w| + l2 * sum w^2 over the weights of `layers`.

    Source: Shen et al. (2020), eq. 2 and section 5.1 (Std., Std.+L1, Std.+L2). The paper prints neither the
    coefficients nor which parameters; here all weights and no biases.

    Args:
        l1: coefficient of the L1 norm, >= 0.
        l2: coefficient of the squared L2 norm, >= 0.
        layers: "all", "conv" or "conv1".

    Raises:
        ValueError: for a negative coefficient.
    """

    l1: NotNegative = 0.0
    l2: NotNegative = 0.0
    layers: Literal["all", "conv", "conv1"] = "all"

    def steps(self, model: nn.Module, extra: None, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        """Yield one step on the batch."""
        terms = means(self.parts(model(x), y))
        penalty = x.new_zeros(())
        if self.l1 or self.l2:
            ws = weights(model, self.layers)
            penalty = self.l1 * sum(w.abs().sum() for w in ws) + self.l2 * sum(w.square().sum() for w in ws)
        yield step(model, **terms, penalty=penalty)
