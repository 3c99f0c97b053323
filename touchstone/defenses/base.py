"""What every defense shares: the protocol that training.fit drives, its usual answers, and which weights are meant."""

from collections.abc import Collection, Iterator
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn import functional as F

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
        """Check the constants: a subclass checks its own and calls this one."""

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


def one_of(among: Collection[str], **options: str) -> None:
    """Raise ValueError for an option that is not among the names."""
    for name, value in options.items():
        if value not in among:
            raise ValueError(f"{name} must be one of {', '.join(among)}; got {value!r}")


def at_least(low: float, **constants: float) -> None:
    """Raise ValueError for a constant below `low`, or not a number."""
    for name, value in constants.items():
        if not value >= low:
            raise ValueError(f"{name} must be >= {low}, got {value}")


LAYERS = {
    "all": (nn.Conv2d, nn.Linear),
    "conv": (nn.Conv2d,),
}


def weights(model: nn.Module, layers: str) -> list[Tensor]:
    """Return the weight tensors (no biases) of `layers`: "all", "conv", or "conv1" for the first convolution.

    Raises:
        ValueError: for another word, or if the model has no such layer.
    """
    one_of([*LAYERS, "conv1"], layers=layers)
    kinds = LAYERS.get(layers, (nn.Conv2d,))
    found = [m.weight for m in model.modules() if isinstance(m, kinds)]
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
