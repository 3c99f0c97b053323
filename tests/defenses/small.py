"""Nets small enough to be written down, and the steps of a defense."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from touchstone.defenses.base import Defense
from touchstone.types import Step

PGD = {"norm": "linf", "eps": 0.05, "attack_steps": 2, "step_size": 0.03}


class Example(NamedTuple):
    """The test cases of one defense.

    Attributes:
        constants: with which it learns.
        draws: whether its first steps draw; those of the critic do after pre-training (test_critic.py).
        passes: of which batch norm learns in one step; None where that is not asked.
        elsewhere: where it is seen to overfit, if not on the small net.
    """

    constants: Mapping[str, Any] = MappingProxyType({})
    draws: bool = False
    passes: int | None = None
    elsewhere: str = ""


# A new defense adds a row.
EXAMPLES = {
    "ce": Example(passes=1),
    "dropout": Example({"p": 0.3}, draws=True),
    "minmax": Example({"variant": "coded", "lam": 0.001, "mu": 0.001}, elsewhere="training/test_fit.py: convolutions"),
    "margin": Example({"variant": "coded", "norm": "l2", "c": 0.01}),
    "critic": Example(
        {"variant": "coded", "lam": 0.1, "hidden": 32}, elsewhere="test_critic.py: it needs a second optimiser"
    ),
    "gce": Example({"alpha": 0.333}),
    "pc": Example({"variant": "coded"}),
    "weightpen": Example({"variant": "coded", "alpha": 1.0, "s": 1.0}),
    "mmc": Example({"variant": "printed", "scale": 2.0}),
    "adv": Example(PGD, draws=True, passes=2),
    "at": Example({**PGD, "clean": 0.5, "adversarial": 0.5}, draws=True, passes=1),
    "gce+at": Example({**PGD, "alpha": 0.333}, draws=True),
    "pc+at": Example({**PGD, "variant": "coded"}, draws=True, passes=1),
    "trades": Example({**PGD, "beta": 1.0}, draws=True, passes=2),
    "mart": Example({**PGD, "beta": 5.0}, draws=True, passes=2),
    "vat": Example({"eps": 1.0}, draws=True, passes=1),
}


class Small(nn.Module):
    """inputs -> hidden -> classes with a smooth activation, in float64, as a model with features and classifier."""

    def __init__(self, inputs: int, hidden: int, classes: int, seed: int = 0, *, bias: bool = True) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Linear(inputs, hidden)
            self.classifier = nn.Linear(hidden, classes, bias=bias)
        self.double()
        self.shape = (1, math.isqrt(inputs), math.isqrt(inputs))

    def features(self, x: Tensor) -> Tensor:
        return self.first(x.flatten(1)).tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


def steps(defense: Defense, model: nn.Module, batch: tuple[Tensor, Tensor], seed: int = 0) -> list[Step]:
    return list(defense.steps(model, defense.setup(model, 0), *batch, seed=seed, epoch=1))


def gradients(loss: Tensor, model: nn.Module) -> list[Tensor]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    return list(torch.autograd.grad(loss, parameters, retain_graph=True))


def assert_same(ours: Tensor, theirs: Tensor, model: nn.Module) -> None:
    """Compare two losses and their gradients in the weights."""
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(ours, model), gradients(theirs, model))


def images(rows: int, size: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, 1, size, size, generator=generator, dtype=torch.float64)
