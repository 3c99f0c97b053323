"""Published numbers: reading and checking a study's claims, and the verdict on each.

A claim names a cell (dataset, model, defense, attack, epsilon, metric) or says why it is out of scope. A
reading is another way to take the paper (the authors' code, epsilon in pixels): it swaps slugs of the cells.
The headline reading is the paper's; only there can a claim count as reproduced.
"""

import csv
import inspect
import math
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from touchstone import metrics
from touchstone.attacks import ATTACKS
from touchstone.config import SLUG, ConfigError
from touchstone.metrics import Deviation, Interval
from touchstone.registry import nearest
from touchstone.studies import Study

SLOTS = ["dataset", "model", "defense", "attack"]
CELL = [f"cell_{slot}" for slot in SLOTS]
PUBLISHED = [
    *["paper", "source_table", "dataset", "model", "defense", "attack", "norm", "epsilon", "epsilon_unit"],
    *["attack_params", "metric", "value", "unit", "std", "n_runs", "threat", "note", "train_params"],
    *["certainty", "source_ref"],
]
COLUMNS = ["id", *PUBLISHED, *CELL, "cell_epsilon", "cell_metric", "out_of_scope"]
OPTIONAL = ["alternative"]  # the number under another reading of a doubtful label; several: "a;b"
RESULT = [
    *["reading", "ours", "n", "seeds", "h", "H", "interval_lo", "interval_hi", "interval_kind", "difference"],
    *["tau", "verdict", "why", "caps", "worst", "worst_h", "worst_n", "stands"],
]
UNITS = {"fraction": 1.0, "percent": 100.0, "x1e-1": 10.0, "x1e-2": 100.0, "ratio": 1.0, "raw": 1.0}
CERTAINTY = ("certain", "inferred", "uncertain")
HEADLINE = "headline"
SLACK = 1e-9  # rounding of decimal numbers: a difference of exactly tau is within tau

Known = Mapping[str, Collection[str]]  # slot -> slugs that are defined
Budgets = Mapping[tuple[str, str], Collection[float]]  # (dataset, attack) -> epsilons; none: no budget
Worst = Mapping[tuple[str, str, str], tuple[str, float] | str]  # see `verdicts`
Lines = list[tuple[int, dict[str, str]]]  # line number and row

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Metric(NamedTuple):
    """How a metric is compared: tolerance of a published value (both as measured), and how samples enter."""

    tolerance: Callable[[float], float]
    sampling: str


def _points(value: float) -> float:
    return 0.005 if min(value, 1.0 - value) <= 0.05 + SLACK else 0.02


def _error(value: float) -> float:
    return max(0.002, 0.2 * value)


def _relative(share: float) -> Callable[[float], float]:
    return lambda value: share * abs(value)


def _absolute(size: float) -> Callable[[float], float]:
    return lambda _: size


METRICS = {
    "accuracy": Metric(_points, "binomial"),
    "worst_accuracy": Metric(_points, "binomial"),
    "success_rate": Metric(_points, "binomial"),
    "error": Metric(_error, "binomial"),
    "clean_accuracy_drop": Metric(_absolute(0.02), "unknown"),
    "mean_dist": Metric(_relative(0.10), "unknown"),
    "median_dist": Metric(_relative(0.10), "unknown"),
    "rho_adv": Metric(_relative(0.10), "unknown"),
    "confidence": Metric(_absolute(0.02), "unknown"),
    "confidence_gap": Metric(_absolute(0.02), "unknown"),
    "fuzziness": Metric(_relative(0.25), "none"),
    "near_zero_ratio": Metric(_relative(0.25), "none"),
}
COMPARED = ("clean_accuracy_drop", "near_zero_ratio")  # metrics that also need the reference defense


# ---- reading


