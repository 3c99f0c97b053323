"""What the table says that an attack costs is what it costs, and hardly more."""

from dataclasses import replace
from typing import Any

import pytest
from attacks.cases import CASES
from attacks.test_contract import EPS, block, draws, net, run
from torch import Tensor, nn

from touchstone.attacks import ATTACKS
from touchstone.data import DATASETS
from touchstone.plan import passes
from touchstone.plan.passes import Count
from touchstone.query import Query

SHAPE = (3, 4, 4)
DATA = replace(DATASETS["digits-rgb"], shape=SHAPE, classes=4)
SLACK = 1.5
# what makes an attack go to its end: no early abort; few tries to find a start, for whoever needs all has no walk
LONG: dict[str, dict[str, Any]] = {
    "cw": {"abort_early": False},
    "ead": {"abort_early": False},
    "brendel-bethge": {"starts": 3},
}
CELLS = [(name, norm) for name, spec in ATTACKS.items() if not spec.foreign for norm in spec.norms]


class Tally(nn.Module):
    """A net that counts the rows which go through it, and those whose gradient comes back."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.rows, self.slopes = net, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        self.rows += len(x)
        if logits.requires_grad:
            logits.register_hook(self._back)
        return logits

    def _back(self, slope: Tensor) -> None:
        self.slopes += len(slope)


def counted(name: str, norm: str, options: dict[str, Any], lead: float) -> tuple[int, int]:
    """Passes of the costliest image on a net on which class 0 is ahead by some logits more, or of its substitute."""
    model, proxy = net(SHAPE), Tally(net(SHAPE))
    model[5].bias.data[0] += lead
    x, y = block(model, SHAPE, 6)
    query = Query(model, samples=len(x))
    more = {"substitute": proxy} if "substitute" in CASES[name].quick else {}
    run(name, query, x, y, norm, eps=EPS[norm], rng=draws(len(x)), **options, **more)
    if more:
        return proxy.rows // len(x), proxy.slopes // len(x)
    return int(query.forwards.max()), int(query.backwards.max())


@pytest.mark.parametrize(("name", "norm"), CELLS)
def test_an_attack_costs_no_more_than_the_table_says_and_not_much_less(name: str, norm: str) -> None:
    """On a net where it succeeds, and on one where it never does."""
    options = LONG.get(name, {})
    said = passes.of_attack(name, {**CASES[name].quick, **options}, DATA)
    found = [counted(name, norm, options, lead) for lead in (0.0, 100.0)]
    for kind, most, word in zip(Count._fields, map(max, *found), said, strict=False):
        assert most <= word <= SLACK * most, (kind, found)


@pytest.mark.parametrize("name", [name for name, spec in ATTACKS.items() if spec.foreign])
def test_what_a_foreign_attack_costs_nobody_knows(name: str) -> None:
    assert passes.of_attack(name, CASES[name].quick, DATA) is None


def test_what_the_users_own_costs_nobody_knows() -> None:
    assert passes.of_attack("toy_attacks:wrapper", {}, DATA) is None
