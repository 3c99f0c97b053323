"""The verdicts on a claim: is our number the published one, and does it stand where it is one under attack?"""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from scipy import special, stats

from touchstone.cell import ModelId
from touchstone.findings.cells import ATTACK_GAP, UNDER_THREAT, derive, rows
from touchstone.findings.evidence import SEPARATOR, Caps, Cut, Evidence, Measured, Worst
from touchstone.findings.intervals import Deviation, Interval, quantile
from touchstone.findings.vocabulary import ELSEWHERE, STANDS, VERDICTS, known, outcome
from touchstone.paths import Results
from touchstone.study.claim import Claim, Place
from touchstone.study.claims import HEADLINE, Readings, expand
from touchstone.study.scale import ERRORS, LEAST_SEEDS, METRICS, SLACK

SPREAD_SEEDS = 5  # nets that show how a recipe scatters
MOST_SEEDS = 100  # that are tried when it is said how many would tell

AGREES = ("reproduced", "within spread")  # what we measured may be what the paper measured

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
    """A word of STANDS, its reasons, and its points: by how many a number is overstated, or how wide the gap is."""

    word: str
    why: tuple[str, ...] = ()
    points: float | None = None

    def __post_init__(self) -> None:
        known(self.word, STANDS)


@dataclass(frozen=True)
class Precision:
    """How precisely our number and the published one are known, in one unit.

    Attributes:
        seeds: m, nets behind ours.
        spread: s, deviation over nets; None if it is not known.
        margin: 95 % half-width over the samples, which all nets share; 0 for a population met whole, nan if not known.
        runs: r, behind the published number; 1 if it is not said.
        printed: s_p, the published deviation over them; None if none is printed, and they scatter like ours.
        given: whether others trained the nets, so that a single one is all that is meant.
    """

    seeds: int
    spread: Deviation | None
    margin: float = 0.0
    runs: int = 1
    printed: float | None = None
    given: bool = False

    @property
    def few(self) -> bool:
        """Whether there are too few nets for a verdict."""
        return self.seeds < LEAST_SEEDS and not self.given

    @property
    def half(self) -> float:
        """Return h, the half-width of our number: t s / sqrt(m), and the samples."""
        if self.spread is None:
            return math.nan
        return math.hypot(quantile(self.spread.freedom) * self.spread.value / math.sqrt(self.seeds), self.margin)

    @property
    def error(self) -> Deviation | None:
        """Return sqrt(s^2/m + s_p^2/r), the standard error of the difference over nets, and its degrees of freedom.

        A printed deviation is another one than ours, so that they are those of Welch (1947).
        """
        if self.spread is None:
            return None
        ours = self.spread.value**2 / self.seeds
        theirs = (self.spread.value if self.printed is None else self.printed) ** 2 / self.runs
        freedom = self.spread.freedom
        if self.printed is not None and ours + theirs > 0.0:
            # a deviation comes from two runs at least; in shares, since squares of small ones underflow
            share = ours / (ours + theirs)
            freedom = 1.0 / (share**2 / freedom + (1.0 - share) ** 2 / max(self.runs - 1, 1))
        return Deviation(math.sqrt(ours + theirs), freedom)

    @property
    def wide(self) -> float:
        """Return H, the half-width of the difference: t times its error, and the samples."""
        error = self.error
        return math.nan if error is None else math.hypot(quantile(error.freedom) * error.value, self.margin)

    def beyond(self, difference: float, tau: float) -> float:
        """Return the two-sided p-value of a difference that is truly tau at most; nan below LEAST_SEEDS."""
        error, excess = self.error, abs(difference) - tau
        if error is None or self.few or math.isnan(self.margin):
            return math.nan
        total = math.hypot(error.value, self.margin / quantile(error.freedom))
        if excess <= SLACK:
            return 1.0
        return 2.0 * float(special.stdtr(error.freedom, -excess / total)) if total else 0.0

    @property
    def single(self) -> float:
        """Return the half-width in which one more run lies: t s sqrt(1 + 1/m); nan if the number is of several."""
        if self.spread is None or self.runs > 1 or self.printed is not None:
            return math.nan
        return quantile(self.spread.freedom) * self.spread.value * math.sqrt(1.0 + 1.0 / self.seeds)

    def of(self, seeds: int) -> "Precision":
        """Return it for another number of nets that scatter alike."""
        spread = self.spread and Deviation(self.spread.value, seeds - 1)
        return replace(self, seeds=seeds, spread=spread)


class Sampled(NamedTuple):
    """Samples that a number was measured on, how many there are, and the margin that so many leave open."""

    met: int
    everything: int
    margin: Callable[[int], float]


