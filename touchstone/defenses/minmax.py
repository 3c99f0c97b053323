"""The Min-Max penalty: weights towards zero or far from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from touchstone.defenses.base import Objective, means, weights
from touchstone.ranges import NotNegative, PrintedOrCoded
from touchstone.types import Step

# variant -> how the L2 part of one weight tensor is measured
L2 = {
    "printed": lambda w: w.square().sum(),
    "coded": lambda w: w.norm(),
}


@dataclass(frozen=True)
class MinMax(Objective):
    """Mean CE + lam * |W|_1 - mu * (L2 part of W), summed over the convolutions of `layers`.

    Source: Shen et al. (2020), eq. 5. `printed` squares the L2 norm, which leaves the objective unbounded
    below in any |w| > lam / (2 mu). `coded` is the sibling code of the first author: the norm unsquared
    (then lam = mu makes the penalty >= 0), one coefficient for both parts.

    Args:
        variant: "printed" or "coded".
        lam: coefficient of the L1 norm, >= 0.
        mu: coefficient of the L2 part, >= 0.
        layers: "conv" (all convolutions) or "conv1" (the first).

    Raises:
        ValueError: for an unknown variant or a negative coefficient.
    """

    variant: PrintedOrCoded
    lam: NotNegative
    mu: NotNegative
    layers: Literal["conv", "conv1"] = "conv"

    def penalty(self, model: nn.Module) -> tuple[Tensor, Tensor]:
        """Return the L1 part and the L2 part, both already weighted, both >= 0."""
        ws = weights(model, self.layers)
        return self.lam * sum(w.abs().sum() for w in ws), self.mu * sum(L2[self.variant](w) for w in ws)

    def steps(self, model: nn.Module, extra: None, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        """Yield one step on the batch."""
        terms = means(self.parts(model(x), y))
        l1, l2 = self.penalty(model)
        yield Step(model.parameters(), sum(terms.values()) + l1 - l2, {**terms, "l1": l1, "l2": l2})

    def bounded(self, model: nn.Module) -> bool:
        """Say whether every penalised weight is below lam / (2 mu), where the printed penalty turns downwards.

        A weight beyond it is pushed outwards however large it is; only the cross-entropy can hold it.
        """
        if self.variant != "printed" or not self.mu:
            return True
        return all(float(w.detach().abs().max()) <= self.lam / (2 * self.mu) for w in weights(model, self.layers))
