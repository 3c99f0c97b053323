"""Virtual adversarial training: predictions that stay where they are in the direction that changes them most."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.defenses.base import Objective, step
from touchstone.defenses.inner import divergence
from touchstone.norms import unit
from touchstone.query import channels_last
from touchstone.ranges import Count, NotNegative, Positive
from touchstone.rng import as_rng
from touchstone.types import Step

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class VirtualAdversarial(Objective):
    """Mean CE(x) + weight * mean KL(p(x) || p(x + r)), r of l2 length eps along the power iteration's direction.

    Source: Miyato et al. (2016), "Distributional smoothing with virtual adversarial training", eqs. 1 to 3 and
    algorithm 1; Matyasko (2020), eqs. 2.23 and 2.24, and constants as coded. p(x) carries no gradient and nothing is
    clipped to [0, 1]. As in the authors' code every pass is in the model's own mode, and batch normalisation learns
    its statistics from x alone: the probe and x + r are measured by those of their own batch, which are not kept.
    Deviation: both codes have xi = 1e-6, where the divergence's gradient is lost in the rounding of float32: on an
    untrained LeNet the direction has a cosine of 0.05 to that of float64, against 0.997 for xi = 0.01.

    Args:
        eps: l2 length of the perturbation, in pixels, >= 0.
        power_iterations: of the search for the direction, >= 1.
        xi: l2 length of the probe whose gradient is taken, in pixels, > 0.
        weight: of the divergence, >= 0.
    """

    eps: NotNegative
    power_iterations: Count = 1
    xi: Positive = 1e-2
    weight: NotNegative = 1.0

    def steps(self, model: nn.Module, extra: None, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        """Yield one step on the batch."""
        logits = model(x)
        p = logits.detach().softmax(dim=1)
        with statistics_kept(model):
            moved = x + self.eps * self.direction(model, x, p, seed)
            change = divergence(model(moved), p).mean()
        yield step(model, ce=F.cross_entropy(logits, y), divergence=self.weight * change)

    def direction(self, model: nn.Module, x: Tensor, p: Tensor, seed: int) -> Tensor:
        """Return the direction (B, *shape), of unit l2 length, or zero where the divergence has no gradient.

        Args:
            model: x -> logits (B, classes).
            x: (B, *shape).
            p: (B, classes), the model's probabilities at x.
            seed: of the first direction.
        """
        d = unit(as_rng(seed, len(x), x.device).normal(x.shape[1:], dtype=x.dtype), "l2")
        for _ in range(self.power_iterations):
            probe = channels_last(x + self.xi * d).requires_grad_()
            (gradient,) = torch.autograd.grad(divergence(model(probe), p).sum(), probe)
            d = unit(gradient, "l2")
        return d


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch normalisation as they are; in training each batch still has its own."""
    layers = [m for m in model.modules() if isinstance(m, BATCH_NORMS) and m.training and m.track_running_stats]
    try:
        for layer in layers:
            layer.track_running_stats = False
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