def load(folder: Path, known: Known, budgets: Budgets | None = None) -> pd.DataFrame:
    """Return the claims of a study; an interval printed as two rows (`_lo`, `_hi`) is one claim.

    Args:
        folder: of the study, with claims.csv.
        known: for each of SLOTS the slugs that are defined.
        budgets: (dataset, attack) -> the epsilons that are run, none for an attack without a budget.

    Returns:
        The columns of the file as text, with `alternative`; as numbers `cell_epsilon` and, in the claim's own
        unit, `low` and `high` (equal unless it is an interval).

    Raises:
        ConfigError: with every problem of the file: line, key, value, what is allowed.
    """
    path = folder / "claims.csv"
    rows, problems = _read(path, COLUMNS, OPTIONAL)
    first: dict[str, int] = {}
    for line, row in rows:
        found = list(_row_problems(row, known, budgets or {}))
        if (earlier := first.setdefault(row["id"], line)) != line:
            found.append(("id", f"must be unique, {row['id']!r} is already on line {earlier}"))
        problems += [f"{path}:{line}: {key}: {text}" for key, text in found]
    if problems:
        raise ConfigError(problems)
    return _join_intervals(path, rows)


def load_qualitative(folder: Path, words: Collection[str]) -> pd.DataFrame:
    """Return qualitative.csv: statements, each with a `test` (a name of TESTS and its words, or "see ...").

    Raises:
        ConfigError: with every problem: an unknown test, a wrong number of words, a word not in `words`.
    """
    path = folder / "qualitative.csv"
    columns = ["paper", "id", "claim", "evidence_table", "how_to_test", "published_numbers_agree", "test"]
    rows, problems = _read(path, columns, [])
    for line, row in rows:
        problems += [f"{path}:{line}: test: {text}" for text in _test_problems(row["test"], words)]
    if problems:
        raise ConfigError(problems)
    return pd.DataFrame([row for _, row in rows], columns=columns)


def _read(path: Path, columns: Sequence[str], optional: Sequence[str]) -> tuple[Lines, list[str]]:
    """Return the rows and what is wrong with single lines; raise if the file as a whole is wrong."""
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
    if row["out_of_scope"] and filled:
        yield "out_of_scope", f"give either a cell or a reason, got both: {', '.join(filled)}"
    elif not row["out_of_scope"] and not filled:
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


def cells(folder: Path, study: Study) -> list[dict[str, Any]]:
    """Return what the claims of a study ask to be run: dataset, model, defense, attack of each, per reading.

    Metrics that compare with the reference defense ask for its cell too.

    Raises:
        ConfigError: with every problem of claims.csv and qualitative.csv.
    """
    known = dict(zip(SLOTS, (study.recipes, study.models, study.defenses, study.attacks), strict=True))
    words = {*METRICS, "rho_extreme"}.union(*known.values())
    problems, claims = [], None
    try:
        claims = load(folder, known, _budgets(study))
    except ConfigError as error:
        problems += error.problems
    try:
        load_qualitative(folder, words)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    rows = expand(claims, {name: reading.model_dump() for name, reading in study.readings.items()})
    rows = rows[rows["out_of_scope"] == ""]
    reference = rows[rows["cell_metric"].isin(COMPARED)].assign(cell_defense=study.selection.reference)
    asked = pd.concat([rows, reference])[CELL].drop_duplicates()
    return [dict(zip(SLOTS, row, strict=True)) for row in asked.itertuples(index=False)]


def _budgets(study: Study) -> dict[tuple[str, str], Collection[float]]:
    """(dataset, attack) -> the epsilons it is run at; attacks whose definition is faulty are left out."""
    budgets = {}
    for slug, attack in study.attacks.items():
        for dataset in study.recipes:
            if attack.fn in ATTACKS and ATTACKS[attack.fn].kind in ("none", "minimal"):
                budgets[dataset, slug] = ()
            elif attack.threat in study.threats:
                budgets[dataset, slug] = study.threats[attack.threat].epsilons.get(dataset, ())
    return budgets


# ---- verdicts


