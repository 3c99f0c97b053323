"""TRADES: cross-entropy on clean inputs, and predictions that stay where they are within a ball."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.defenses.base import step
from touchstone.defenses.inner import Regularized, divergence
from touchstone.query import Query
from touchstone.types import Step


@dataclass(frozen=True)
class Trades(Regularized):
    """Mean CE(x) + beta * mean KL(p(x) || p(x')), x' the point of the ball where that divergence is large.

    Source: Zhang et al. (2019), algorithm 1, and the authors' code: both p in the second term carry gradients, none
    passes through x'.

    Args, besides those of `Regularized`:
        beta: weight of the divergence, >= 0; 1 on MNIST and 6 on CIFAR-10.
    """

    def steps(self, model: nn.Module, extra: None, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        """Yield one step on the batch."""
        query = Query(model)
        p = query.logits(x).softmax(dim=1)
        x_adv = self.perturbed(query, x, y, seed, lambda logits, rows: divergence(logits, p[rows]))
        logits = model(x)
        change = divergence(model(x_adv), logits.softmax(dim=1)).mean()
        yield step(model, ce=F.cross_entropy(logits, y), divergence=self.beta * change)
