"""What a study asks for: the cells of its claims under each reading, and those that it lists."""

from itertools import product
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from touchstone.attacks import ATTACKS
from touchstone.study import claims as claim_table
from touchstone.study import statements
from touchstone.study.claims import CELL, Tried
from touchstone.study.config import ConfigError
from touchstone.study.scale import COMPARED
from touchstone.study.schema import Study, for_cell


class Asked(NamedTuple):
    """An attack on every seed of a model."""

    dataset: str
    model: str
    defense: str
    attack: str


def asked(folder: Path, study: Study) -> list[Asked]:
    """Return what the claims of a study ask for under each reading, then its `cells`.

    Metrics that compare with the reference defense ask for its cell too.

    Raises:
        ConfigError: with every problem of claims.csv and qualitative.csv; if the study asks for nothing.
    """
    known, required = claim_table.known(study), not study.cells
    readings = {name: reading.model_dump() for name, reading in study.readings.items()}
    problems: list[str] = []
    claims: pd.DataFrame | None = None
    try:
        claims = claim_table.load(folder, known, tried(study), readings, required=required)
    except ConfigError as error:
        problems += error.problems
    try:
        statements.load(folder, known, claims, required=False)
    except ConfigError as error:
        problems += error.problems
    if claims is None or problems:
        raise ConfigError(problems)
    rows = claim_table.expand(claims, readings)
    rows = rows[rows["cell_metric"] != ""]
    compared = rows["cell_metric"].isin(COMPARED)
    if compared.any() and not study.reference:
        named = ", ".join(sorted(set(rows["cell_metric"][compared])))
        raise ConfigError([f"{folder / 'claims.csv'}: cell_metric: {named}: study.yaml has no `selection.reference`"])
    reference = rows[compared].assign(cell_defense=study.reference)
    claimed = pd.concat([rows, reference])[CELL].itertuples(index=False, name=None)
    listed = (row for c in study.cells for row in product(c.datasets, c.models, c.defenses, c.attacks))
    found = [Asked(*row) for row in dict.fromkeys([*claimed, *listed])]
    if not found:
        raise ConfigError([f"{folder}: nothing runs: claims.csv names no cell, and study.yaml has no `cells`"])
    return found


def tried(study: Study) -> dict[tuple[str, str, str], Tried]:
    """(dataset, defense, attack) -> how the study runs it; attacks whose definition is faulty are left out."""
    found: dict[tuple[str, str, str], Tried] = {}
    for slug, attack in study.attacks.items():
        if attack.fn not in ATTACKS:
            continue
        kind, threat = ATTACKS[attack.fn].kind, study.threats.get(attack.threat or "")
        for dataset, defense in product(study.recipes, study.defenses):
            if kind == "none":
                found[dataset, defense, slug] = Tried(kind, "none", "", ())
            elif threat is not None:
                minimal = kind == "minimal"
                read = minimal and attack.rule == "distance" and threat.space == "pixel"  # as records hold distances
                radii = (
                    threat.radii(dataset, defense) if read or not minimal or attack.rule == "shrink_and_retest" else ()
                )
                steps = for_cell(attack.options.get("steps"), dataset, defense)
                found[dataset, defense, slug] = Tried(kind, threat.norm, threat.space, tuple(radii), steps, read)
    return found
