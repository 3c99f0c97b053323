"""MART: adversarial training that leans on the samples that are misclassified."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.defenses.base import step
from touchstone.defenses.inner import Regularized, divergence
from touchstone.types import Step


@dataclass(frozen=True)
class Mart(Regularized):
    """Mean BCE(x') + beta * mean KL(p(x) || p(x')) * (1 - p_y(x)), BCE = CE - log(1 - largest wrong p).

    Source: Wang et al. (2020), algorithm 1, and the authors' code: PGD on cross-entropy from a normal start of
    deviation 0.001; 1.0001 and 1.0000001 in the place of the ones keep logarithm and weight positive.

    Args, besides those of `Regularized`:
        beta: weight of the divergence, >= 0; 5 for ResNet-18 and 6 for WRN-34-10.
    """

    def parts(self, logits: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the boosted cross-entropy: what is asked of a perturbed input by itself."""
        wrong = logits.softmax(dim=1).scatter(1, y[:, None], 0.0).amax(dim=1)
        return {"bce": F.cross_entropy(logits, y, reduction="none") - (1.0001 - wrong).log()}

    def steps(self, model: nn.Module, extra: None, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        """Yield one step on the batch."""
        x_adv = self.perturbed(
            model, x, y, seed, lambda logits, rows: F.cross_entropy(logits, y[rows], reduction="none")
        )
        p = model(x).softmax(dim=1)
        logits = model(x_adv)
        doubt = 1.0000001 - p.gather(1, y[:, None]).squeeze(1)
        change = (divergence(logits, p) * doubt).mean()
        yield step(model, bce=self.loss(logits, y).mean(), divergence=self.beta * change)
