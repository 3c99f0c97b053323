"""The verdicts on a claim: is our number the published one, and does a robust accuracy stand?"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from touchstone.cell import radius_index
from touchstone.findings.cells import WORST, Place, derive
from touchstone.findings.evidence import SEPARATOR, Caps, Claim, Evidence, Measured, Worst
from touchstone.registry import nearest
from touchstone.study.claims import HEADLINE, expand
from touchstone.study.scale import SLACK

# ---- the words


class Meaning(NamedTuple):
    """What a verdict means, and its mark in tables."""

    mark: str
    meaning: str


# verdict -> mark (all of them are in common serif fonts) and meaning, in the order in which they are counted
VERDICTS = {
    "reproduced": Meaning("✓", "within the tolerance, and our 95 % half-width is within it too"),
    "higher": Meaning("↑", "above the published number by more than tolerance and half-width together"),
    "lower": Meaning("↓", "below it by more than tolerance and half-width together"),
    "inconclusive": Meaning("?", "none of these: more seeds or samples would tell"),
    "not comparable": Meaning("≠", "measured on other data or under caps that changed what is measured"),
    "label ambiguous": Meaning("a", "the printed label is in doubt, and only one reading of it agrees"),
    "not run": Meaning("·", "outside this run"),
    "failed": Meaning("✗", "training or attack ended without a number"),
    "out of scope": Meaning("o", "not a number that a re-run can produce"),
    "only under another reading": Meaning(
        "(✓)", "reproduced, but only under another reading of the paper than the one fixed beforehand"
    ),
}
ELSEWHERE = "only under another reading"
# second verdict, on a robust accuracy -> meaning
STANDS = {
    "stands": "our worst case is at least the claim minus the tolerance",
    "overstated": "it is not: the claim is so many points above our worst case",
    "label ambiguous": "the printed label is in doubt, and its readings do not agree",
    "not tested": "no worst case of ours bounds it",
}


def known(word: str, words: Collection[str]) -> str:
    """Return a word of VERDICTS or STANDS as it is.

    Raises:
        ValueError: if it is none.
    """
    if word not in words:
        raise ValueError(f"unknown verdict {word!r}; {nearest(word, words)}")
    return word


def mark(word: str) -> str:
    """Return the mark of a verdict; raises ValueError for an unknown one."""
    return VERDICTS[known(word, VERDICTS)].mark


# ---- the rules


@dataclass(frozen=True)
class Verdict:
    """A word of VERDICTS, and its reasons."""

    word: str
    why: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known(self.word, VERDICTS)


@dataclass(frozen=True)
class Second:
    """A word of STANDS, its reasons, and by how many points a number is overstated."""

    word: str
    why: tuple[str, ...] = ()
    points: float | None = None

    def __post_init__(self) -> None:
        known(self.word, STANDS)


def verdict(difference: float, tau: float, h: float, wide: float) -> Verdict:
    """Return the verdict on ours minus the paper's number; all four are in one unit.

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
        return Verdict("inconclusive", ("our number has no interval",))
    if size <= tau + SLACK and h <= tau + SLACK:
        return Verdict("reproduced")
    if size > tau + wide + SLACK:
        return Verdict("higher" if difference > 0 else "lower")
    if size <= tau + SLACK:
        why = f"within tolerance, but our interval (±{h:.3g}) is wider than it ({tau:.3g})"
    else:
        why = f"the difference is beyond tolerance ({tau:.3g}), but not by more than ±{wide:.3g}"
    return Verdict("inconclusive", (why,))


def stands(worst: float, claim: float, tau: float) -> Second:
    """Return whether a claimed robust accuracy survives the worst case; all three are fractions."""
    if worst >= claim - tau - SLACK:
        return Second("stands")
    return Second("overstated", points=100.0 * (claim - worst))


def distance(ours: float, low: float, high: float) -> float:
    """Return how far ours is from the interval [low, high], signed, 0 inside; low = high for a number."""
    return ours - min(max(ours, low), high)


# ---- every claim


class Ours(NamedTuple):
    """Our number beside the published one, in the claim's unit; nan where there is none."""

    ours: float = math.nan
    n: float = math.nan
    seeds: float = math.nan
    h: float = math.nan
    H: float = math.nan
    interval_lo: float = math.nan
    interval_hi: float = math.nan
    interval_kind: str = ""
    difference: float = math.nan
    tau: float = math.nan


class Tested(NamedTuple):
    """Our worst case in the claim's unit, and what it says of a robust accuracy."""

    worst: float = math.nan
    worst_h: float = math.nan
    worst_n: float = math.nan
    second: Second | None = None


