"""Adversarial training by turns: a clean step, then a PGD step on the same batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.attacks.pgd import pgd
from touchstone.defenses.base import Objective
from touchstone.query import Query
from touchstone.ranges import Count, NotNegative
from touchstone.threat import Threat, in_space
from touchstone.types import Step


@dataclass(frozen=True)
class Alternating(Objective):
    """One step on the clean batch, then one on its PGD version against the updated weights.

    Source: Shen et al. (2020), section 3.3 ("alternately between clean samples and adversarial samples");
    the order within a batch follows the sibling code of the first author.

    Args:
        norm: "linf" or "l2".
        eps: radius in the units of `space`, >= 0.
        steps: PGD steps.
        step_size: in the units of `space`.
        space: "pixel", or "normalized" (the paper's).
    """

    norm: Literal["linf", "l2"]
    eps: NotNegative
    # the attack's own names; `steps` is also the method below, hence the prefix
    attack_steps: Count
    step_size: NotNegative
    space: Literal["pixel", "normalized"] = "pixel"  # its points stay in a box, and in whitened space there is none

    def setup(self, model: nn.Module, seed: int) -> Threat:  # noqa: ARG002
        """Return the threat the batches are perturbed under."""
        return Threat(norm=self.norm, epsilons=(self.eps,), space=self.space)

    def steps(self, model: nn.Module, extra: Threat, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        """Yield the clean step, then the adversarial one."""
        clean = F.cross_entropy(model(x), y)
        yield Step(model.parameters(), clean, {"ce": clean})
        view = in_space(model, extra)
        z = pgd(
            Query(view.model, bounds=view.bounds),
            view.from_pixels(x),
            y,
            norm=self.norm,
            eps=self.eps,
            rng=seed,
            steps=self.attack_steps,
            step_size=self.step_size,
        )
        adversarial = F.cross_entropy(view.model(z), y)
        yield Step(model.parameters(), adversarial, {"adversarial_ce": adversarial})
