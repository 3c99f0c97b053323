"""Claims and cells as tests need them: a toy claim, its cell, and the verdict on it."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from touchstone.cell import ThreatSpec
from touchstone.findings import verdicts
from touchstone.findings.cells import COLUMNS
from touchstone.findings.evidence import Trial
from touchstone.paths import study_files
from touchstone.study import claims
from touchstone.study.checks import load_study
from touchstone.study.schema import Reading

FILES = study_files("minmax", Path(claims.__file__).parents[2])
STUDY = FILES.definition.parent
KNOWN = {
    "dataset": {"mnist", "cifar10"},
    "model": {"lenet"},
    "defense": {"std", "std+l1", "minmax-printed", "minmax-coded"},
    "attack": {"clean", "pgd40-linf", "cw-l2", "pgd40-linf-px"},
}
READINGS = {
    "headline": Reading(),
    "coded": Reading(mark="only as coded", defense={"minmax-printed": "minmax-coded"}),
    "pixel": Reading(mark="only with epsilon in pixels", attack={"pgd40-linf": "pgd40-linf-px"}),
}
LINF = ThreatSpec("linf", "normalized")
WORST = {
    ("mnist", "pgd40-linf"): Trial(LINF, {0.3: ("worst-linf", 0.0924)}),
    ("mnist", "cw-l2"): "C&W is unbounded",
}
ROW = {
    **dict.fromkeys([*claims.COLUMNS, *claims.OPTIONAL], ""),
    **{"id": "a", "paper": "toy", "source_table": "Table 1", "dataset": "mnist", "model": "lenet", "defense": "std"},
    **{
        "attack": "pgd",
        "norm": "linf",
        "epsilon": "0.3",
        "epsilon_unit": "normalized",
        "metric": "accuracy",
        "value": "0.5000",
        "unit": "fraction",
    },
    **{"certainty": "certain", "cell_dataset": "mnist", "cell_model": "lenet", "cell_defense": "std"},
    **{"cell_attack": "pgd40-linf", "cell_epsilon": "0.3", "cell_metric": "accuracy"},
}
CLEAN = {"attack": "clean", "norm": "none", "epsilon": "", "cell_attack": "clean", "cell_epsilon": ""}
NO_CELL = dict.fromkeys([*claims.CELL, "cell_epsilon", "cell_metric"], "")


def write(folder: Path, *rows: Mapping[str, str], name: str = "claims.csv") -> Path:
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def load(folder: Path, *rows: Mapping[str, str], **more: Any) -> pd.DataFrame:
    """Read claims of the study `toy`."""
    (study := folder / "toy").mkdir(exist_ok=True)
    return claims.load(claims.read(write(study, *rows) / "claims.csv"), study.name, KNOWN, **more)


def cell(value: float, *, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """One row of cells.csv."""
    base = {"study": "toy", "dataset": "mnist", "model": "lenet", "defense": "std", "seed": seed, "stand_in": ""}
    base |= {"attack": "pgd40-linf", "protocol": "published", "space": "normalized"}
    base |= {"norm": "linf", "epsilon": 0.3, "metric": "accuracy", "value": value, "n": 10000}
    base |= {"status": "ok", "reason": "", "half": math.nan, "suite": "", **changes}
    return {"met": base["n"], **base}


def seeds(*values: float, **changes: Any) -> list[dict[str, Any]]:
    return [cell(value, seed=seed, **changes) for seed, value in enumerate(values)]


def worst(*values: float, gap: float = 0.0, **changes: Any) -> list[dict[str, Any]]:
    """Worst cases in the space of the published attack, and how far they are below it."""
    named = {"protocol": "worst", "suite": "quick"} | changes
    found = seeds(*values, **{"metric": "worst_under_threat"} | named)
    return found + seeds(*[gap] * len(values), **{"metric": "attack_gap"} | named)


def agreeing(row: Mapping[str, str]) -> dict[str, str]:
    """Print what the cell of a claim says: a test of verdicts is about the cell."""
    if row["out_of_scope"]:
        return dict(row)
    end = row["metric"][-3:] if row["metric"].endswith(("_lo", "_hi")) else ""
    printed = {slot: row[f"cell_{slot}"] for slot in ("dataset", "defense")}
    return {**row, **printed, "metric": row["cell_metric"] + end}


def judged(folder: Path, rows: list[dict[str, str]], cells: list[dict[str, Any]], **more: Any) -> pd.DataFrame:
    given = {"readings": READINGS, "worst": WORST, "caps": {}, "near_zero": "near_zero_0.01"}
    given |= {"reference": "std", **more}
    table = pd.DataFrame(cells, columns=COLUMNS)
    return verdicts.verdicts(load(folder, *map(agreeing, rows)), table, **given)


def slugs() -> dict[str, Any]:
    definition = load_study(FILES)
    slots = (definition.recipes, definition.models, definition.defenses, definition.attacks)
    return dict(zip(claims.SLOTS, slots, strict=True))


def printed() -> pd.DataFrame:
    """The study's own claims."""
    return claims.load(claims.read(FILES.claims), "minmax", slugs())


def printed_as_ours(study: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for claim in study[study["cell_metric"].isin(["accuracy", "fuzziness"])].to_dict("records"):
        place = {"dataset": claim["cell_dataset"], "norm": "none" if claim["attack"] == "clean" else "linf"}
        place |= {"defense": claim["cell_defense"], "attack": claim["cell_attack"], "epsilon": claim["cell_epsilon"]}
        rows += seeds(*[float(claim["value"])] * 3, **place, metric=claim["cell_metric"])
    zeros = {"attack": "clean", "epsilon": math.nan, "norm": "none", "metric": "near_zero_0.01"}
    for dataset, low, high in (("mnist", 0.05, 0.9), ("cifar10", 0.006, 0.87)):
        for defense, share in (("std", low), ("minmax-printed", high), ("adv", 0.2)):
            rows += seeds(*[share] * 3, dataset=dataset, defense=defense, **zeros)
    return pd.DataFrame(rows, columns=COLUMNS)
