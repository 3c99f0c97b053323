"""What a study asks for: the cells of its claims under each reading, and those that it lists."""

from collections.abc import Collection, Sequence
from itertools import product
from typing import NamedTuple

import pandas as pd

from touchstone.attacks import ATTACKS, attack_spec
from touchstone.paths import StudyFiles
from touchstone.registry import is_own
from touchstone.study import claims as claim_table
from touchstone.study import statements
from touchstone.study.claims import CELL, Sheet, Tried
from touchstone.study.config import ConfigError
from touchstone.study.scale import COMPARED, METRICS
from touchstone.study.schema import CellsDef, Study, for_cell


class Asked(NamedTuple):
    """An attack on every seed of a model."""

    dataset: str
    model: str
    defense: str
    attack: str


def asked(files: StudyFiles, study: Study, printed: Sheet | None) -> list[Asked]:
    """Return what the claims of a study ask for under each reading, then its `cells` and those that people see.

    Metrics that compare with the reference defense ask for its cell too.

    Args:
        files: of the study.
        study: as its definition says.
        printed: its claims as they are written, None where it has no such file.

    Raises:
        ConfigError: with every problem of claims.csv and qualitative.csv; if the study asks for nothing.
    """
    known = claim_table.known(study)
    problems: list[str] = []
    claims: pd.DataFrame | None = None
    if printed is None and not study.cells:
        problems.append(f"{files.claims}: cannot be read: there is none, and {files.definition} has no `cells`")
    else:
        try:
            claims = claim_table.load(printed, study.study, known, tried(study), study.readings)
        except ConfigError as error:
            problems += error.problems
    try:
        statements.load(statements.read(files.statements), study.study, known, claims)
    except ConfigError as error:
        problems += error.problems
    if claims is None or problems:
        raise ConfigError(problems)
    rows = claim_table.expand(claims, study.readings)
    rows = rows[rows["cell_metric"] != ""]
    compared = rows["cell_metric"].isin(COMPARED)
    if compared.any() and not study.reference:
        named = ", ".join(sorted(set(rows["cell_metric"][compared])))
        raise ConfigError([f"{files.claims}: cell_metric: {named}: {files.definition} has no `selection.reference`"])
    reference = rows[compared].assign(cell_defense=study.reference)
    claimed = pd.concat([rows, reference])[CELL].itertuples(index=False, name=None)
    shown = _every(study.people.cells if study.people else [])
    if unseen := _unseen(claims, shown):
        text = f"`people` of {files.definition} shows no such images"
        raise ConfigError([f"{files.claims}: cell_metric: {', '.join(unseen)}: {text}"])
    listed = [*_every(study.cells), *shown]
    found = [Asked(*row) for row in dict.fromkeys([*claimed, *listed])]
    if not found:
        raise ConfigError([f"nothing runs: {files.claims} names no cell, and {files.definition} has no `cells`"])
    return found


def _every(cells: Sequence[CellsDef]) -> list[tuple[str, str, str, str]]:
    return [row for c in cells for row in product(c.datasets, c.models, c.defenses, c.attacks)]


def _unseen(claims: pd.DataFrame, shown: Collection[tuple[str, str, str, str]]) -> list[str]:
    """Return the claims of what people see whose images nobody is shown."""
    asking = {name for name, metric in METRICS.items() if metric.absent}
    rows = claims.loc[claims["cell_metric"].isin(asking), ["id", *CELL]]
    return [name for name, *cell in rows.itertuples(index=False, name=None) if tuple(cell) not in shown]


def tried(study: Study) -> dict[tuple[str, str, str], Tried]:
    """(dataset, defense, attack) -> how the study runs it; attacks whose definition is faulty are left out."""
    found: dict[tuple[str, str, str], Tried] = {}
    for slug, attack in study.attacks.items():
        if not is_own(attack.fn) and attack.fn not in ATTACKS:
            continue
        kind, threat = attack_spec(attack.fn).kind, study.threats.get(attack.threat or "")
        for dataset, defense in product(study.recipes, study.defenses):
            if kind == "none":
                found[dataset, defense, slug] = Tried(kind, "none", "", ())
            elif threat is not None:
                space = for_cell(threat.space, dataset, defense)
                minimal = kind == "minimal"
                read = minimal and attack.counted_by == "distance" and space == "pixel"
                shrunk = attack.counted_by == "shrink_and_retest"
                radii = threat.radii(dataset, defense) if read or shrunk or not minimal else ()
                steps = for_cell(attack.options.get("steps"), dataset, defense)
                found[dataset, defense, slug] = Tried(kind, threat.norm, space, tuple(radii), steps, read)
    return found