FIRST = ["verdict", "why", "only", "caps"]
SECOND = ["worst", "worst_h", "worst_n", "stands", "stands_why", "overstated_by"]
RESULT = ["reading", *Ours._fields, *FIRST, *SECOND]


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
        The claims' columns and RESULT. Numbers are in the claim's own unit, nan where there is none. `verdict` is a
        word of VERDICTS, `why` its reasons. A reading that reproduces what the headline does not is `ELSEWHERE`, and
        `only` has the reading's mark. `stands` is a word of STANDS, empty where the claim is no robust accuracy;
        `overstated_by` is in points.
    """
    evidence = Evidence.of(derive(cells, near_zero=near_zero, reference=reference), worst, caps, reference)
    rows = expand(claims, readings)
    judged = pd.DataFrame([_judged(Claim.of(row), evidence) for row in rows.to_dict("records")], columns=RESULT[1:])
    judged = judged.astype(dict.fromkeys(["n", "seeds", "worst_n"], "Int64"))
    both = pd.concat([rows, judged], axis=1)
    agrees = both["verdict"] == "reproduced"
    elsewhere = agrees & ~both["id"].isin(both["id"][agrees & (both["reading"] == HEADLINE)])
    both["verdict"] = both["verdict"].mask(elsewhere, ELSEWHERE)
    both["only"] = both["mark"].where(elsewhere, "")
    return both[[*claims.columns, *RESULT]]


def _judged(claim: Claim, evidence: Evidence) -> dict[str, Any]:
    """Return the columns RESULT of one claim under one reading, but for `only`."""
    cut = evidence.cut_short(claim)
    first, ours = _first(claim, evidence, cut)
    tested = _tested(claim, evidence)
    second = tested.second
    return {
        **ours._asdict(),
        "verdict": first.word,
        "why": SEPARATOR.join(first.why),
        "caps": cut.text(),
        **{name: getattr(tested, name) for name in ("worst", "worst_h", "worst_n")},
        "stands": second.word if second else "",
        "stands_why": SEPARATOR.join(second.why) if second else "",
        "overstated_by": second.points if second else None,
    }


def _first(claim: Claim, evidence: Evidence, cut: Caps) -> tuple[Verdict, Ours]:
    """Return whether our number is the published one, and our number."""
    if claim.out_of_scope:
        return Verdict("out of scope", (claim.out_of_scope,)), Ours()
    found = evidence.measured(claim.place, claim.epsilon, cut.population)
    if found.status in ("not run", "failed"):
        return Verdict(found.status, found.reasons), Ours()
    low, high, half, kind = found.interval
    value, h = found.value * claim.unit, half * claim.unit
    ours = Ours(
        ours=value,
        n=found.n,
        seeds=found.seeds,
        h=h,
        H=h * math.sqrt(1 + found.seeds / claim.runs),
        interval_lo=low * claim.unit,
        interval_hi=high * claim.unit,
        interval_kind=kind,
        difference=distance(value, claim.low, claim.high),
        tau=claim.tau(),
    )
    first = _compared(claim, ours)
    if cut.model or cut.attack:
        first = Verdict("not comparable", (*cut.model, *cut.attack))
    return Verdict(first.word, (*first.why, *found.reasons)), ours


def _compared(claim: Claim, ours: Ours) -> Verdict:
    """Compare with the printed number; where its label is in doubt, all readings of it must agree."""
    first = verdict(ours.difference, ours.tau, ours.h, ours.H)
    found = {claim.printed: first.word}
    for value in claim.alternatives:
        found[f"{value:g}"] = verdict(ours.ours - value, claim.tau(value), ours.h, ours.H).word
    if len(set(found.values())) == 1:
        return first
    return Verdict("label ambiguous", tuple(f"if {value}: {word}" for value, word in found.items()))


def _tested(claim: Claim, evidence: Evidence) -> Tested:
    """Test a robust accuracy against the worst case.

    What weakens the worst case (a cap, a missing attack) can hide an overstatement but not make one up.
    """
    if not claim.robust:
        return Tested()
    dataset, model, defense, attack, _ = claim.place
    judges = evidence.worst.get((dataset, attack, claim.reading), {})
    if isinstance(judges, str):
        return Tested(second=Second("not tested", (judges,)))
    place = radius_index(judges, claim.epsilon)
    if place is None:
        why = f"no worst case is defined for {attack} at {claim.epsilon:g}"
        return Tested(second=Second("not tested", (why,)))
    slug, epsilon = list(judges.values())[place]
    cut = evidence.caps.get((dataset, model, defense, slug), Caps())
    found = evidence.measured(Place(dataset, model, defense, slug, WORST), epsilon, cut.population)
    return Tested(
        worst=found.value * claim.unit,
        worst_h=found.interval.half * claim.unit,
        worst_n=found.n or math.nan,
        second=_second(claim, found, cut),
    )


def _second(claim: Claim, found: Measured, cut: Caps) -> Second:
    if found.status in ("not run", "failed"):
        return Second("not tested", found.reasons or ("the worst case was not run",))
    if cut.model:
        return Second("not tested", cut.model)
    values = [claim.low, *claim.alternatives]
    first, *others = (stands(found.value, v / claim.unit, claim.tau(v) / claim.unit) for v in values)
    if any(other.word != first.word for other in others):
        return Second("label ambiguous")
    weaker = found.reasons if found.status == "incomplete" else cut.attack
    return Second("not tested", weaker) if first.word == "stands" and weaker else first
