"""The rows of the plug-in: one for each table of names, and one of test cases.

As a plug-in of pytest (`-p toy_rows`) it adds them before tests are collected, so that every test which goes through a
table takes what stands here.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from attacks.cases import BITS, CASES, Case, Optimum

from touchstone.attacks import ATTACKS
from touchstone.data import DATASETS
from touchstone.defenses import DEFENSES
from touchstone.models import MODELS
from touchstone.registry import AttackSpec, DatasetSpec, DefenseSpec, ModelSpec, RawFile

STRIPES = DatasetSpec(
    fn="toy_plugin:stripes",
    shape=(3, 8, 8),
    classes=4,
    mean=(0.37,) * 3,
    std=(0.25,) * 3,
    source="made up",
    validation=20,
    files=(
        RawFile("stripes/train.samples", "980881644089d573883d9e596946e193"),
        RawFile("stripes/test.samples", "e1946517703e3dc61c7ea24c6c502340"),
    ),
)
JUMP = Case(
    quick={},
    edges={"noise": 0.0},
    scaled=(BITS, {}),
    trained="one step promises nothing",
    optima=(Optimum("linf", {"noise": 0.0}, 1.05),),
    mutants=(),  # of modules of the package
)


class Row(NamedTuple):
    """What is added to a table."""

    table: Mapping[str, Any]
    name: str
    spec: Any


ROWS = (
    Row(DATASETS, "stripes", STRIPES),
    Row(MODELS, "two-layers", ModelSpec("toy_plugin:two_layers", "made up", {"width": 12})),
    Row(DEFENSES, "smoothed", DefenseSpec("toy_plugin:Smoothed", "made up")),
    Row(ATTACKS, "jump", AttackSpec("toy_plugin:jump", "fixed", ("linf",), "made up")),
    Row(CASES, "jump", JUMP),
)


def pytest_configure() -> None:
    """Add them."""
    for table, name, spec in ROWS:
        table[name] = spec