class Caps(NamedTuple):
    """What this run cut short for one cell (dataset, model, defense, attack), in words.

    `model`: changes what is attacked (epochs, a dataset that stands in). `attack`: changes the attack (steps,
    restarts). `size`: fewer samples or seeds, which only widen the interval. `population`: size of the whole
    test set.
    """

    model: tuple[str, ...] = ()
    attack: tuple[str, ...] = ()
    size: tuple[str, ...] = ()
    population: int | None = None

    def text(self) -> str:
        """All of them in one line."""
        return "; ".join([*self.model, *self.attack, *self.size])


class Measured(NamedTuple):
    """Our number for one cell, as measured: mean over seeds. status: ok | incomplete | failed | not run."""

    value: float
    n: int
    seeds: int
    interval: Interval
    status: str
    reason: str


@dataclass(frozen=True)
class Evidence:
    """Everything a verdict is judged by; see `verdicts`."""

    measured: Mapping[tuple, pd.DataFrame]
    deviations: Mapping[str, Deviation | None]
    worst: Worst
    caps: Mapping[tuple[str, str, str, str], Caps]
    reference: str


def verdicts(
    claims: pd.DataFrame,
    cells: pd.DataFrame,
    *,
    readings: Mapping[str, Mapping[str, Any]],
    worst: Worst,
    caps: Mapping[tuple[str, str, str, str], Caps],
    near_zero: str,
    reference: str = "std",
) -> pd.DataFrame:
    """Return every claim under every reading with our number, its interval and two verdicts.

    Args:
        claims: as `load` returns them.
        cells: cells.csv.
        readings: as for `expand`.
        worst: (dataset, attack, reading) -> (worst-case attack, epsilon in pixels) that tests the claim, or
            why nothing does.
        caps: (dataset, model, defense, attack) -> what was cut short; a cell that is not there was not.
        near_zero: the metric of cells.csv that near_zero_ratio divides, such as "near_zero_0.01".
        reference: the defense that clean_accuracy_drop and near_zero_ratio compare with.

    Returns:
        The claims' columns and RESULT. Numbers are in the claim's own unit, nan where there is none. A
        reading that reproduces what the headline does not has its mark as the verdict.
    """
    table = derive(cells, near_zero=near_zero, reference=reference)
    measured = _by_cell(table)
    values: dict[str, list[pd.Series]] = defaultdict(list)
    for (*_, metric), rows in measured.items():
        values[metric].append(rows["value"].dropna())
    deviations = {metric: metrics.pooled_deviation(groups) for metric, groups in values.items()}
    evidence = Evidence(measured, deviations, worst, caps, reference)
    rows = expand(claims, readings)
    judged = pd.DataFrame([_judge(claim, evidence) for claim in rows.to_dict("records")], columns=RESULT[1:])
    judged = judged.astype(dict.fromkeys(["n", "seeds", "worst_n"], "Int64"))
    both = pd.concat([rows, judged], axis=1)
    agrees = both["verdict"] == "reproduced"
    plain = both.loc[agrees & (both["reading"] == HEADLINE), "id"]
    both["verdict"] = both["verdict"].mask(agrees & ~both["id"].isin(plain), both["mark"])
    return both[[*claims.columns, *RESULT]]


def verdict(difference: float, tau: float, h: float, wide: float) -> tuple[str, str]:
    """Return (verdict, why) of ours minus the paper's number; all four in one unit.

    Args:
        difference: ours minus the published number.
        tau: tolerance.
        h: half-width of ours, nan if unknown.
        wide: H, the half-width with the paper's own spread added.

    Returns:
        reproduced (|difference| and h within tau), higher or lower (|difference| beyond tau + wide), else
        inconclusive. Without an interval nothing is certain: inconclusive.
    """
    size = abs(difference)
    if math.isnan(h) or math.isnan(wide):
        return "inconclusive", "our number has no interval"
    if size <= tau + SLACK and h <= tau + SLACK:
        return "reproduced", ""
    if size > tau + wide + SLACK:
        return ("higher" if difference > 0 else "lower"), ""
    if size <= tau + SLACK:
        return "inconclusive", f"within tolerance, but our interval (±{h:.3g}) is wider than it ({tau:.3g})"
    return "inconclusive", f"the difference is beyond tolerance ({tau:.3g}), but not by more than ±{wide:.3g}"


