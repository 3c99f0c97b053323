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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from touchstone.cell import radius_index, same_radius
from touchstone.registry import nearest
from touchstone.study.config import NO_UNSEEN, SLUG, UNSEEN, ConfigError
from touchstone.study.scale import EPSILON_UNITS, METRICS, UNITS
from touchstone.study.schema import Reading, Study

SLOTS = ["dataset", "model", "defense", "attack"]
CELL = [f"cell_{slot}" for slot in SLOTS]
PUBLISHED = [
    *["paper", "source_table", "dataset", "model", "defense", "attack", "norm", "epsilon", "epsilon_unit"],
    *["attack_params", "metric", "value", "unit", "std", "n_runs", "threat", "note", "train_params"],
    *["certainty", "source_ref"],
]
COLUMNS = ["id", *PUBLISHED, *CELL, "cell_epsilon", "cell_metric", "out_of_scope"]
# the number under another reading of a doubtful label, several: "a;b"; whose number it is where the paper repeats it
# slug of the attack with whose number of the same table it is compared
OPTIONAL = ["alternative", "cited", "against"]
CERTAINTY = ("certain", "inferred", "uncertain")
HEADLINE = "headline"
# a printed word that has several definitions -> those, of which a study takes the one that the paper means
DEFINITIONS = {
    "accuracy": ("accuracy", "accuracy_values"),
    "mean_norm": ("mean_norm", "mean_norm_values"),
    "rho_adv": ("rho_adv", "rho_adv_ends", "rho_adv_all", "rho_adv_all_ends"),
}
NORMS = ("linf", "l2", "l1", "l0", "none", "unknown")


class Tried(NamedTuple):
    """An attack as a study runs it on a defense: kind of attack, norm and space of its threat, its radii and steps.

    norm: none without a threat. epsilons: none for an attack without a budget. steps: None where the study names none.
    read: its radii are those at which distances are read, so that it has numbers without a radius too.
    """

    kind: str
    norm: str
    space: str
    epsilons: Collection[float]
    steps: int | None = None
    read: bool = False


Known = Mapping[str, Collection[str]]  # slot -> slugs that are defined
AllTried = Mapping[tuple[str, str, str], Tried]  # by dataset, defense and attack
Readings = Mapping[str, Reading]  # by name, as for `expand`
Row = Mapping[Any, Any]  # of the claims, by column
Lines = list[tuple[int, dict[str, str]]]  # line number and row

_RESTARTS = re.compile(r"(?:^|;)restarts=([^;]+)")


@dataclass(frozen=True)
class Sheet:
    """A CSV file as it is written.

    Attributes:
        path: of the file.
        rows: line number and row; none of a file that is no table with the columns.
        problems: what is wrong with the file, or with the form of single lines.
        whole: whether it is a table with the columns.
    """

    path: Path
    rows: Lines
    problems: tuple[str, ...]
    whole: bool = True


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def known(study: Study) -> Known:
    """Return the slugs that a study defines in each slot of a cell."""
    return dict(zip(SLOTS, (study.recipes, study.models, study.defenses, study.attacks), strict=True))


# ---- reading


def read(path: Path) -> Sheet | None:
    """Read claims.csv as it is written; None where there is no such file."""
    return read_sheet(path, COLUMNS, OPTIONAL)


def load(
    sheet: Sheet | None,
    study: str,
    known: Known,
    tried: AllTried | None = None,
    readings: Readings | None = None,
) -> pd.DataFrame:
    """Return the claims of a study; an interval printed as two rows (`_lo`, `_hi`) is one claim.

    What is printed and the cell that it is compared with have to agree in everything that both of them say.

    Args:
        sheet: the file; None for a study without claims.
        study: whose claims they are.
        known: for each of SLOTS the slugs that are defined.
        tried: (dataset, defense, attack) -> how it is run; what is not there is not checked.
        readings: as for `expand`: the cell of a claim has to make sense in each of them.

    Returns:
        The columns of the file as text, with those of OPTIONAL; as numbers `cell_epsilon` and, in the claim's own
        unit, `low` and `high` (equal unless it is an interval).

    Raises:
        ConfigError: with every problem of the file: line, key, value, what is allowed.
    """
    if sheet is None:
        return _table([])
    across = [(line, "against", text) for line, text in _against_problems(sheet.rows)]
    raise_problems(sheet, lambda row: _row_problems(row, study, known, tried or {}, readings or {}), across)
    return _join_intervals(sheet.path, sheet.rows)


