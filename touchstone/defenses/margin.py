"""Margin maximisation: a hinge on the logits and the sensitivity of their differences to the input.

The C - 1 vector-Jacobian products are taken one after the other: batched over the classes (vmap) they took 1.3 to 1.6
times as long on lenet-512 with 10 classes, on one CPU thread, and C - 1 times the memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.defenses.base import Objective, means, step
from touchstone.losses import margin
from touchstone.norms import distance
from touchstone.query import channels_last
from touchstone.ranges import NotNegative, PrintedOrCoded, Space
from touchstone.threat import Threat, in_space
from touchstone.types import Step

# (variant, norm) -> size (B,) of a gradient (B, *shape)
SIZES: dict[tuple[str, str], Callable[[Tensor], Tensor]] = {
    ("printed", "l2"): lambda gradient: distance(gradient, "l2"),
    ("printed", "l1"): lambda gradient: distance(gradient, "l1"),
    ("coded", "l2"): lambda gradient: gradient.flatten(1).square().sum(dim=1),
    ("coded", "l1"): lambda gradient: distance(gradient, "l1"),
}

DUALS = {"l2": "l2", "l1": "linf"}  # norm of a gradient -> of the distances that it bounds

DATA_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hinge": lambda logits, y: F.relu(1 + margin(logits, y)),
    "ce": lambda logits, y: F.cross_entropy(logits, y, reduction="none"),
}


@dataclass(frozen=True)
class MarginMaximization(Objective):
    """Mean over the batch of max_j (1 + f_j - f_y)_+ + c * max_j |grad_x f_y - grad_x f_j|, j other than y.

    Source: Matyasko (2020), eq. 3.18 with the sign that theorem 3.4.2 has: as printed the hinge would reward
    misclassification. The class whose gradient differs most is a constant of the step; what is minimised is the
    norm of that one difference, by second derivatives. `coded` squares the l2 norm, and not the l1 norm. The
    printed sum over the samples is a mean here, as in the author's code.

    In a model with batch normalisation a sample's gradient is that of the whole batch in its pixels.

    Args:
        variant: "printed" or "coded".
        norm: "l2" or "l1", of the gradient: distances to the boundary grow in l2, or in linf.
        c: weight of the sensitivity, >= 0; gradients are per unit of `space`.
        data: "hinge", or "ce" (section 3.5.2, for NIN).
        space: "pixel", "normalized" or "whitened": where gradients are taken.

    Raises:
        ValueError: for an unknown word or a negative weight.
    """

    variant: PrintedOrCoded
    norm: Literal["l2", "l1"]
    c: NotNegative
    data: Literal["hinge", "ce"] = "hinge"
    space: Space = "pixel"

    def setup(self, model: nn.Module, seed: int) -> Threat:  # noqa: ARG002
        """Return the threat in whose space the margin is."""
        return Threat(DUALS[self.norm], space=self.space, bounds=None)

    def parts(self, logits: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the hinge or the cross-entropy: the sensitivity is no function of the logits."""
        return {self.data: DATA_LOSSES[self.data](logits, y)}

    def steps(self, model: nn.Module, extra: Threat, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        """Yield one step on the batch."""
        view = in_space(model, extra)
        z = channels_last(view.from_pixels(x.detach())).requires_grad_()  # grey images in rows take 1.1 times as long
        logits = view.model(z)
        terms = means(self.parts(logits, y))
        if self.c:
            terms["sensitivity"] = self.c * self.sensitivity(logits, z, y).mean()
        yield step(model, **terms)

    def sensitivity(self, logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the largest size (B,) of grad_x f_y - grad_x f_j over j, with a graph down to the weights.

        Args:
            logits: (B, C), computed from x.
            x: (B, *shape), requires a gradient.
            y: (B,) int64.
        """

        def size(classes: Tensor, *, graph: bool) -> Tensor:
            gap = logits.gather(1, y[:, None]) - logits.gather(1, classes[:, None])
            # without a graph only the path to x is walked; the weights' gradients are not computed
            (gradient,) = torch.autograd.grad(gap.sum(), x, retain_graph=True, create_graph=graph)
            return SIZES[self.variant, self.norm](gradient)

        classes = logits.shape[1]
        others = [(y + shift) % classes for shift in range(1, classes)]
        sizes = torch.stack([size(j, graph=False) for j in others])  # (C - 1, B)
        return size((y + 1 + sizes.argmax(dim=0)) % classes, graph=True)