def agreement(difference: float, tau: float, *, half: float, wide: float) -> str:
    """Return reproduced, higher, lower or inconclusive, for ours minus the published number.

    Args:
        difference: ours minus the published number.
        tau: tolerance.
        half: half-width of ours; nan if it is not known, as is then `wide`.
        wide: half-width of the difference.
    """
    if abs(difference) <= tau + SLACK and half <= tau + SLACK:
        return "reproduced"
    if abs(difference) > tau + wide + SLACK:
        return "higher" if difference > 0 else "lower"
    return "inconclusive"


def decide(difference: float, tau: float, precision: Precision) -> str:
    """Return reproduced, higher, lower, within spread or inconclusive, for ours minus the paper's number.

    Args:
        difference: ours minus the published number.
        tau: tolerance.
        precision: of both, in the same unit.
    """
    if precision.few or math.isnan(precision.half):
        return "inconclusive"
    word, single = agreement(difference, tau, half=precision.half, wide=precision.wide), precision.single
    scatters = precision.seeds >= SPREAD_SEEDS and single > tau + SLACK
    inside = abs(difference) <= single + SLACK
    return "within spread" if word == "inconclusive" and scatters and inside else word


def verdict(difference: float, tau: float, precision: Precision, sampled: Sampled) -> Verdict:
    """Return what `decide` says, and why; `sampled`: which samples are behind ours."""
    word = decide(difference, tau, precision)
    if word == "within spread":
        return Verdict(word, (f"one run lies within ±{precision.single:.3g}, the tolerance is {tau:.3g}",))
    if word != "inconclusive":
        return Verdict(word)
    if precision.few:
        known_to = f"{precision.seeds} of at least {LEAST_SEEDS} seeds"
    elif math.isnan(precision.half):
        known_to = "our number has no interval"
    elif abs(difference) <= tau + SLACK:
        known_to = f"within tolerance ({tau:.3g}), but known to ±{precision.half:.3g} only"
    else:
        known_to = f"the difference is beyond tolerance ({tau:.3g}), but not by more than ±{precision.wide:.3g}"
    return Verdict(word, (known_to, *telling(difference, tau, precision, sampled)))


def telling(difference: float, tau: float, precision: Precision, sampled: Sampled) -> tuple[str, ...]:
    """Say how many seeds, samples or both would end an inconclusive verdict, if all else stayed as it is."""

    def seeds(margin: float) -> int | None:
        tried = range(max(LEAST_SEEDS, precision.seeds), MOST_SEEDS + 1)
        such = replace(precision, margin=margin)
        return next((m for m in tried if decide(difference, tau, such.of(m)) != "inconclusive"), None)

    def tells(met: int) -> bool:
        return decide(difference, tau, replace(precision, margin=sampled.margin(met))) != "inconclusive"

    if precision.spread is None or math.isnan(precision.margin):
        return ()
    if not precision.given and (found := seeds(precision.margin)):
        return (f"about {found} seeds would tell",)
    if not precision.few and tells(sampled.everything):
        enough = bisect_left(range(sampled.everything), True, lo=sampled.met, key=tells)
        return (f"about {enough} samples would tell",)
    if precision.given:
        return ()
    if found := seeds(0.0):
        return (f"about {found} seeds on all {sampled.everything} samples would tell",)
    return (f"{MOST_SEEDS} seeds would not tell",)


def stands(claim: float, tau: float, worst: Interval, value: float, gap: float, first: str) -> Second:
    """Return whether a claimed robust accuracy survives the worst case; all numbers are fractions.

    Args:
        claim: the accuracy.
        tau: its tolerance.
        worst: 95 % interval of our worst case.
        value: our worst case.
        gap: our accuracy under the published attack minus that, on the same nets and samples.
        first: whether the claim was reproduced, a word of VERDICTS.
    """
    least = claim - tau
    if worst.low >= least - SLACK:
        return Second("stands")
    if outcome(first) == "higher or lower":
        return Second("attack gap", points=100.0 * gap)
    if first not in AGREES:
        return Second("not tested", (f"whether it is overstated depends on the first verdict: {first}",))
    if worst.high < least - SLACK:
        return Second("overstated", points=100.0 * (claim - value))
    if math.isnan(worst.half):
        return Second("not tested", ("our worst case has no interval",))
    why = f"our worst case, {worst.low:.3g} to {worst.high:.3g}, is on both sides of the claim minus its tolerance"
    return Second("not tested", (why,))


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
    p: float = math.nan  # of a true difference of tau at most


class Tested(NamedTuple):
    """Our worst case in the claim's unit and its suite, the two gaps in points, and what they say of the claim."""

    worst: float = math.nan
    worst_h: float = math.nan
    worst_n: float = math.nan
    suite: str = ""
    attack_gap: float = math.nan
    replication_gap: float = math.nan
    second: Second | None = None


