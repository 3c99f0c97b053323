"""What a training is watched for: gradients that are exactly zero, and a net that stays at chance."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

CHANCE_FACTOR = 1.5  # a net below 1.5 times the share of the largest class has learned nothing worth the name
# with few classes, or one that prevails, that would be asking too much: there it is the same part of the way from
# chance to 1 that it is with ten equal classes, (1.5 - 1) * 0.1 of 1 - 0.1
PART = 18


def at_chance(history: Sequence[Mapping[str, Any]], y: Tensor) -> int | None:
    """Return the first epoch of the stretch at chance that a history ends with, if it does."""
    since = None
    for row in reversed(history):
        if not near_chance(row, y):
            break
        since = row["epoch"]
    return since


def near_chance(row: Mapping[str, Any], y: Tensor) -> bool:
    """Say whether a net is no better than one that always names the largest class, or hardly."""
    largest = float(y.bincount().max()) / len(y)
    accuracy: float = row["train_accuracy"]
    return accuracy < min(CHANCE_FACTOR * largest, largest + (1 - largest) / PART)


class Watch:
    """Watches the logits of a model: at what share of the rows has the loss that is stepped no gradient in them?

    That is exactly 0 for every logit: such a row teaches nothing. It is read where the gradient passes anyway, in
    training mode and during the steps alone; nan for a defense that never asks for logits.
    The logits are handed on as float32, also where the layers were not.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.model, self.rows, self.on = model, 0, False
        self.zeros = torch.zeros((), dtype=torch.int64, device=device)

    def __enter__(self) -> "Watch":
        # a Classifier's logits pass there in every space
        self.handle = getattr(self.model, "logits", self.model).register_forward_hook(self._forward)
        return self

    def __exit__(self, *exception: object) -> None:
        self.handle.remove()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the gradients that pass meanwhile."""
        self.on = True
        try:
            yield
        finally:
            self.on = False

    def _forward(self, model: nn.Module, inputs: Any, logits: Tensor) -> Tensor:  # noqa: ARG002
        logits = logits.float() if logits.dtype == torch.bfloat16 else logits
        if model.training and logits.requires_grad:
            logits.register_hook(self._backward)
        return logits

    def _backward(self, grad: Tensor) -> None:
        if self.on:
            self.rows += len(grad)
            self.zeros += (grad == 0).all(dim=1).sum()

    def share(self) -> float:
        """Return the share so far."""
        return float(self.zeros) / self.rows if self.rows else math.nan