def stands(worst: float, claim: float, tau: float) -> str:
    """Return whether a claimed robust accuracy survives the worst case; all three are fractions."""
    if worst >= claim - tau - SLACK:
        return "stands"
    return f"overstated by {100.0 * (claim - worst):.1f} points"


def distance(ours: float, low: float, high: float) -> float:
    """Return how far ours is from the interval [low, high], signed, 0 inside; low = high for a number."""
    return ours - min(max(ours, low), high)


def derive(cells: pd.DataFrame, *, near_zero: str, reference: str) -> pd.DataFrame:
    """Return cells with the metrics that follow from others: clean_accuracy_drop, near_zero_ratio, error.

    The comparing ones pair each seed of a defense with the same seed of the reference.
    """
    accuracy = cells[cells["metric"] == "accuracy"]
    clean, zeros = accuracy[accuracy["norm"] == "none"], cells[cells["metric"] == near_zero]
    parts = {
        "error": accuracy.assign(value=1.0 - accuracy["value"]),
        "clean_accuracy_drop": _compare(clean, reference, lambda value, base: base - value),
        "near_zero_ratio": _compare(zeros, reference, lambda value, base: value / base.where(base > 0)),
    }
    named = (part.assign(metric=name) for name, part in parts.items() if len(part))
    return pd.concat([cells, *named], ignore_index=True)


def _compare(cells: pd.DataFrame, reference: str, how: Callable[[pd.Series, pd.Series], pd.Series]) -> pd.DataFrame:
    results = ["value", "n", "status", "reason"]
    keys = [name for name in metrics.CELL_COLUMNS if name not in ("defense", *results)]
    base = cells.loc[cells["defense"] == reference, [*keys, "value", "reason"]]
    both = cells[cells["defense"] != reference].merge(base, on=keys, suffixes=("", "_base"))
    value = how(both["value"], both["value_base"])
    reason = both["reason"].mask(both["reason"] == "", both["reason_base"])
    reason = reason.mask((reason == "") & value.isna(), f"{reference} has 0, nothing to divide by")
    status = value.isna().map({True: "failed", False: "ok"})
    return both[cells.columns].assign(value=value, status=status, reason=reason)


def _key(dataset: str, model: str, defense: str, attack: str, epsilon: float, metric: str) -> tuple:
    return dataset, model, defense, attack, -1.0 if math.isnan(epsilon) else round(epsilon, 9), metric


def _by_cell(table: pd.DataFrame) -> dict[tuple, pd.DataFrame]:
    """Split cells.csv into one frame of seeds per cell; a claim is judged by the published protocol only."""
    table = table[(table["protocol"] == "published") | (table["metric"] == "worst_accuracy")]
    names = ["original_dataset", "model", "defense", "attack", "epsilon", "metric"]
    if (twice := table.duplicated([*names, "seed"])).any():
        first = table.loc[twice, names].iloc[0].to_dict()
        raise ValueError(f"expected one number per cell and seed, got two for {first}")
    return {_key(*key): rows for key, rows in table.groupby(names, dropna=False)}


