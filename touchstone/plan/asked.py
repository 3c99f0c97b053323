"""What a study asks for: the cells of its claims under each reading, and those that it lists."""

from collections.abc import Collection
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from touchstone.attacks import ATTACKS
from touchstone.study import claims as claim_table
from touchstone.study import statements
from touchstone.study.claims import CELL
from touchstone.study.config import ConfigError
from touchstone.study.scale import COMPARED
from touchstone.study.schema import Study


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
    problems: list[str] = []
    claims = pd.DataFrame()
    try:
        claims = claim_table.load(folder, known, budgets(study), required=required)
    except ConfigError as error:
        problems += error.problems
    try:
        statements.load(folder, statements.words(known), required=required)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    rows = claim_table.expand(claims, {name: reading.model_dump() for name, reading in study.readings.items()})
    rows = rows[rows["cell_metric"] != ""]
    compared = rows["cell_metric"].isin(COMPARED)
    if compared.any() and not study.reference:
        named = ", ".join(sorted(set(rows["cell_metric"][compared])))
        raise ConfigError([f"{folder / 'claims.csv'}: cell_metric: {named}: study.yaml has no `selection.reference`"])
    reference = rows[compared].assign(cell_defense=study.reference)
    claimed = pd.concat([rows, reference])[CELL].itertuples(index=False, name=None)
    listed = (row for c in study.cells for row in product(c.datasets, c.models, c.defenses, c.attacks))
    return [Asked(*row) for row in dict.fromkeys([*claimed, *listed])]


def budgets(study: Study) -> dict[tuple[str, str], Collection[float]]:
    """(dataset, attack) -> the epsilons it is run at; attacks whose definition is faulty are left out."""
    found: dict[tuple[str, str], Collection[float]] = {}
    for slug, attack in study.attacks.items():
        for dataset in study.recipes:
            if attack.fn not in ATTACKS:
                continue
            if ATTACKS[attack.fn].kind in ("none", "minimal") and attack.rule != "shrink_and_retest":
                found[dataset, slug] = ()
            elif attack.threat in study.threats:
                found[dataset, slug] = study.threats[attack.threat].epsilons.get(dataset, ())
    return found