FIRST = ["kind", "verdict", "why", "only", "q", "caps"]
SECOND = [*Tested._fields[:4], "stands", "stands_why", "overstated_by", "attack_gap", "replication_gap"]
RESULT = ["reading", *Ours._fields, *FIRST, *SECOND]


def verdicts(
    claims: pd.DataFrame,
    cells: pd.DataFrame,
    *,
    readings: Readings,
    worst: Worst,
    caps: Mapping[Cut, Caps],
    near_zero: str,
    reference: str,
) -> pd.DataFrame:
    """Return every claim under every reading with our number, its interval and two verdicts.

    Args:
        claims: as `claims.load` returns them.
        cells: cells.csv.
        readings: as for `claims.expand`.
        worst: (dataset, attack) -> what tests a claim on it, in every reading; or why nothing does.
        caps: what was cut short; a cell that is not there was not.
        near_zero: the metric of cells.csv that near_zero_param_ratio_vs_std divides, such as "near_zero_0.01".
        reference: the defense that clean_accuracy_drop_vs_std and near_zero_param_ratio_vs_std compare with.

    Returns:
        The claims' columns and RESULT. Numbers are in the claim's own unit, nan where there is none. `kind` is one of
        KINDS. `verdict` is a word of VERDICTS, `why` its reasons. A reading that reproduces what the headline does not
        is `ELSEWHERE`, and `only` has the reading's mark. `p` is that of a difference of the tolerance at most, `q` the
        same after Benjamini and Hochberg (1995) over the headline's own claims that were compared. `stands` is a word
        of STANDS, empty where the claim is no accuracy or error under attack. In points: `overstated_by`;
        `attack_gap`, our accuracy under the published attack minus our worst case; `replication_gap`, the claimed
        accuracy minus ours under the published attack.
    """
    evidence = Evidence.of(derive(cells, near_zero=near_zero, reference=reference), worst, caps, reference)
    rows = expand(claims, readings)
    published = (Claim.of(row, row["reading"]) for row in rows.to_dict("records"))
    judged = pd.DataFrame([_judged(claim, evidence) for claim in published], columns=RESULT[1:])
    judged = judged.astype(dict.fromkeys(["n", "seeds", "worst_n"], "Int64"))
    both = pd.concat([rows, judged], axis=1)
    agrees = both["verdict"] == "reproduced"
    elsewhere = agrees & ~both["id"].isin(both["id"][agrees & (both["reading"] == HEADLINE)])
    both["verdict"] = both["verdict"].mask(elsewhere, ELSEWHERE)
    both["only"] = both["mark"].where(elsewhere, "")
    both["q"] = _false_discovery(both)
    return both[[*claims.columns, *RESULT]]


def records(
    judged: pd.DataFrame, cells: pd.DataFrame, results: Results, files: Mapping[tuple[ModelId, str], Path]
) -> list[str]:
    """Return for each claim the files that our number is from, one per net; empty where nothing was run.

    Args:
        judged: as `verdicts` returns them.
        cells: cells.csv.
        results: of the run: what is said of weights is read from the model.
        files: (model, attack) -> the file with its records.
    """
    nets: dict[tuple[str, ...], dict[ModelId, None]] = defaultdict(dict)
    for cell in rows(cells):
        nets[cell.dataset, cell.model, cell.defense, cell.attack][cell.model_id] = None

    def file(net: ModelId, attack: str, metric: str) -> Path:
        return results.model(net).weights if METRICS[metric].sampling == "none" else files[net, attack]

    places = map(Place.of, judged.to_dict("records"))
    return [
        SEPARATOR.join(str(file(net, at.attack, at.metric)) for net in sorted(nets.get(at[:-1], ()))) for at in places
    ]


def _false_discovery(both: pd.DataFrame) -> "pd.Series[float]":
    """Return q of the claims that the headline reading compares; those that the paper only cites are no part of it."""
    family = (
        (both["reading"] == HEADLINE)
        & (both["cited"] == "")
        & (both["verdict"].map(outcome) != "other")
        & both["p"].notna()
    )
    q = pd.Series(math.nan, index=both.index)
    if family.any():
        q[family] = stats.false_discovery_control(both.loc[family, "p"])
    return q


def _judged(claim: Claim, evidence: Evidence) -> dict[str, Any]:
    """Return the columns RESULT of one claim under one reading, but for `only` and `q`."""
    cut = evidence.cut_short(claim)
    first, ours = _first(claim, evidence, cut)
    tested = _tested(claim, evidence, first, ours)
    second = tested.second
    numbers = tested._asdict()
    del numbers["second"]
    return {
        **ours._asdict(),
        "kind": claim.kind,
        "verdict": first.word,
        "why": SEPARATOR.join(first.why),
        "caps": cut.text(),
        **numbers,
        "stands": second.word if second else "",
        "stands_why": SEPARATOR.join(second.why) if second else "",
        "overstated_by": second.points if second and second.word == "overstated" else None,
    }