def _measure(evidence: Evidence, key: tuple, population: int | None) -> Measured:
    rows = evidence.measured.get(key)
    if rows is None:
        return Measured(math.nan, 0, 0, metrics.NO_INTERVAL, "not run", "")
    good = rows[rows["status"].ne("failed") & rows["value"].notna()]
    failures = "; ".join(sorted({text for text in rows["reason"].drop(good.index) if text}))
    if good.empty:
        return Measured(math.nan, 0, 0, metrics.NO_INTERVAL, "failed", failures or "no value")
    lost = len(rows) - len(good)
    reasons = [f"{lost} of {len(rows)} seeds failed: {failures}"] if lost else []
    reasons += sorted({text for text in good["reason"] if text})
    metric, n = key[-1], int(good["n"].min())
    interval = metrics.interval(
        list(good["value"]),
        n,
        sampling=METRICS[metric].sampling,
        pooled=evidence.deviations[metric],
        population=population,
    )
    status = "incomplete" if (good["status"] == "incomplete").any() else "ok"
    return Measured(float(good["value"].mean()), n, len(good), interval, status, "; ".join(reasons))


def _judge(claim: Mapping[str, Any], evidence: Evidence) -> dict[str, Any]:
    """Return the RESULT columns of one claim under one reading."""
    blank = dict.fromkeys(RESULT, math.nan) | dict.fromkeys(["interval_kind", "why", "caps", "stands"], "")
    if claim["out_of_scope"]:
        return {**blank, "verdict": f"out of scope: {claim['out_of_scope']}"}
    place = tuple(claim[key] for key in CELL)
    cut = _caps(claim, evidence)
    second = _second_verdict(claim, evidence)
    ours = _measure(evidence, _key(*place, claim["cell_epsilon"], claim["cell_metric"]), cut.population)
    base = {**blank, **second, "caps": cut.text()}
    if ours.status == "not run":
        return {**base, "verdict": "not run"}
    if ours.status == "failed":
        return {**base, "verdict": f"failed: {ours.reason}"}
    unit = UNITS[claim["unit"]]
    low, high, half, kind = ours.interval
    runs = int(claim["n_runs"] or 1)
    numbers = {"ours": ours.value * unit, "n": ours.n, "seeds": ours.seeds, "interval_kind": kind}
    numbers |= {"h": half * unit, "H": half * unit * math.sqrt(1 + ours.seeds / runs)}
    numbers |= {"interval_lo": low * unit, "interval_hi": high * unit}
    numbers |= {"difference": distance(numbers["ours"], claim["low"], claim["high"]), "tau": _tau(claim)}
    word, why = _first_verdict(claim, numbers)
    if cut.model or cut.attack:
        word, why = f"not comparable: {'; '.join([*cut.model, *cut.attack])}", ""
    return {**base, **numbers, "verdict": word, "why": "; ".join(filter(None, [why, ours.reason]))}


def _caps(claim: Mapping[str, Any], evidence: Evidence) -> Caps:
    """What was cut short for the cell of a claim, and for the reference if the metric compares with it."""
    dataset, model, defense, attack = (claim[key] for key in CELL)
    own = evidence.caps.get((dataset, model, defense, attack), Caps())
    if claim["cell_metric"] not in COMPARED:
        return own
    base = evidence.caps.get((dataset, model, evidence.reference, attack), Caps())
    merged = (tuple(dict.fromkeys([*mine, *theirs])) for mine, theirs in zip(own[:3], base[:3], strict=True))
    return Caps(*merged, population=own.population)


def _tau(claim: Mapping[str, Any], value: float | None = None) -> float:
    """Return the tolerance of a claim, in its unit; an interval has that of its middle."""
    unit = UNITS[claim["unit"]]
    middle = (claim["low"] + claim["high"]) / 2.0 if value is None else value
    return METRICS[claim["cell_metric"]].tolerance(middle / unit) * unit


def _alternatives(claim: Mapping[str, Any]) -> list[float]:
    return [float(text) for text in claim["alternative"].split(";") if text]


