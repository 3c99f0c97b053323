"""A training that is watched: what the history gains, and that its bits are those of one that is not."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from touchstone.cell import ThreatSpec
from touchstone.data.prepare import Split
from touchstone.defenses.ce import CrossEntropy
from touchstone.jobs.probe import monitor, under
from touchstone.plan.jobs import Member, Probe, Watched
from touchstone.recipe import Phase
from touchstone.training import Fit, Monitor, fit

PGD = Member("pgd3", "pgd", {"steps": 3, "step_size": 0.1})
PROBE = Probe(PGD, ThreatSpec("linf", epsilons=(0.3,)), samples=24, batch_size=16)


class Net(nn.Module):
    """Everything that a forward pass in training mode would change or draw."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.ReLU())
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@pytest.fixture(scope="module")
def rows() -> Split:
    y = torch.arange(48) % 3
    light = torch.rand(48, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Split((255 * (0.5 * light + y.view(-1, 1, 1, 1) / 4)).to(torch.uint8), y)


def trained(rows: Split, watch: Monitor | None, epochs: int = 3) -> tuple[nn.Module, Fit]:
    torch.manual_seed(7)
    model = Net()
    phase = Phase(epochs=epochs, batch_size=16, lr=0.01, collapse="finish")
    return model, fit(model, CrossEntropy(), rows.x, rows.y, [phase], seed=5, monitor=watch, on_epoch=lambda _: None)


def test_a_training_that_is_watched_ends_with_the_same_bits(rows: Split) -> None:
    alone, _ = trained(rows, None)
    after = torch.randint(2**40, ()).item()
    watched, result = trained(rows, monitor(Watched(PROBE, 1), rows, rows, seed=5))
    assert torch.randint(2**40, ()).item() == after, "torch's own generator goes on as if nothing had been asked"
    assert watched.state_dict().keys() == alone.state_dict().keys()
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, watched.state_dict()[name]), name
    assert all({"train_clean", "train_robust", "test_clean", "test_robust"} <= row.keys() for row in result.history)


@pytest.mark.parametrize(("every", "epochs", "measured"), [(2, 5, [1, 2, 4, 5]), (9, 3, [1, 3])])
def test_it_is_measured_in_the_first_and_the_last_epoch_and_some_between(
    rows: Split, every: int, epochs: int, measured: list[int]
) -> None:
    _, result = trained(rows, Monitor(lambda _: {"test_clean": 0.5}, every), epochs)
    assert [row["epoch"] for row in result.history if "test_clean" in row] == measured


def test_what_is_measured_is_the_accuracy_with_and_without_the_attack(rows: Split) -> None:
    model, result = trained(rows, monitor(Watched(PROBE, 1), rows, rows, seed=5), epochs=4)
    last: dict[str, Any] = result.history[-1]
    clean = (model.eval()(rows.x / 255).argmax(1) == rows.y).float().mean().item()
    found = under(Probe(PGD, PROBE.threat, 48, 64), model, rows, seed=5)
    assert found.clean == pytest.approx(clean)
    assert found.robust < found.clean
    assert (last["train_clean"], last["train_robust"]) == (last["test_clean"], last["test_robust"]), "the same images"
    assert last["test_clean"] == pytest.approx(clean, abs=0.2), "on 24 of them"
    assert 0 <= last["test_robust"] < last["test_clean"]
