"""The verdicts on a claim: is our number the published one, and does a robust accuracy stand?"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from touchstone.findings import metrics
from touchstone.findings.metrics import Deviation, Interval
from touchstone.study.claims import CELL, HEADLINE, expand
from touchstone.study.scale import COMPARED, METRICS, SLACK, UNITS

RESULT = [
    *["reading", "ours", "n", "seeds", "h", "H", "interval_lo", "interval_hi", "interval_kind", "difference"],
    *["tau", "verdict", "why", "caps", "worst", "worst_h", "worst_n", "stands"],
]

Worst = Mapping[tuple[str, str, str], Mapping[float, tuple[str, float]] | str]  # see `verdicts`


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
    deviations: Mapping[tuple[str, str], Deviation | None]  # (attack, metric): every attack scatters differently
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
        claims: as `claims.load` returns them.
        cells: cells.csv.
        readings: as for `claims.expand`.
        worst: (dataset, attack, reading) -> epsilon of the attack -> (worst-case attack, epsilon in pixels) that
            tests a claim at that epsilon; or why nothing does.
        caps: (dataset, model, defense, attack) -> what was cut short; a cell that is not there was not.
        near_zero: the metric of cells.csv that near_zero_ratio divides, such as "near_zero_0.01".
        reference: the defense that clean_accuracy_drop and near_zero_ratio compare with.

    Returns:
        The claims' columns and RESULT. Numbers are in the claim's own unit, nan where there is none. A
        reading that reproduces what the headline does not has its mark as the verdict.
    """
    table = derive(cells, near_zero=near_zero, reference=reference)
    measured = by_cell(table)
    values: dict[tuple[str, str], list[pd.Series]] = defaultdict(list)
    for (*_, attack, _, metric), rows in measured.items():
        values[attack, metric].append(rows["value"].dropna())
    deviations = {key: metrics.pooled_deviation(groups) for key, groups in values.items()}
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


def cell_key(dataset: str, model: str, defense: str, attack: str, epsilon: float, metric: str) -> tuple:
    """Return what one cell is looked up by; epsilon is nan for an attack without a budget."""
    return dataset, model, defense, attack, -1.0 if math.isnan(epsilon) else round(epsilon, 9), metric


def by_cell(table: pd.DataFrame) -> dict[tuple, pd.DataFrame]:
    """Split cells.csv into one frame of seeds per cell; a claim is judged by the published protocol only."""
    table = table[(table["protocol"] == "published") | (table["metric"] == "worst_accuracy")]
    names = ["original_dataset", "model", "defense", "attack", "epsilon", "metric"]
    if (twice := table.duplicated([*names, "seed"])).any():
        first = table.loc[twice, names].iloc[0].to_dict()
        raise ValueError(f"expected one number per cell and seed, got two for {first}")
    return {cell_key(*key): rows for key, rows in table.groupby(names, dropna=False)}


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
    *_, attack, _, metric = key
    n = int(good["n"].min())
    interval = metrics.interval(
        list(good["value"]),
        n,
        sampling=METRICS[metric].sampling,
        pooled=evidence.deviations[attack, metric],
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
    ours = _measure(evidence, cell_key(*place, claim["cell_epsilon"], claim["cell_metric"]), cut.population)
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
    judges = evidence.worst.get((dataset, attack, claim["reading"]), {})
    if isinstance(judges, str):
        return {"stands": f"not tested: {judges}"}
    judge = next((judges[eps] for eps in judges if math.isclose(eps, claim["cell_epsilon"])), None)
    if judge is None:
        return {"stands": f"not tested: no worst case is defined for {attack} at {claim['cell_epsilon']:g}"}
    slug, epsilon = judge
    cut = evidence.caps.get((dataset, model, defense, slug), Caps())
    found = _measure(evidence, cell_key(dataset, model, defense, slug, epsilon, "worst_accuracy"), cut.population)
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