def raise_problems(
    sheet: Sheet,
    check: Callable[[Mapping[str, str]], Iterator[tuple[str, str]]],
    across: Iterable[tuple[int, str, str]] = (),
    *,
    unique: Sequence[str] = ("id",),
) -> None:
    """Check every row of a sheet.

    Args:
        sheet: of rows.
        check: row -> (column, what is wrong there).
        across: line, column and what is wrong there beside other rows.
        unique: columns in which no two rows say the same; several may say nothing.

    Raises:
        ConfigError: with every problem of the file, each with its line.
    """
    problems, first = [*sheet.problems], dict[tuple[str, str], int]()
    for line, row in sheet.rows:
        found = list(check(row))
        for key in unique:
            if row[key] and (earlier := first.setdefault((key, row[key]), line)) != line:
                found.append((key, f"must be unique, {row[key]!r} is already on line {earlier}"))
        problems += [f"{sheet.path}:{line}: {key}: {text}" for key, text in found]
    problems += [f"{sheet.path}:{line}: {key}: {text}" for line, key, text in across]
    if problems:
        raise ConfigError(problems)


def read_sheet(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Sheet | None:
    """Read a CSV file as it is written, with these columns and perhaps optional ones; None where it is not there."""
    if not path.exists():
        return None
    try:
        rows, problems = _rows(path, columns, optional)
    except ConfigError as error:
        return Sheet(path, [], tuple(error.problems), whole=False)
    return Sheet(path, rows, tuple(problems))


def _rows(path: Path, columns: Sequence[str], optional: Sequence[str]) -> tuple[Lines, list[str]]:
    """Return (line number, row) of a CSV file and what is wrong with single lines.

    Raises:
        ConfigError: if the file as a whole is wrong: unreadable, not CSV, or with other columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            ends = [(0, [""]), *((reader.line_num, cells) for cells in reader)]
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: expected UTF-8 text: {error.reason} at byte {error.start}"]) from error
    except csv.Error as error:
        raise ConfigError([f"{path}:{reader.line_num}: not valid CSV: {error}"]) from error
    lines = [(end + 1, cells) for (end, _), (_, cells) in pairwise(ends) if cells]  # each with the first of its lines
    header = lines[0][1] if lines else []
    wrong = [f"{name}: missing column {name!r}" for name in columns if name not in header]
    allowed = [*columns, *optional]
    wrong += [f"{name}: unknown column {name!r}; {nearest(name, allowed)}" for name in header if name not in allowed]
    wrong += [f"{name}: column {name!r} is there twice" for name in sorted(set(header)) if header.count(name) > 1]
    if wrong:
        raise ConfigError([f"{path}:1: {text}" for text in wrong])
    rows, problems = [], []
    for line, cells in lines[1:]:
        hidden = [(name, cell) for name, cell in zip(header, cells, strict=False) if UNSEEN.search(cell)]
        problems += [f"{path}:{line}: {name}: {NO_UNSEEN}, got {cell!r}" for name, cell in hidden]
        if len(cells) == len(header):
            rows.append((line, dict.fromkeys(optional, "") | dict(zip(header, cells, strict=True))))
        else:
            problems.append(f"{path}:{line}: expected {len(header)} fields, got {len(cells)}")
    return rows, problems


def _row_problems(
    row: Mapping[str, str], study: str, known: Known, tried: AllTried, readings: Readings
) -> Iterator[tuple[str, str]]:
    if not re.fullmatch(SLUG, row["id"]):
        yield "id", f"must match {SLUG}, got {row['id']!r}"
    if row["paper"] != study:
        yield "paper", f"must be the study {study!r}, got {row['paper']!r}"
    words: dict[str, Collection[str]] = {"unit": UNITS, "certainty": CERTAINTY, "norm": NORMS}
    words |= {"epsilon_unit": EPSILON_UNITS} if row["epsilon"] else {}
    for key, names in words.items():
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
        yield from _cell_problems(row, known, tried)
        yield from _disagreements(row, known, tried)
        for name, reading in readings.items():
            swapped = {**row, **{key: swap.get(row[key], row[key]) for key, swap in _swaps(reading).items()}}
            found = _run_problems(swapped, tried) if swapped != row else ()
            yield from ((key, f"in the reading {name!r}: {text}") for key, text in found)


PAIRS = [name for name, metric in METRICS.items() if metric.paired]  # what a claim with `against` may be of


def compared_with(row: Row, rows: Iterable[Row]) -> list[Row]:
    """Return the numbers of the attack that a claim names in `against`: of its table and net, at its radius.

    Args:
        row: a claim, as it is written or as `load` returns it.
        rows: all claims of its study, likewise.

    Returns:
        Their rows; a claim that has been checked has one.
    """
    same, radius = ["source_table", "cell_dataset", "cell_model", "cell_defense", "cell_metric"], _radius(row)
    of_attack = (other for other in rows if other["cell_attack"] == row["against"])
    of_net = (other for other in of_attack if all(other[key] == row[key] for key in same))
    return [other for other in of_net if same_radius(_radius(other), radius)]


def _radius(row: Row) -> float:
    """Return the radius of a claim's cell; nan for none, and for text that is no number."""
    radius: str | float = row["cell_epsilon"]
    return _or_nan(decimal(radius)) if isinstance(radius, str) else radius


def restarts(row: Row) -> str:
    """Return how many restarts are printed beside a number: "100", "1or10" where it could be either, "" for none."""
    found = _RESTARTS.search(row["attack_params"])
    return found[1] if found else ""


def _against_problems(rows: Lines) -> Iterator[tuple[int, str]]:
    """A claim names an attack with one number in its table, on the same net with the same restarts."""
    for line, row in rows:
        if not row["against"]:
            continue
        found = compared_with(row, (other for _, other in rows))
        printed = {count for one in (row, *found) if (count := restarts(one))}
        if row["cell_metric"] not in PAIRS:
            yield line, f"is only for {', '.join(PAIRS)}, not for {row['cell_metric']!r}"
        elif row["against"] == row["cell_attack"]:
            yield line, f"{row['against']!r} is compared with itself"
        elif len(found) != 1:
            text = f"expected one number of {row['against']!r} in the same table on the same cell, got {len(found)}"
            yield line, text
        elif len(printed) > 1:
            yield line, f"{row['against']!r} has other restarts: {', '.join(sorted(printed))}"


def decimal(text: str) -> float | None:
    """Return a finite decimal number, None for anything else."""
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None


def _number_problems(row: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key in ("value", "epsilon", "std", "n_runs", "cell_epsilon"):
        number = decimal(row[key])
        if (row[key] or key == "value") and number is None:
            yield key, f"expected a number, got {row[key]!r}"
        if key != "value" and number is not None and number < 0:
            yield key, f"expected at least 0, got {row[key]!r}"
    if row["n_runs"] and not re.fullmatch(r"[1-9]\d*", row["n_runs"], re.ASCII):
        yield "n_runs", f"expected a count of at least 1, got {row['n_runs']!r}"
    others = [text for text in row["alternative"].split(";") if text]
    for text in others:
        if decimal(text) is None:
            yield "alternative", f"expected numbers separated by ';', got {text!r}"
    measure = METRICS.get(row["cell_metric"])
    if measure and row["unit"] in UNITS:
        size, what = UNITS[row["unit"]], f"{row['cell_metric']} in {row['unit']}"
        low, high = measure.low * size, measure.high * size
        allowed = f"{low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
        for key, text in [("value", row["value"]), *(("alternative", text) for text in others)]:
            number = decimal(text)
            if number is not None and not low <= number <= high:
                yield key, f"expected {allowed} for {what}, got {text!r}"


def _cell_problems(row: Mapping[str, str], known: Known, tried: AllTried) -> Iterator[tuple[str, str]]:
    """Say which slugs of a cell are missing or unknown, and what is not run or not measured there."""
    for slot, names in [*((slot, known[slot]) for slot in SLOTS), ("metric", METRICS)]:
        key = f"cell_{slot}"
        if not row[key]:
            yield key, "required where the claim has a cell"
        elif row[key] not in names:
            yield key, f"unknown {slot} {row[key]!r}; {nearest(row[key], names)}"
    yield from _run_problems(row, tried)


def _run_problems(row: Mapping[str, str], tried: AllTried) -> Iterator[tuple[str, str]]:
    """Say where the attack of a cell is not run at its radius, in the printed norm, or does not give its metric."""
    attack, given = row["cell_attack"], row["cell_epsilon"]
    run, radius = tried.get(_tried_key(row)), decimal(given)
    measure = METRICS.get(row["cell_metric"])
    if run is None or (given and radius is None):
        return
    read_at = measure is None or measure.at_radius or run.kind != "minimal"
    if not run.epsilons and given:
        yield "cell_epsilon", f"{attack!r} has no budget: leave it empty, got {given!r}"
    elif not read_at and given:
        yield "cell_epsilon", f"{row['cell_metric']!r} is at no radius: leave it empty, got {given!r}"
    elif run.epsilons and read_at and (given or not run.read) and radius_index(run.epsilons, _or_nan(radius)) is None:
        allowed = ", ".join(f"{eps:g}" for eps in run.epsilons)
        yield "cell_epsilon", f"{attack!r} is not run at {given!r}; allowed: {allowed}"
    if measure and measure.norm not in ("", run.norm):
        yield "cell_metric", f"{row['cell_metric']!r} is of an attack in {measure.norm}; {attack!r} is in {run.norm}"
    if measure and run.kind not in measure.kinds:
        kinds = " or ".join(measure.kinds)
        yield "cell_metric", f"{row['cell_metric']!r} is of an attack of kind {kinds}; {attack!r} is of kind {run.kind}"
    if row["norm"] in NORMS and row["norm"] not in (run.norm, "unknown"):
        yield "norm", f"{row['norm']!r} is printed, but {attack!r} works in {run.norm!r}"


def _tried_key(row: Mapping[str, str]) -> tuple[str, str, str]:
    return row["cell_dataset"], row["cell_defense"], row["cell_attack"]


def _or_nan(radius: float | None) -> float:
    return math.nan if radius is None else radius


def _disagreements(row: Mapping[str, str], known: Known, tried: AllTried) -> Iterator[tuple[str, str]]:
    """Say where the printed columns and those of the cell contradict each other."""
    printed = re.sub("_(lo|hi)$", "", row["metric"])
    names = DEFINITIONS.get(printed, (printed,))
    if printed not in METRICS:
        yield "metric", f"unknown metric {printed!r} with a cell; {nearest(printed, METRICS)}"
    elif row["cell_metric"] in METRICS and row["cell_metric"] not in names:
        yield "cell_metric", f"{row['cell_metric']!r}, but {row['metric']!r} is printed"
    run = tried.get(_tried_key(row))
    for slot in SLOTS:
        word, slug = row[slot], row[f"cell_{slot}"]
        if slot == "attack" and row["norm"] == "none":
            continue  # a pass over clean images, whichever these are
        if word in known[slot] and slug in known[slot] and word != slug:
            yield f"cell_{slot}", f"{slug!r}, but {word!r} is printed, which is another {slot} of the study"
    unit = EPSILON_UNITS.get(row["epsilon_unit"])
    steps = re.search(r"(?:^|;)steps=(\d+)(?:;|$)", row["attack_params"], re.ASCII)
    if run and run.steps is not None and steps and int(steps[1]) != run.steps:
        yield "cell_attack", f"{row['cell_attack']!r} takes {run.steps} steps, but steps={steps[1]} is printed"
    epsilon, radius = decimal(row["epsilon"]), decimal(row["cell_epsilon"])
    if run and unit and epsilon is not None and radius is not None:
        if run.space not in unit.spaces:
            yield (
                "epsilon_unit",
                f"{row['epsilon_unit']!r} is printed, but {row['cell_attack']!r} is in {run.space} space",
            )
        elif not same_radius(epsilon / unit.size, radius):
            yield "cell_epsilon", f"{row['cell_epsilon']!r}, but {row['epsilon']} in {row['epsilon_unit']} is printed"


def _join_intervals(path: Path, rows: Lines) -> pd.DataFrame:
    """Make one claim of each `_lo`, `_hi` pair of rows that agree in everything but id, value and note."""
    same = [key for key in (*COLUMNS, *OPTIONAL) if key not in ("id", "metric", "value", "note")]

    def whose(row: Mapping[str, str]) -> tuple[str, ...]:
        return (row["metric"][:-3], *(row.get(key, "") for key in same))

    pairs: dict[tuple[str, ...], dict[str, dict[str, str]]] = defaultdict(dict)
    for _, row in rows:
        pairs[whose(row)][row["metric"][-3:]] = row
    claims, problems = [], []
    for line, row in rows:
        stem, end = row["metric"][:-3], row["metric"][-3:]
        pair = pairs[whose(row)]
        low, high = float(pair.get("_lo", row)["value"]), float(pair.get("_hi", row)["value"])
        if end not in ("_lo", "_hi"):
            claims.append({**row, "low": float(row["value"]), "high": float(row["value"])})
        elif not {"_lo", "_hi"} <= set(pair):
            other = stem + ("_hi" if end == "_lo" else "_lo")
            alike = "of the same cell, equal in all but id, value and note"
            text = f"metric: {row['metric']!r} needs a row {other!r} {alike}"
            problems.append(f"{path}:{line}: {text}")
        elif low > high:
            text = f"value: expected the low end below the high end, got {low:g} and {high:g}"
            problems.append(f"{path}:{line}: {text}")
        elif end == "_lo":
            name = {"id": row["id"].removesuffix("-lo"), "metric": stem, "value": f"{low:g} to {high:g}"}
            claims.append({**row, **name, "low": low, "high": high})
    if problems:
        raise ConfigError(problems)
    return _table(claims)


def _table(claims: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    table = pd.DataFrame(claims, columns=[*COLUMNS, *OPTIONAL, "low", "high"])
    return table.assign(cell_epsilon=pd.to_numeric(table["cell_epsilon"]).astype(float))


# ---- claims x readings


def _swaps(reading: Reading) -> dict[str, Mapping[str, str]]:
    """Return the words that a reading swaps, by column of the claims."""
    swaps = {"model": reading.model, "defense": reading.defense, "attack": reading.attack, "metric": reading.metric}
    return {f"cell_{slot}": words for slot, words in swaps.items()}


def expand(claims: pd.DataFrame, readings: Readings, *, rivals: bool = False) -> pd.DataFrame:
    """Return the claims under each reading: columns `reading` and `mark` are added.

    Args:
        claims: as `load` returns them.
        readings: `headline` keeps every claim as it is; another reading has the claims whose cell it changes.
        rivals: whether it also has those of which it changes the attack that they are compared with.

    Raises:
        ValueError: if there is no headline, or another reading has no mark.
    """
    if HEADLINE not in readings:
        raise ValueError(f"readings: expected one named {HEADLINE!r}, got {', '.join(readings) or 'none'}")
    parts = [claims.assign(reading=HEADLINE, mark="")]
    for name, reading in readings.items():
        if name == HEADLINE:
            continue
        if not reading.mark:
            raise ValueError(f"readings: {name}: expected a mark, the words of its verdict, got none")
        swaps = {**_swaps(reading), **({"against": reading.attack} if rivals else {})}
        changed = claims.assign(**{key: claims[key].replace(swap) for key, swap in swaps.items()})
        touched = (changed[[*swaps]] != claims[[*swaps]]).any(axis=1)
        parts.append(changed[touched].assign(reading=name, mark=reading.mark))
    return pd.concat(parts, ignore_index=True)
