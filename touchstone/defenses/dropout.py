"""Dropout as a defense, on an architecture that has none of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from touchstone.defenses.base import Objective, means, step
from touchstone.ranges import BelowOne
from touchstone.types import Step


@dataclass(frozen=True)
class Dropout(Objective):
    """Mean CE while each input of a linear layer is zero with probability p, and 1 / (1 - p) as large otherwise.

    Source: Srivastava et al. (2014), in the places of Matyasko (2020) as coded: after each hidden layer of the MLP, and
    in LeNet before and after the hidden linear layer. That is what enters each linear layer, unless it is the image.
    The model is left as it was: nothing is dropped outside training.

    Args:
        p: share of the inputs that is dropped, in [0, 1).

    Raises:
        ValueError: for another p; at the first step, if no linear layer but the first layer of all is there.
    """

    p: BelowOne = 0.5

    def steps(self, model: nn.Module, extra: None, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        """Yield one step on the batch."""
        with dropped(model, self.p, torch.Generator(x.device).manual_seed(seed)):
            logits = model(x)
        yield step(model, **means(self.parts(logits, y)))


@contextmanager
def dropped(model: nn.Module, p: float, generator: torch.Generator) -> Iterator[None]:
    """Drop inputs of the linear layers of a model, but of its first layer with weights."""
    layers = [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    linear = [layer for layer in layers[1:] if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError(f"{type(model).__name__} has no hidden linear layer whose input could be dropped")

    def drop(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        kept = torch.empty_like(inputs[0]).bernoulli_(1 - p, generator=generator)
        return (inputs[0] * kept / (1 - p),)

    handles = [layer.register_forward_pre_hook(drop) for layer in linear]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
