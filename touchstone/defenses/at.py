"""Adversarial training in one step: perturbed inputs alone or with clean ones, under any loss of the logits."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from touchstone.attacks.pgd import pgd
from touchstone.conditions import hold
from touchstone.defenses.base import Objective, step
from touchstone.defenses.gce import GuidedComplementEntropy
from touchstone.defenses.pc import ProbabilisticallyCompact
from touchstone.query import Query
from touchstone.ranges import Count, NotNegative, Space
from touchstone.registry import LossName
from touchstone.rng import SampleRng
from touchstone.threat import Threat, in_space
from touchstone.types import UNIT, Step

RADIUS = 1  # stream of draws; PGD's own is 0


@dataclass(frozen=True, kw_only=True)
class Adversarial(Objective):
    """clean * mean loss at x + adversarial * mean loss at the PGD version of x, from one pass through both.

    Source: Madry et al. (2018), eq. 2.1 (clean=0); Goodfellow, Shlens, Szegedy (2015), section 6 (FGSM: one step
    of relative size 1 without random start); Matyasko (2020), section 3.5.1, as coded (clean=1, box=False); Li et
    al. (2021), "Combining with adversarial training" (clean=adversarial=0.5, a radius drawn for each batch: the
    paper gives its range only). The attack sees the model in eval mode; the perturbation is a constant of the step.

    Args:
        norm: "linf" or "l2".
        eps: radius in the units of `space`, >= 0; the largest, if `eps_low` is given.
        attack_steps: PGD steps, >= 1.
        step_size: in the units of `space`, or of the radius if `relative`.
        eps_low: draw one radius per batch, uniformly between this and `eps`.
        relative: read step_size as a multiple of the radius.
        random_start: start uniformly in the ball instead of at x.
        clean: weight of the clean term, >= 0; with 0 no clean pass is made.
        adversarial: weight of the other term, >= 0.
        attack_loss: what PGD climbs, of touchstone.registry.LOSSES; "own" is the loss that is trained.
        space: "pixel", "normalized" or "whitened".
        box: keep perturbed inputs inside [0, 1]; not in whitened space.

    Raises:
        ValueError: for a constant outside what is said above; at the first step, for what only PGD knows.
    """

    norm: Literal["linf", "l2"]
    eps: NotNegative
    # the attack's own names; `steps` is also the method below, hence the prefix
    attack_steps: Count
    step_size: NotNegative
    eps_low: NotNegative | None = None
    relative: bool = False
    random_start: bool = True
    clean: NotNegative = 0.0
    adversarial: NotNegative = 1.0
    attack_loss: LossName = "ce"
    space: Space = "pixel"
    box: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        hold("touchstone.defenses.at:Adversarial", vars(self))

    def setup(self, model: nn.Module, seed: int) -> Threat:  # noqa: ARG002
        """Return the threat the batches are perturbed under."""
        bounds = UNIT if self.box else None
        return Threat(norm=self.norm, epsilons=(self.eps,), space=self.space, bounds=bounds)

    def steps(self, model: nn.Module, extra: Threat, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        """Yield one step on the batch."""
        view = in_space(model, extra)
        z = view.from_pixels(x)
        z_adv = pgd(
            Query(view.model, bounds=view.bounds, own_loss=self.loss),
            z,
            y,
            norm=self.norm,
            eps=self.radius(seed),
            rng=seed,
            steps=self.attack_steps,
            step_size=self.step_size,
            relative=self.relative,
            random_start=self.random_start,
            loss=self.attack_loss,
        )
        both = torch.cat([z, z_adv] if self.clean else [z_adv]).contiguous(memory_format=torch.channels_last)
        parts = self.parts(view.model(both), torch.cat([y, y]) if self.clean else y)
        terms = {f"adversarial_{name}": self.adversarial * part[-len(y) :].mean() for name, part in parts.items()}
        if self.clean:
            terms |= {f"clean_{name}": self.clean * part[: len(y)].mean() for name, part in parts.items()}
        yield step(model, **terms)

    def radius(self, seed: int) -> float:
        """Return the radius of a batch: `eps`, or one drawn from its seed."""
        if self.eps_low is None:
            return self.eps
        share = SampleRng(seed, torch.zeros(1, dtype=torch.int64)).uniform((), stream=RADIUS)
        return self.eps_low + (self.eps - self.eps_low) * float(share)


@dataclass(frozen=True, kw_only=True)
class AdversarialGCE(Adversarial, GuidedComplementEntropy):
    """Adversarial training with guided complement entropy in the place of cross-entropy.

    Source: Li et al. (2021), table 5 (GCE+AT). Constants are those of both.
    """


@dataclass(frozen=True, kw_only=True)
class AdversarialPC(Adversarial, ProbabilisticallyCompact):
    """Adversarial training with the probabilistically compact loss in the place of cross-entropy.

    Source: Li et al. (2021), table 5 (Ours+AT). Constants are those of both.
    """
