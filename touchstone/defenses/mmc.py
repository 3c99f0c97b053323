"""Max-Mahalanobis centre loss: features towards fixed centres, one per class."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.defenses.base import Objective, classifier, step
from touchstone.ranges import Positive, PrintedOrCoded
from touchstone.types import Step

# variant -> squared distance (B,) of a difference (B, D)
DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {
    "printed": lambda gap: gap.square().sum(dim=1),
    "coded": lambda gap: gap.square().mean(dim=1),
}


@dataclass(frozen=True)
class MaxMahalanobisCenter(Objective):
    """Mean of |z - mu_y|^2, z the features (B, D), mu the vertices of a regular simplex of radius `scale`.

    Source: Pang et al. (2020), "Rethinking softmax cross-entropy loss for adversarial robustness", and the authors'
    code (no factor 1/2, the radius). The centres are the weight of the last layer, and frozen. Its logits z.mu_k are
    half of the paper's -|z - mu_k|^2 but for a constant per sample, so predictions are equal, and softmax has twice
    the temperature.

    `printed` sums over the features and sets the bias to zero. `coded` is the baseline as Xu et al. (2021) ran it:
    the mean over the features, and the bias stays as it was drawn, which is small against logits only where
    scale^2 is large. The last centre has no positive coordinate, so a model whose features are behind a ReLU
    cannot reach it and all but loses that class; Pang et al. have a linear layer there.

    Args:
        variant: "printed" or "coded".
        scale: length of each centre, > 0; 10 in Pang et al., 0.1 the default of the code of Xu et al.

    Raises:
        ValueError: for an unknown variant or a scale that is not positive; from setup, if the model has fewer
            features than classes - 1, or its `classifier` is not linear.
    """

    variant: PrintedOrCoded
    scale: Positive = 10.0

    def setup(self, model: nn.Module, seed: int) -> Tensor:  # noqa: ARG002
        """Write the centres into the last layer, freeze it, and return them (C, D)."""
        layer = classifier(model)
        with torch.no_grad():
            layer.weight.copy_(self.scale * simplex(*layer.weight.shape))
            if self.variant == "printed" and layer.bias is not None:
                layer.bias.zero_()
        layer.requires_grad_(False)
        return layer.weight.detach().clone()

    def steps(self, model: nn.Module, extra: Tensor, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        """Yield one step on the batch."""
        yield step(model, mmc=DISTANCES[self.variant](model.features(x) - extra[y]).mean())

    def parts(self, logits: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return |P z - mu_y|^2, P the projection onto the span of the centres: all of |z - mu_y|^2 that logits see.

        What it leaves out is no function of the logits and changes no prediction. A bias is taken for a part of z.
        """
        classes = logits.shape[1]
        length = logits.square().sum(dim=1) * (classes - 1) / (classes * self.scale**2)
        return {"mmc": length - 2 * logits.gather(1, y[:, None]).squeeze(1) + self.scale**2}


def simplex(classes: int, width: int) -> Tensor:
    """Return the vertices (classes, width) of a regular simplex of unit radius around zero, in float64.

    Vertex k has zeros after its coordinate k and a positive one there, except the last, which has none positive.

    Source: the optimal centres of Pang, Du, Zhu (2018). Their recursion is the Cholesky factorisation of the matrix of
    the inner products.

    Raises:
        ValueError: if width < classes - 1.
    """
    free = classes - 1  # a regular simplex has as many dimensions
    if width < free:
        raise ValueError(f"{classes} centres need at least {free} features, the model has {width}")
    gram = (classes * torch.eye(free, dtype=torch.float64) - 1) / free
    vertices = torch.linalg.cholesky(gram)
    vertices = torch.cat([vertices, -vertices.sum(dim=0, keepdim=True)])
    return F.pad(vertices, (0, width - free))
