"""Published numbers: reading and checking the claims of a study, under each reading of the paper.

A claim names a cell (dataset, model, defense, attack, epsilon, metric) or says why it is out of scope. One that the
paper only repeats from another is `cited`, with or without a cell. A
reading is another way to take the paper (the authors' code, epsilon in pixels): it swaps slugs of the cells.
The headline reading is the paper's; only there can a claim count as reproduced.
"""

import csv
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from touchstone.registry import nearest
from touchstone.study.config import SLUG, ConfigError
from touchstone.study.scale import METRICS, UNITS
from touchstone.study.schema import Study

SLOTS = ["dataset", "model", "defense", "attack"]
CELL = [f"cell_{slot}" for slot in SLOTS]
PUBLISHED = [
    *["paper", "source_table", "dataset", "model", "defense", "attack", "norm", "epsilon", "epsilon_unit"],
    *["attack_params", "metric", "value", "unit", "std", "n_runs", "threat", "note", "train_params"],
    *["certainty", "source_ref"],
]
COLUMNS = ["id", *PUBLISHED, *CELL, "cell_epsilon", "cell_metric", "out_of_scope"]
# the number under another reading of a doubtful label, several: "a;b"; whose number it is where the paper repeats it
OPTIONAL = ["alternative", "cited"]
CERTAINTY = ("certain", "inferred", "uncertain")
HEADLINE = "headline"

Known = Mapping[str, Collection[str]]  # slot -> slugs that are defined
Budgets = Mapping[tuple[str, str], Collection[float]]  # (dataset, attack) -> epsilons; none: no budget
Lines = list[tuple[int, dict[str, str]]]  # line number and row

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def known(study: Study) -> Known:
    """Return the slugs that a study defines in each slot of a cell."""
    return dict(zip(SLOTS, (study.recipes, study.models, study.defenses, study.attacks), strict=True))


# ---- reading


def load(folder: Path, known: Known, budgets: Budgets | None = None, *, required: bool = True) -> pd.DataFrame:
    """Return the claims of a study; an interval printed as two rows (`_lo`, `_hi`) is one claim.

    Args:
        folder: of the study, with claims.csv.
        known: for each of SLOTS the slugs that are defined.
        budgets: (dataset, attack) -> the epsilons that are run, none for an attack without a budget.
        required: whether the file has to be there; without it there are no claims.

    Returns:
        The columns of the file as text, with those of OPTIONAL; as numbers `cell_epsilon` and, in the claim's own
        unit, `low` and `high` (equal unless it is an interval).

    Raises:
        ConfigError: with every problem of the file: line, key, value, what is allowed.
    """
    path = folder / "claims.csv"
    rows, problems = read_rows(path, COLUMNS, OPTIONAL, required=required)
    first: dict[str, int] = {}
    for line, row in rows:
        found = list(_row_problems(row, known, budgets or {}))
        if (earlier := first.setdefault(row["id"], line)) != line:
            found.append(("id", f"must be unique, {row['id']!r} is already on line {earlier}"))
        problems += [f"{path}:{line}: {key}: {text}" for key, text in found]
    if problems:
        raise ConfigError(problems)
    return _join_intervals(path, rows)


def read_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str], *, required: bool = True
) -> tuple[Lines, list[str]]:
    """Return (line number, row) of a CSV file and what is wrong with single lines; no rows if it need not be there.

    Raises:
        ConfigError: if the file as a whole is wrong: unreadable, not CSV, or with other columns.
    """
    if not required and not path.exists():
        return [], []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: expected UTF-8 text: {error.reason} at byte {error.start}"]) from error
    except csv.Error as error:
        raise ConfigError([f"{path}:{reader.line_num}: not valid CSV: {error}"]) from error
    header = lines[0][1] if lines else []
    wrong = [f"missing column {name!r}" for name in columns if name not in header]
    allowed = [*columns, *optional]
    wrong += [f"unknown column {name!r}; {nearest(name, allowed)}" for name in header if name not in allowed]
    wrong += [f"column {name!r} is there twice" for name in sorted(set(header)) if header.count(name) > 1]
    if wrong:
        raise ConfigError([f"{path}:1: {text}" for text in wrong])
    rows, problems = [], []
    for line, cells in lines[1:]:
        if len(cells) == len(header):
            rows.append((line, dict.fromkeys(optional, "") | dict(zip(header, cells, strict=True))))
        else:
            problems.append(f"{path}:{line}: expected {len(header)} fields, got {len(cells)}")
    return rows, problems


def _row_problems(row: Mapping[str, str], known: Known, budgets: Budgets) -> Iterator[tuple[str, str]]:
    if not re.fullmatch(SLUG, row["id"]):
        yield "id", f"must match {SLUG}, got {row['id']!r}"
    for key, names in {"unit": UNITS, "certainty": CERTAINTY}.items():
        if row[key] not in names:
            yield key, f"unknown {key} {row[key]!r}; {nearest(row[key], names)}"
    yield from _number_problems(row)
    filled = [key for key in [*CELL, "cell_epsilon", "cell_metric"] if row[key]]
    if row["out_of_scope"] and row["cited"]:
        yield "cited", f"give either whom the paper cites or why it is out of scope, got both: {row['cited']!r}"
    if row["out_of_scope"] and filled:
        yield "out_of_scope", f"give either a cell or a reason, got both: {', '.join(filled)}"
    elif not filled and not row["out_of_scope"] and not row["cited"]:
        yield "out_of_scope", f"give either a cell ({', '.join(CELL)}, cell_metric) or a reason, got neither"
    elif filled:
        yield from _cell_problems(row, known, budgets)


