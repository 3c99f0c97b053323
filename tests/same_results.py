"""What runs of tests/config.yaml have in common if nothing went wrong: each file, each byte that is not a time."""

import json
from pathlib import Path

import pandas as pd

from touchstone import paths
from touchstone.cell import ModelId
from touchstone.files import OWN_SUM
from touchstone.paths import Results

TREE = Results.of("tiny")
STD = ModelId("minmax", "mnist", "lenet", "std", 0)
DATED = {*TREE.report(), *TREE.report("minmax"), TREE.provenance(), TREE.provenance("minmax"), TREE.finished}


def left(folder: Path) -> set[Path]:
    """All files of a run and its data, but for what jobs say of themselves, finished attacks, and locks."""
    aside = {TREE.log("attack").parents[1], TREE.benchmark("attack").parents[1]}
    part, locks = TREE.part(STD, "").records.parent.name, {paths.raw("digits").lock, TREE.lock}
    tree = (file for top in ("results", "data") for file in (folder / top).rglob("*") if not file.is_dir())
    files = {file.relative_to(folder) for file in tree}
    return {file for file in files - locks if part not in file.parts and not aside & {*file.parents}}


def lasting(folder: Path) -> dict[Path, object]:
    """What is in each of them, but for what has dates, the seconds that something took, and the sums of them."""
    return {file: _lasting(folder / file) for file in left(folder) - DATED}


def _lasting(file: Path) -> object:
    if file.name == TREE.model(STD).run.name:
        timed = ("seconds", "history_sha256", OWN_SUM)
        return {key: value for key, value in json.loads(file.read_text()).items() if key not in timed}
    if file.name == TREE.model(STD).history.name:
        return pd.read_csv(file, dtype=str).drop(columns="seconds").to_csv()
    return file.read_bytes()
