"""What the annotation of an option refuses, the attack refuses too when it is called directly."""

import math
import re
from typing import Any

import pytest
import torch
from attacks.cases import CASES
from torch import Tensor, nn

from touchstone.attacks import ATTACKS
from touchstone.ranges import hint, mismatch, words
from touchstone.registry import load, options
from touchstone.study.checks.attacks import CONTRACT

TRIED = {"int": [-1, 0, 3, 10**30], "float": [-0.5, 0.0, 0.5, 1.0, 1.5, math.nan, math.inf], "one of": ["no such word"]}


def refused(annotation: str) -> list[Any]:
    """Values of the right type that are out of range."""
    allowed = hint(annotation)
    values = [value for kind, values in TRIED.items() if kind in words(allowed) for value in values]
    tried = [[], *([value] for value in values)] if "Sequence" in annotation else values
    return [value for value in tried if mismatch(value, allowed)]


class Net(nn.Module):
    """A net that every attack takes."""

    def __init__(self) -> None:
        super().__init__()
        self.squash, self.classifier = nn.Tanh(), nn.Linear(36, 4)

    def features(self, x: Tensor) -> Tensor:
        return self.squash(x.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


OUTSIDE = [
    pytest.param(name, option, value, id=f"{name}-{option}-{value}")
    for name, spec in ATTACKS.items()
    for option, known in options(spec.fn).items()
    if option not in CONTRACT
    for value in refused(known.annotation)
]


@pytest.mark.parametrize(("name", "option", "value"), OUTSIDE)
def test_an_option_out_of_range_is_a_value_error(name: str, option: str, value: object) -> None:
    spec, model = ATTACKS[name], Net()
    x = torch.rand(2, 1, 6, 6)
    budget = {} if spec.kind == "minimal" else {"eps": 0.1}
    more = {"substitute": model} if "substitute" in options(spec.fn) else {}
    given = {**CASES[name].quick, **more, option: value}
    with pytest.raises(ValueError, match=re.escape(str(value[0] if isinstance(value, list) and value else value))):
        load(spec.fn)(model, x, torch.zeros(2, dtype=torch.int64), norm=spec.norms[0], rng=0, **budget, **given)


TENTH = {"steps": 10, "step_size": 0.1, "relative": True}  # a tenth of the radius
ASKED = [
    ("pgd", TENTH),
    ("mim", TENTH),
    ("spsa", {"steps": 10, "directions": 128, "lr": 0.01}),
    *((name, {"restarts": count}) for name in ("pgd", "daa", "fab", "pdgd", "pdpgd") for count in (1, 10, 100)),
    *(("fab", {"start_radius": radius, "last_search": 0}) for radius in (0.02, 0.15, 0.3, 0.5, 2.0, 4.0, 10.0, 40.0)),
    *(("brendel-bethge", {"steps": 1000, "lr_decays": count}) for count in (50, 10, 20, 100)),  # printed, coded
    ("deepfool", {"longest": 0.5, "nudge": 0.0, "stretched": False, "keep_last": True}),
    ("deepfool", {"longest": 0.1, "stretched": False, "fixed_class": True}),
    ("deepfool", {"candidates": 10}),
    ("cw", {"target_class": 7, "target_confidence": 0.95}),
]


@pytest.mark.parametrize(("name", "given"), ASKED, ids=str)
def test_what_papers_ran_can_be_written_in_a_study(name: str, given: dict[str, Any]) -> None:
    known = options(ATTACKS[name].fn)
    assert [mismatch(value, hint(known[option].annotation)) for option, value in given.items()] == [""] * len(given)


def test_every_kind_of_option_is_looked_at() -> None:
    tried = {param.values[1] for param in OUTSIDE}
    assert {"steps", "step_sizes", "variant", "loss", "population", "target_confidence", "attacks"} <= tried