def _number_problems(row: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key in ("value", "epsilon", "std", "n_runs", "cell_epsilon"):
        if (row[key] or key == "value") and not _NUMBER.fullmatch(row[key]):
            yield key, f"expected a number, got {row[key]!r}"
    for text in filter(None, row["alternative"].split(";")):
        if not _NUMBER.fullmatch(text):
            yield "alternative", f"expected numbers separated by ';', got {text!r}"
    if row["n_runs"] and not re.fullmatch(r"[1-9]\d*", row["n_runs"]):
        yield "n_runs", f"expected a count of at least 1, got {row['n_runs']!r}"
    share = METRICS.get(row["cell_metric"], METRICS["fuzziness"]).sampling == "binomial"
    if share and row["unit"] in UNITS and _NUMBER.fullmatch(row["value"]):
        top = UNITS[row["unit"]]
        if not 0.0 <= float(row["value"]) <= top:
            what = f"{row['cell_metric']} in {row['unit']}"
            yield "value", f"expected 0 to {top:g} for {what}, got {row['value']!r}"


def _cell_problems(row: Mapping[str, str], known: Known, budgets: Budgets) -> Iterator[tuple[str, str]]:
    for slot, names in [*((slot, known[slot]) for slot in SLOTS), ("metric", METRICS)]:
        key = f"cell_{slot}"
        if not row[key]:
            yield key, "required where the claim has a cell"
        elif row[key] not in names:
            yield key, f"unknown {slot} {row[key]!r}; {nearest(row[key], names)}"
    grid = budgets.get((row["cell_dataset"], row["cell_attack"]))
    if grid is None or (row["cell_epsilon"] and not _NUMBER.fullmatch(row["cell_epsilon"])):
        return
    attack, given = row["cell_attack"], row["cell_epsilon"]
    if not grid and given:
        yield "cell_epsilon", f"{attack!r} has no budget: leave it empty, got {given!r}"
    if grid and not (given and any(math.isclose(float(given), eps) for eps in grid)):
        allowed = ", ".join(f"{eps:g}" for eps in grid)
        yield "cell_epsilon", f"{attack!r} is not run at {given!r}; allowed: {allowed}"


def _join_intervals(path: Path, rows: Lines) -> pd.DataFrame:
    """Make one claim of each `_lo`, `_hi` pair of rows that agree in everything but value and note."""
    same = [key for key in COLUMNS if key not in ("id", "metric", "value", "note")]
    pairs: dict[tuple[str, ...], dict[str, dict[str, str]]] = defaultdict(dict)
    for _, row in rows:
        pairs[(row["metric"][:-3], *(row[key] for key in same))][row["metric"][-3:]] = row
    claims, problems = [], []
    for line, row in rows:
        stem, end = row["metric"][:-3], row["metric"][-3:]
        pair = pairs[(stem, *(row[key] for key in same))]
        low, high = float(pair.get("_lo", row)["value"]), float(pair.get("_hi", row)["value"])
        if end not in ("_lo", "_hi"):
            claims.append({**row, "low": float(row["value"]), "high": float(row["value"])})
        elif not {"_lo", "_hi"} <= set(pair):
            other = stem + ("_hi" if end == "_lo" else "_lo")
            text = f"metric: {row['metric']!r} needs a row {other!r} of the same cell"
            problems.append(f"{path}:{line}: {text}")
        elif low > high:
            text = f"value: expected the low end below the high end, got {low:g} and {high:g}"
            problems.append(f"{path}:{line}: {text}")
        elif end == "_lo":
            name = {"id": row["id"].removesuffix("-lo"), "metric": stem, "value": f"{low:g} to {high:g}"}
            claims.append({**row, **name, "low": low, "high": high})
    if problems:
        raise ConfigError(problems)
    table = pd.DataFrame(claims, columns=[*COLUMNS, *OPTIONAL, "low", "high"])
    return table.assign(cell_epsilon=pd.to_numeric(table["cell_epsilon"]).astype(float))


# ---- claims x readings


def expand(claims: pd.DataFrame, readings: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return the claims under each reading: columns `reading` and `mark` are added.

    Args:
        claims: as `load` returns them.
        readings: name -> {slot of SLOTS: {slug: slug that stands in}, "mark": words of the verdict}.
            `headline` keeps every claim as it is; another reading has the claims whose cell it changes.

    Raises:
        ValueError: if there is no headline, or another reading has no mark.
    """
    if HEADLINE not in readings:
        raise ValueError(f"readings: expected one named {HEADLINE!r}, got {', '.join(readings) or 'none'}")
    parts = [claims.assign(reading=HEADLINE, mark="")]
    for name, reading in readings.items():
        if name == HEADLINE:
            continue
        if not reading.get("mark"):
            raise ValueError(f"readings: {name}: expected a mark, the words of its verdict, got none")
        swaps = {f"cell_{slot}": reading.get(slot) or {} for slot in SLOTS}
        changed = claims.assign(**{key: claims[key].replace(swap) for key, swap in swaps.items()})
        touched = (changed[CELL] != claims[CELL]).any(axis=1)
        parts.append(changed[touched].assign(reading=name, mark=reading["mark"]))
    return pd.concat(parts, ignore_index=True)
