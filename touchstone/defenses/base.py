"""What every defense shares: the protocol that training.fit drives, its usual answers, and which weights are meant."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Protocol, get_type_hints

from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.ranges import mismatch
from touchstone.types import Step


class Defense(Protocol):
    """A training objective; one optimiser step per yielded Step."""

    def setup(self, model: nn.Module, seed: int) -> Any:
        """Return what the objective keeps besides the model (None if nothing)."""

    def steps(self, model: nn.Module, extra: Any, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:
        """Yield the optimiser steps of one batch; x (B, C, H, W) in [0, 1], y (B,) int64."""

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return what the objective asks of each sample, (B, C), (B,) int64 -> (B,): attacks climb it as "own".

        Penalties on weights are no part of it: they are the same for every input.
        """

    def bounded(self, model: nn.Module) -> bool:
        """Say whether the objective keeps these weights from growing without limit."""


class Objective:
    """The usual answers: one step on the mean over the batch of a loss of the logits, which is cross-entropy."""

    def __post_init__(self) -> None:
        """Hold the constants against their annotations; a subclass with a rule of its own calls this one first.

        Raises:
            ValueError: naming the first constant that is outside, and what is allowed.
        """
        allowed = get_type_hints(type(self), include_extras=True)
        for constant in fields(self):
            if problem := mismatch(getattr(self, constant.name), allowed[constant.name]):
                raise ValueError(f"{constant.name} must be {problem}")

    def parts(self, logits: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the terms, by name, whose sum is the loss per sample: (B, C), (B,) int64 -> (B,) each."""
        return {"ce": F.cross_entropy(logits, y, reduction="none")}

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the loss per sample, (B, C), (B,) int64 -> (B,)."""
        return sum(self.parts(logits, y).values())

    def setup(self, model: nn.Module, seed: int) -> Any:  # noqa: ARG002
        """Keep nothing."""
        return None

    def steps(self, model: nn.Module, extra: Any, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        """Yield one step on the batch."""
        yield step(model, **means(self.parts(model(x), y)))

    def bounded(self, model: nn.Module) -> bool:  # noqa: ARG002
        """Say that no weight is pushed outwards: the loss is bounded below."""
        return True


def means(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean over the batch of each term (B,)."""
    return {name: part.mean() for name, part in parts.items()}


def step(model: nn.Module, **terms: Tensor) -> Step:
    """Return the step of all weights on the sum of these scalar terms."""
    return Step(model.parameters(), sum(terms.values()), terms)


LAYERS = {
    "all": (nn.Conv2d, nn.Linear),
    "conv": (nn.Conv2d,),
    "conv1": (nn.Conv2d,),
}


def weights(model: nn.Module, layers: str) -> list[Tensor]:
    """Return the weight tensors (no biases) of `layers`: "all", "conv", or "conv1" for the first convolution.

    Raises:
        ValueError: for another word, or if the model has no such layer.
    """
    if layers not in LAYERS:
        raise ValueError(f"layers must be one of {', '.join(LAYERS)}; got {layers!r}")
    found = [m.weight for m in model.modules() if isinstance(m, LAYERS[layers])]
    if not found:
        raise ValueError(f"the model has no layer of kind {layers!r} to penalise")
    return found[:1] if layers == "conv1" else found


def classifier(model: nn.Module) -> nn.Linear:
    """Return the last linear layer of a model.

    Raises:
        ValueError: if `model.classifier` is not a linear layer.
    """
    layer = getattr(model, "classifier", None)
    if not isinstance(layer, nn.Linear):
        raise ValueError(
            f"the objective acts on the weight of the last linear layer, but the `classifier` of "
            f"{type(model).__name__} is {type(layer).__name__}"
        )
    return layer