def _first_verdict(claim: Mapping[str, Any], numbers: Mapping[str, Any]) -> tuple[str, str]:
    """Compare with the printed number; where its label is in doubt, all readings of it must agree."""
    word, why = verdict(numbers["difference"], numbers["tau"], numbers["h"], numbers["H"])
    found = {claim["value"]: word}
    for value in _alternatives(claim):
        difference, tau = numbers["ours"] - value, _tau(claim, value)
        found[f"{value:g}"], _ = verdict(difference, tau, numbers["h"], numbers["H"])
    if len(set(found.values())) == 1:
        return word, why
    return "label ambiguous", "; ".join(f"if {value}: {each}" for value, each in found.items())


def _second_verdict(claim: Mapping[str, Any], evidence: Evidence) -> dict[str, Any]:
    """Test a robust accuracy against the worst case.

    What weakens the worst case (a cap, a missing attack) can hide an overstatement but not make one up.
    """
    if claim["attack"] == "clean" or claim["cell_metric"] != "accuracy":
        return {}
    dataset, model, defense, attack = (claim[key] for key in CELL)
    threat = evidence.worst.get((dataset, attack, claim["reading"]), f"no worst case is defined for {attack}")
    if isinstance(threat, str):
        return {"stands": f"not tested: {threat}"}
    slug, epsilon = threat
    cut = evidence.caps.get((dataset, model, defense, slug), Caps())
    found = _measure(evidence, _key(dataset, model, defense, slug, epsilon, "worst_accuracy"), cut.population)
    unit = UNITS[claim["unit"]]
    values = [claim["low"], *_alternatives(claim)]
    words = [stands(found.value, value / unit, _tau(claim, value) / unit) for value in values]
    weaker = [found.reason] if found.status == "incomplete" else list(cut.attack)
    if found.status in ("not run", "failed"):
        word = f"not tested: {found.reason or 'the worst case was not run'}"
    elif cut.model:
        word = f"not tested: {'; '.join(cut.model)}"
    elif len({each == "stands" for each in words}) > 1:
        word = "label ambiguous"
    elif words[0] == "stands" and weaker:
        word = f"not tested: {'; '.join(weaker)}"
    else:
        word = words[0]
    return {
        "worst": found.value * unit,
        "worst_h": found.interval.half * unit,
        "worst_n": found.n or math.nan,
        "stands": word,
    }


# ---- statements in words


class Check(NamedTuple):
    """One comparison that a statement rests on; holds is None where a number is missing."""

    text: str
    holds: bool | None


@dataclass(frozen=True)
class Means:
    """Our numbers (means over seeds) in the cells that the claims name, and what the claims cover.

    values: (dataset, defense, attack, metric) -> number. attacks: dataset -> attacks with a claimed robust
    accuracy. defenses: (dataset, attack) -> defenses with a claim. claimed: (dataset, metric) -> (low, high).
    """

    values: Mapping[tuple[str, str, str, str], float]
    attacks: Mapping[str, list[str]]
    defenses: Mapping[tuple[str, str], list[str]]
    claimed: Mapping[tuple[str, str], tuple[float, float]]

    def get(self, dataset: str, defense: str, attack: str = "clean", metric: str = "accuracy") -> float:
        """Return a number, nan where there is none."""
        return self.values.get((dataset, defense, attack, metric), math.nan)


def _more(label: str, left: float, right: float) -> Check:
    unknown = math.isnan(left) or math.isnan(right)
    return Check(f"{label}: {left:.4g} > {right:.4g}", None if unknown else left > right)


def _gains(means: Means, dataset: str, defense: str, reference: str) -> list[float]:
    return [means.get(dataset, defense, a) - means.get(dataset, reference, a) for a in means.attacks[dataset]]


def _above(means: Means, better: str, worse: str, dataset: str) -> Iterator[Check]:
    """Accuracy of one defense is above another's, attack by attack."""
    for attack in means.attacks[dataset]:
        yield _more(attack, means.get(dataset, better, attack), means.get(dataset, worse, attack))


def _not_above(means: Means, defense: str, reference: str) -> Iterator[Check]:
    """A defense does not improve on another, attack by attack."""
    for dataset, attacks in means.attacks.items():
        for attack in attacks:
            check = _more("", means.get(dataset, reference, attack), means.get(dataset, defense, attack))
            yield Check(f"{dataset} {attack}{check.text}", check.holds)


