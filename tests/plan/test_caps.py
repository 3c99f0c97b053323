"""Caps: the smallest that matches a cell counts."""

import pytest

from touchstone.defenses import DEFENSES
from touchstone.plan.caps import Cut, Limits, cut
from touchstone.study.config import Cap

CAPS = [
    Cap(epochs=20, samples=60),
    Cap(where={"dataset": "cifar10"}, epochs=6),
    Cap(where={"attack": "cw"}, samples=25),
    Cap(where={"defense": "adv", "dataset": "cifar10"}, attack_steps=10),
    Cap(where={"study": "critic"}, epochs=3, seeds=1),
]


@pytest.mark.parametrize(
    ("cell", "epochs", "samples", "steps"),
    [
        ({}, 20, 60, None),
        ({"dataset": "mnist", "defense": "adv"}, 20, 60, None),
        ({"dataset": "cifar10", "defense": "adv"}, 6, 60, 10),
        ({"dataset": "cifar10", "attack": "cw"}, 6, 25, None),
        ({"study": "critic", "dataset": "cifar10", "attack": "cw"}, 3, 25, None),
        ({"study": "margin", "dataset": "cifar10"}, 6, 60, None),
    ],
)
def test_limits(cell: dict[str, str], epochs: int, samples: int, steps: int | None) -> None:
    limits = Limits.where(CAPS, **cell)
    assert (limits["epochs"], limits["samples"], limits["attack_steps"]) == (epochs, samples, steps)
    assert limits.capped("epochs", 10) == min(10, epochs)
    assert limits.capped("seeds", 3) == (1 if cell.get("study") == "critic" else 3)


def test_what_is_given_is_not_changed() -> None:
    given = {"attack_steps": 40, "step_size": 0.01}
    limits = Limits.where(CAPS, dataset="cifar10", defense="adv")
    words = "adv: attack_steps 10 of 40, each 0.04 instead of 0.01"
    assert cut(DEFENSES["adv"], given, limits, "adv") == Cut({"attack_steps": 10, "step_size": 0.04}, {}, (words,))
    assert given == {"attack_steps": 40, "step_size": 0.01}
