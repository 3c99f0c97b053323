"""What every defense shares: which weights a penalty acts on, and the protocol that training.fit drives."""

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor, nn

from touchstone.types import Step


class Defense(Protocol):
    """A training objective; one optimiser step per yielded Step."""

    def setup(self, model: nn.Module, rng: int) -> Any:
        """Return what the objective keeps besides the model (None if nothing)."""

    def steps(self, model: nn.Module, extra: Any, x: Tensor, y: Tensor, *, rng: int, epoch: int) -> Iterator[Step]:
        """Yield the optimiser steps of one batch; x (B, C, H, W) in [0, 1], y (B,) int64."""

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return what the objective asks of each sample, (B, C), (B,) int64 -> (B,): attacks climb it as "own".

        Penalties on weights are no part of it: they are the same for every input.
        """

    def bounded(self, model: nn.Module) -> bool:
        """Say whether the objective keeps these weights from growing without limit."""


LAYERS = {
    "all": (nn.Conv2d, nn.Linear),
    "conv": (nn.Conv2d,),
}


def weights(model: nn.Module, layers: str) -> list[Tensor]:
    """Return the weight tensors (no biases) of `layers`: "all", "conv", or "conv1" for the first convolution.

    Raises:
        ValueError: for another word, or if the model has no such layer.
    """
    if layers != "conv1" and layers not in LAYERS:
        raise ValueError(f"layers must be one of all, conv, conv1; got {layers!r}")
    kinds = LAYERS.get(layers, (nn.Conv2d,))
    found = [m.weight for m in model.modules() if isinstance(m, kinds)]
    if not found:
        raise ValueError(f"the model has no layer of kind {layers!r} to penalise")
    return found[:1] if layers == "conv1" else found