def _little_above(means: Means, defense: str, reference: str) -> Iterator[Check]:
    """A defense improves on another under every attack, by at most 5 points on average."""
    for dataset in means.attacks:
        yield from (
            check._replace(text=f"{dataset} {check.text}") for check in _above(means, defense, reference, dataset)
        )
        gain = sum(_gains(means, dataset, defense, reference)) / len(means.attacks[dataset])
        yield _more(f"{dataset} mean gain at most 5 points", 5.0, 100.0 * gain)


def _best_on_most(means: Means, best: str, *others: str) -> Iterator[Check]:
    """On each dataset a defense is strictly the best under more than half of the attacks."""
    for dataset, attacks in means.attacks.items():
        rivals = [[means.get(dataset, best, a) - means.get(dataset, o, a) for o in others] for a in attacks]
        known = not any(math.isnan(lead) for leads in rivals for lead in leads)
        wins = sum(min(leads) > 0 for leads in rivals)
        text = f"{dataset}: best under {wins} of {len(attacks)}"
        yield Check(text, wins > len(attacks) / 2 if known else None)


def _broken(means: Means, attack: str, dataset: str) -> Iterator[Check]:
    """Every defense of the claims has accuracy 0 (within the tolerance of a claimed 0) under an attack."""
    for defense in means.defenses[dataset, attack]:
        yield _more(f"{defense} broken", 0.005 + SLACK, means.get(dataset, defense, attack))


def _costs_clean(means: Means, defense: str, slight: str, clear: str) -> Iterator[Check]:
    """A defense lowers clean accuracy: by at most 2 points on one dataset, by more on another."""
    low, high = (means.get(dataset, defense, metric="clean_accuracy_drop") for dataset in (slight, clear))
    yield _more(f"{slight} drop", low, 0.0)
    yield _more(f"{slight} drop at most 2 points", 0.02 + SLACK, low)
    yield _more(f"{clear} drop above 2 points", high, 0.02)


def _decreasing(means: Means, metric: str, *defenses: str) -> Iterator[Check]:
    """A metric of weights falls along the defenses, on every dataset."""
    for dataset in means.attacks:
        for more, less in pairwise(defenses):
            left, right = (means.get(dataset, name, metric=metric) for name in (more, less))
            yield _more(f"{dataset} {more}, {less}", left, right)


def _near_zero(means: Means, defense: str, other: str) -> Iterator[Check]:
    """The ratio of near-zero weights is in the claimed interval (with its tolerance); another's is above 1."""
    for (dataset, metric), (low, high) in means.claimed.items():
        if metric == "near_zero_ratio":
            ours, tau = means.get(dataset, defense, metric=metric), METRICS[metric].tolerance((low + high) / 2)
            far = abs(distance(ours, low, high))
            text = f"{dataset} {defense}: ratio {ours:.3g} in {low:g} to {high:g} ± {tau:.2g}"
            yield Check(text, None if math.isnan(far) else far <= tau + SLACK)
            yield _more(f"{dataset} {other} ratio", means.get(dataset, other, metric=metric), 1.0)


def _mean_gain(means: Means, better: str, worse: str) -> Iterator[Check]:
    """Averaged over the attacks a defense is above another, on every dataset."""
    for dataset, attacks in means.attacks.items():
        gain = sum(_gains(means, dataset, better, worse)) / len(attacks)
        yield _more(f"{dataset} mean gain in points", 100.0 * gain, 0.0)


TESTS: dict[str, Callable[..., Iterator[Check]]] = {
    "above": _above,
    "not-above": _not_above,
    "little-above": _little_above,
    "best-on-most": _best_on_most,
    "broken": _broken,
    "costs-clean": _costs_clean,
    "decreasing": _decreasing,
    "near-zero": _near_zero,
    "mean-gain": _mean_gain,
}