def _first(claim: Claim, evidence: Evidence, cut: Caps) -> tuple[Verdict, Ours]:
    """Return whether our number is the published one, and our number."""
    if claim.out_of_scope:
        return Verdict("out of scope", (claim.out_of_scope,)), Ours()
    if claim.cited and not claim.place.attack:
        return Verdict("cited", (claim.cited,)), Ours()
    found = evidence.measured(claim.place, claim.epsilon, cut.population)
    if found.status in ("not run", "failed"):
        return Verdict(found.status, found.reasons), Ours()
    low, high, _, kind = found.interval
    value, unit, samples = found.value * claim.unit, claim.unit, found.samples

    def margin(met: int) -> float:
        return max(samples.margins(found.value, met)) * unit

    precision = Precision(
        seeds=found.seeds,
        spread=found.spread and Deviation(found.spread.value * unit, found.spread.freedom),
        margin=margin(samples.met),
        runs=claim.runs,
        printed=claim.deviation,
        given=cut.given,
    )
    ours = Ours(
        ours=value,
        n=samples.n,
        seeds=found.seeds,
        h=found.interval.half * unit,
        H=precision.wide,
        interval_lo=low * unit,
        interval_hi=high * unit,
        interval_kind=kind,
        difference=distance(value, claim.low, claim.high),
        tau=claim.tau(),
        p=precision.beyond(distance(value, claim.low, claim.high), claim.tau()),
    )
    first = _compared(claim, ours, precision, Sampled(samples.met, samples.population or samples.met, margin))
    if cut.model or cut.attack:
        first = Verdict("not comparable", cut.changes)
    return Verdict(first.word, (*first.why, *found.reasons)), ours


def _compared(claim: Claim, ours: Ours, precision: Precision, sampled: Sampled) -> Verdict:
    """Compare with the printed number; where its label is in doubt, all readings of it must agree."""
    found = {claim.printed: decide(ours.difference, ours.tau, precision)}
    for value in claim.alternatives:
        found[f"{value:g}"] = decide(ours.ours - value, claim.tau(value), precision)
    if len(set(found.values())) == 1:
        return verdict(ours.difference, ours.tau, precision, sampled)
    return Verdict("label ambiguous", tuple(f"if {value}: {word}" for value, word in found.items()))


def _tested(claim: Claim, evidence: Evidence, first: Verdict, ours: Ours) -> Tested:
    """Test a number under attack against the worst case in its own space.

    What weakens the worst case (a cap, a missing attack) can hide an overstatement but not make one up.
    """
    if not claim.robust:
        return Tested()
    sign = 1.0 if claim.place.metric in ERRORS else -1.0  # a claim above ours promises more robustness, an error less
    replication = sign * 100.0 * ours.difference / claim.unit
    untested = partial(Tested, replication_gap=replication)
    dataset, model, defense, attack, _ = claim.place
    undefined = f"no worst case is defined for {attack} at {claim.epsilon:g}"
    trial = evidence.worst.get((dataset, attack), undefined)
    if isinstance(trial, str):
        return untested(second=Second("not tested", (trial,)))
    slug = trial.judge(claim.epsilon)
    if slug is None:
        return untested(second=Second("not tested", (undefined,)))
    cut = evidence.caps.get((dataset, model, defense, slug), Caps())
    found, gap = (
        evidence.measured(claim.place._replace(metric=metric), claim.epsilon, cut.population)
        for metric in (UNDER_THREAT, ATTACK_GAP)
    )
    return Tested(
        worst=claim.printed_as(found.value),
        worst_h=found.interval.half * claim.unit,
        worst_n=found.samples.n or math.nan,
        suite=found.suite,
        attack_gap=100.0 * gap.value,
        replication_gap=replication,
        second=_second(claim, found, gap.value, cut, first.word),
    )


def _second(claim: Claim, found: Measured, gap: float, cut: Caps, first: str) -> Second:
    if found.status in ("not run", "failed"):
        return Second("not tested", found.reasons or ("the worst case was not run",))
    if cut.model:
        return Second("not tested", cut.model)
    least = min(claim.low, claim.high, key=claim.accuracy)
    accuracies = [(claim.accuracy(v), claim.tau(v) / claim.unit) for v in (least, *claim.alternatives)]
    of_printed, *others = (stands(a, tau, found.interval, found.value, gap, first) for a, tau in accuracies)
    if any(other.word != of_printed.word for other in others):
        return Second("label ambiguous")
    few = (f"{found.seeds} of at least {LEAST_SEEDS} seeds",) if found.seeds < LEAST_SEEDS and not cut.given else ()
    weaker = (*few, *(found.reasons if found.status == "incomplete" else cut.attack))
    return Second("not tested", weaker) if of_printed.word == "stands" and weaker else of_printed
