"""What the option `loss` names is the same for every attack that has one."""

import inspect

import pytest
import torch
from torch import Tensor, nn

from touchstone.attacks import ATTACKS
from touchstone.losses import Loss, margin
from touchstone.query import Query
from touchstone.registry import load
from touchstone.rng import SampleRng
from touchstone.types import MinNorm

SHORT = {"steps": 3, "step_size": 0.05, "directions": 4}
CLIMBERS = [name for name, spec in ATTACKS.items() if "loss" in inspect.signature(load(spec.fn)).parameters]


def net(classes: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, classes)).double()


def run(name: str, loss: str, classes: int = 4, own: Loss | None = None) -> tuple[Tensor, set[str]]:
    """Return the points of an attack on random images, and the flags of its query."""
    model, rng = net(classes), SampleRng(1, torch.arange(8))
    x = torch.rand(8, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    query, attack, norm = Query(model, own_loss=own), load(ATTACKS[name].fn), ATTACKS[name].norms[0]
    known, budget = inspect.signature(attack).parameters, {"eps": 1.0 if norm == "l0" else 0.1}
    options = {key: value for key, value in (SHORT | budget).items() if key in known}
    out = attack(query, x, model(x).argmax(1), norm=norm, rng=rng, loss=loss, **options)
    return (out.x_adv if isinstance(out, MinNorm) else out), query.flags


def test_there_are_such_attacks() -> None:
    assert {"fgsm", "bim", "pgd", "mim", "apgd", "ddn", "spsa", "daa"} <= set(CLIMBERS)


@pytest.mark.parametrize("name", CLIMBERS)
def test_with_two_classes_the_margin_replaces_dlr_and_a_flag_says_so(name: str) -> None:
    points, flags = run(name, "dlr", classes=2)
    assert torch.equal(points, run(name, "margin", classes=2)[0])
    assert flags == {"margin_instead_of_dlr"}
    assert run(name, "dlr", classes=3)[1] == run(name, "margin", classes=2)[1] == set()


@pytest.mark.parametrize("name", CLIMBERS)
def test_own_is_the_loss_that_comes_with_the_model(name: str) -> None:
    asked: list[int] = []

    def own(logits: Tensor, y: Tensor) -> Tensor:
        asked.append(len(logits))
        return margin(logits, y)

    assert torch.equal(run(name, "own", own=own)[0], run(name, "margin", own=own)[0])
    assert asked


@pytest.mark.parametrize("name", CLIMBERS)
def test_own_without_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="'own' is the one that the model was trained with, and none came with it"):
        run(name, "own")