def qualitative(
    statements: pd.DataFrame,
    claims: pd.DataFrame,
    cells: pd.DataFrame,
    *,
    near_zero: str,
    reference: str = "std",
) -> pd.DataFrame:
    """Return whether each statement holds for our numbers.

    Args:
        statements: as `load_qualitative` returns them.
        claims: of the study; they say which attacks, epsilons and defenses a statement is about.
        cells: cells.csv.
        near_zero: as for `verdicts`.
        reference: as for `verdicts`.

    Returns:
        id, claim, test, holds (yes | no | partly | not run | see figure ...), detail, published_numbers_agree.
        Means are compared as they are, without intervals.
    """
    means = _means(claims, derive(cells, near_zero=near_zero, reference=reference))
    rows = []
    for row in statements.to_dict("records"):
        name, *words = row["test"].split()
        found = conclude(list(TESTS[name](means, *words))) if name in TESTS else (row["test"], "")
        rows.append({**row, "holds": found[0], "detail": found[1]})
    return pd.DataFrame(rows)[["id", "claim", "test", "holds", "detail", "published_numbers_agree"]]


def conclude(checks: Sequence[Check]) -> tuple[str, str]:
    """Return (yes | no | partly | not run, detail) of the comparisons a statement rests on."""
    unknown = [check for check in checks if check.holds is None]
    failing = [check for check in checks if check.holds is False]
    held = len(checks) - len(unknown) - len(failing)
    detail = f"{held} of {len(checks)}"
    detail += f"; not: {', '.join(check.text for check in failing)}" if failing else ""
    detail += f"; no number: {', '.join(check.text.partition(':')[0] for check in unknown)}" if unknown else ""
    if unknown or not checks:
        return "not run", detail
    return ("partly" if held and failing else "yes" if held else "no"), detail


def _means(claims: pd.DataFrame, table: pd.DataFrame) -> Means:
    claims = claims[claims["out_of_scope"] == ""]
    if len(models := claims["cell_model"].unique()) > 1:
        raise ValueError(f"statements need claims on one model, got {', '.join(models)}")
    robust = claims[(claims["cell_metric"] == "accuracy") & (claims["attack"] != "clean")]
    attacks = {d: list(rows["cell_attack"].unique()) for d, rows in robust.groupby("cell_dataset", sort=False)}
    pairs = robust.groupby(["cell_dataset", "cell_attack"], sort=False)
    defenses = {pair: list(rows["cell_defense"].unique()) for pair, rows in pairs}
    claimed = {
        (row["cell_dataset"], row["cell_metric"]): (row["low"], row["high"]) for row in claims.to_dict("records")
    }
    epsilons = {(row["cell_dataset"], row["cell_attack"], row["cell_epsilon"]) for row in robust.to_dict("records")}
    wanted = {_key(dataset, "", "", attack, epsilon, "") for dataset, attack, epsilon in epsilons}
    values = {}
    for (dataset, model, defense, attack, epsilon, metric), rows in _by_cell(table).items():
        at_claim = epsilon < 0 or (dataset, "", "", attack, epsilon, "") in wanted
        if model in models and at_claim and metric != "worst_accuracy":
            values[dataset, defense, attack, metric] = float(rows["value"].mean())
    return Means(values, attacks, defenses, claimed)


def _test_problems(test: str, words: Collection[str]) -> Iterator[str]:
    name, _, rest = test.partition(" ")
    if name == "see" and rest:
        return
    if name not in TESTS:
        yield f"unknown test {name!r}; {nearest(name, [*TESTS, 'see'])}"
        return
    given = rest.split()
    try:
        inspect.signature(TESTS[name]).bind(None, *given)
    except TypeError as error:
        yield f"{name!r} with {len(given)} words: {error}"
    yield from (f"unknown word {word!r}; {nearest(word, words)}" for word in given if word not in words)
