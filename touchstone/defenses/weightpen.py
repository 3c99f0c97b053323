"""Weight penalisation: the classifier's weights towards the vertices of a regular simplex."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from touchstone.defenses.base import Objective, classifier, means, step
from touchstone.ranges import NotNegative, PrintedOrCoded
from touchstone.types import Step

# variant -> how the matrix W W^T - Sigma is measured
NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "printed": lambda matrix: torch.linalg.matrix_norm(matrix, ord=2),
    "coded": torch.linalg.matrix_norm,
}


@dataclass(frozen=True)
class WeightPenalization(Objective):
    """Mean CE + alpha * |W W^T - Sigma|, W (C, D) the last layer; Sigma is s^2, and s^2 / (1 - C) off the diagonal.

    Source: Xu et al. (2021), eq. 3.8. `printed` is the matrix 2-norm that the equation writes, `coded` the
    Frobenius norm; neither is squared, so the gradient keeps its length however near the target is. The paper
    assumes a last layer without bias and tanh before it: both are options of the model.

    Args:
        variant: "printed" or "coded".
        alpha: weight of the penalty, >= 0; 100 in the authors' code.
        s: length of each class's weight vector, >= 0; 0.1 in the authors' code.

    Raises:
        ValueError: for an unknown variant or a negative constant.
    """

    variant: PrintedOrCoded
    alpha: NotNegative = 100.0
    s: NotNegative = 0.1

    def penalty(self, weight: Tensor) -> Tensor:
        """Return alpha * |W W^T - Sigma| of W (C, D)."""
        classes = len(weight)
        gram = weight.new_full((classes, classes), self.s**2 / (1 - classes)).fill_diagonal_(self.s**2)
        with torch.autocast(weight.device.type, enabled=False):  # bfloat16 has no digits left near the target
            return self.alpha * NORMS[self.variant](weight @ weight.T - gram)

    def steps(self, model: nn.Module, extra: None, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        """Yield one step on the batch."""
        yield step(model, **means(self.parts(model(x), y)), penalty=self.penalty(classifier(model).weight))
