"""What the table says that an objective costs is what it costs, and hardly more."""

import pytest
import torch
from defenses.small import EXAMPLES
from torch import nn

from benchmarks.gpu.hours import Operations
from touchstone.data import DATASETS
from touchstone.defenses import DEFENSES
from touchstone.defenses.base import Defense
from touchstone.models.classifier import build
from touchstone.plan import passes
from touchstone.registry import load

SLACK = 1.5


def operations(defense: Defense, model: nn.Module) -> float:
    """Floating-point operations of a batch under an objective, after what it trains alone in its first epoch."""
    x, y = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.arange(8)
    extra = defense.setup(model, 0)
    with Operations() as counter:
        for step in defense.steps(model, extra, x, y, seed=0, epoch=2):
            parameters = [p for p in step.parameters if p.requires_grad]
            torch.autograd.grad(step.loss, parameters, allow_unused=True)
    return counter.total / len(x)


@pytest.mark.parametrize("name", DEFENSES)
def test_an_objective_costs_no_more_than_the_table_says_and_not_much_less(name: str) -> None:
    """In units of a forward pass, of which a gradient in the image takes one more and one in the weights two."""
    model = build("lenet", DATASETS["digits"], seed=0)
    with Operations() as counter, torch.no_grad():
        model(torch.rand(8, 1, 28, 28))
    options = {**EXAMPLES[name].constants, **({"hidden": 300} if name == "critic" else {})}  # as large as the net
    count = passes.of_defense(name, options, DATASETS["digits"])
    said = count.forward + count.backward + 2 * count.weights
    found = operations(load(DEFENSES[name].fn)(**options), model) * 8 / counter.total
    assert found <= said <= SLACK * found, (found, said)
