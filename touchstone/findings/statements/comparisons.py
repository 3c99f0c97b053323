"""Comparisons of means over trained nets, and what becomes of a statement that rests on some of them.

Each comparison has Welch's one-sided 95 % bounds, on both sides, from three seeds on; counts of trainings have exact
ones. A statement holds if every bound is on its side, fails if one of them is on the other side after Holm's correction
(1979), and is undecided in between.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from touchstone.findings.evidence import SEPARATOR
from touchstone.findings.intervals import least_margins, standard_error
from touchstone.findings.vocabulary import STATEMENTS, known
from touchstone.study.scale import LEAST_SEEDS, LEVEL, SLACK

NAMED = 3  # comparisons that are named where a statement is not right; `numbers` has all
REPLY = ("verdict", "right", "compared", "why", "numbers")  # the columns of a verdict

Seeds: TypeAlias = Mapping[int, float]  # a number per seed; `Drawn` where it is of some samples of many
State: TypeAlias = Literal["right", "reversed", "open", "no number"]


class Drawn(dict[int, float]):
    """A number per seed that reads samples, the same ones for every seed.

    Attributes:
        error: standard error of the mean over these samples; 0 for a population met whole, nan if it is not known.
    """

    def __init__(self, values: Seeds, error: float) -> None:
        super().__init__(values)
        self.error = error


def sampling(number: Seeds) -> float:
    """Return the standard error of a number over its samples; 0 where it reads none."""
    return number.error if isinstance(number, Drawn) else 0.0


@dataclass(frozen=True, eq=False)
class Sampled:
    """What was measured of every sample on some nets, by seed.

    With fewer than LEAST_SEEDS nets its mean is known as well as the samples tell it, and says nothing of other nets.

    Attributes:
        nets: seed -> a value of every sample.
        part: of the samples' error that is left with more nets, as `intervals.remainder` returns it.
    """

    nets: "Mapping[int, pd.Series[float]]"
    part: float = 0.0

    @property
    def seeds(self) -> Seeds:
        """The mean over samples of every net that has any."""
        return {seed: float(values.mean()) for seed, values in self.nets.items() if len(values)}

    @property
    def mean(self) -> "Mean":
        """The mean over nets, over samples where these are too few."""
        seeds = self.seeds
        parts = [self.nets[seed].to_numpy(float) for seed in seeds]
        errors = [_over_samples(part) for part in parts]
        if not 0 < len(seeds) < LEAST_SEEDS:
            return Mean.of(Drawn(seeds, self.part * float(np.mean(errors)) if seeds and self.part else 0.0))
        # the nets share the samples, so that their errors go together
        return Mean(float(np.mean(list(seeds.values()))), float(np.mean(errors)) ** 2, min(map(len, parts)) - 1)


def _over_samples(values: NDArray[np.floating[Any]]) -> float:
    """Return the standard error of a mean over samples, as if drawn from very many; nan for fewer than two.

    Of a share, or a difference of two, it is Wilson's at least.
    """
    if len(values) < 2:
        return math.nan
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return max(error, standard_error(least_margins(values)))


class Mean(NamedTuple):
    """A mean over seeds, the variance of the mean over seeds and samples, and its degrees of freedom."""

    value: float
    variance: float
    freedom: float

    @classmethod
    def of(cls, number: "Seeds | Sampled | float") -> "Mean":
        """Take the mean over seeds (nan without any, variance nan below LEAST_SEEDS); a constant has no variance.

        What samples leave open is no less for more seeds, which share them, and is known as well as they tell it: its
        degrees of freedom are infinite in Welch's formula.
        """
        if isinstance(number, Sampled):
            return number.mean
        if isinstance(number, int | float):
            return cls(float(number), 0.0, math.inf)
        values, n = np.array(list(number.values())), len(number)
        if n < LEAST_SEEDS:
            return cls(float(values.mean()) if n else math.nan, math.nan, math.nan)
        scatter, whole = float(values.var(ddof=1)) / n, float(values.var(ddof=1)) / n + sampling(number) ** 2
        return cls(float(values.mean()), whole, (n - 1) * (whole / scatter) ** 2 if scatter else math.inf)


@dataclass(frozen=True, eq=False)
class Comparison:
    """`left` is above `right` by more than `margin`, or by as much where `or_equal`.

    "Does not" and "the same" have a margin of minus the tolerance.
    """

    label: str
    left: Seeds | Sampled | float
    right: Seeds | Sampled | float
    margin: float = 0.0
    or_equal: bool = False

    @property
    def difference(self) -> float:
        """Mean of left minus mean of right, nan without one of them."""
        return Mean.of(self.left).value - Mean.of(self.right).value

    def tails(self) -> tuple[float, float]:
        """Return the p-values of Welch's test against "at most the margin" and "at least the margin".

        Returns:
            (p that it is above, p that it is below), both nan if a side has fewer than LEAST_SEEDS seeds. Where no seed
            differs from the others the means are exact: a p is 0 or 1.
        """
        beyond, (error, freedom) = self.difference - self.margin, self._error()
        if math.isnan(beyond) or math.isnan(error):
            return math.nan, math.nan
        if error <= SLACK:
            tie = abs(beyond) <= SLACK
            return (float(not (self.or_equal if tie else beyond > 0)), float(tie or beyond > 0))
        return float(stats.t.sf(beyond / error, freedom)), float(stats.t.cdf(beyond / error, freedom))

    def bounds(self) -> tuple[float, float]:
        """Return the one-sided bounds of the difference, below and above it, each at 1 - LEVEL; nan as `tails`."""
        error, freedom = self._error()
        half = error * stats.t.ppf(1.0 - LEVEL, freedom) if error > SLACK else error
        return self.difference - half, self.difference + half

    def _error(self) -> tuple[float, float]:
        """Return the standard error of the difference, and its degrees of freedom (Welch, 1947)."""
        means = (Mean.of(self.left), Mean.of(self.right))
        variance = sum(mean.variance for mean in means)
        if math.isnan(variance) or variance <= SLACK**2:
            return math.sqrt(variance), math.inf
        known = sum(mean.variance**2 / mean.freedom for mean in means if mean.variance)
        return math.sqrt(variance), variance**2 / known if known else math.inf

    def __str__(self) -> str:
        left, right = Mean.of(self.left).value, Mean.of(self.right).value
        (above, below), (low, high) = self.tails(), self.bounds()
        sign, margin = "≥" if self.or_equal else ">", f" {self.margin:+.2g}" if self.margin else ""
        if math.isnan(above):
            said = f"{self._nets()} of {LEAST_SEEDS} seeds"
        else:
            sampled = any(isinstance(side, Sampled) for side in (self.left, self.right))
            few = sampled and self._nets() < LEAST_SEEDS
            where = (", on our net" if self._nets() == 1 else ", on our nets") if few else ""
            said = f"p {min(above, below):.2g}, apart by {self.difference:.3g}: {low:.3g} to {high:.3g}{where}"
        return f"{self.label}: {left:.4g} {sign} {right:.4g}{margin} ({said})"

    def _nets(self) -> int:
        """Count the seeds of the side that has fewer of them."""
        sides = [side.seeds if isinstance(side, Sampled) else side for side in (self.left, self.right)]
        return min((len(side) for side in sides if not isinstance(side, int | float)), default=0)


@dataclass(frozen=True, eq=False)
class Trials(Comparison):
    """A share of trials, each 1 or 0 by its seed, is above a constant or above the share of others.

    Its tests are exact, the binomial one and Fisher's (1935): a few trials that all end alike do not scatter, and
    Welch's test would be sure of what chance brings. There is no margin.
    """

    left: Seeds
    right: Seeds | float

    def tails(self) -> tuple[float, float]:
        """Return the p-values against "not above" and "not below", both nan below LEAST_SEEDS trials of a side."""
        if self._nets() < LEAST_SEEDS:
            return math.nan, math.nan
        k, n = _count(self.left)
        if isinstance(self.right, int | float):
            above, below = (stats.binomtest(k, n, self.right, way).pvalue for way in ("greater", "less"))
        else:
            table = [(yes, count - yes) for yes, count in ((k, n), _count(self.right))]
            above, below = (stats.fisher_exact(table, way).pvalue for way in ("greater", "less"))
        return float(above), float(below)

    def bounds(self) -> tuple[float, float]:
        """Return the bounds of Clopper and Pearson (1934); of two shares those of both together (Bonferroni)."""
        if self._nets() < LEAST_SEEDS:
            return math.nan, math.nan
        if isinstance(self.right, int | float):
            low, high = _exact(self.left, 2.0 * LEVEL)
            return low - self.right, high - self.right
        (low, high), (least, largest) = (_exact(side, LEVEL) for side in (self.left, self.right))
        return low - largest, high - least


def _count(trials: Seeds) -> tuple[int, int]:
    """Return how many trials there are that are 1, and how many there are."""
    return round(sum(trials.values())), len(trials)


def _exact(trials: Seeds, level: float) -> tuple[float, float]:
    """Return the two-sided exact interval of a share at 1 - level."""
    found = stats.binomtest(*_count(trials)).proportion_ci(1.0 - level, method="exact")
    return float(found.low), float(found.high)


@dataclass(frozen=True, eq=False)
class Enough:
    """So many of some groups of comparisons are right, all comparisons of a group together."""

    label: str
    groups: tuple[tuple[Comparison, ...], ...]
    needed: int

    @property
    def level(self) -> float:
        """The level of each comparison at which so many are right by chance at LEVEL, whichever they are.

        Bonferroni's correction where one of them is enough, none where all are needed (Benjamini and Heller, 2008).
        """
        return LEVEL / (len(self.groups) - self.needed + 1)


def most(label: str, groups: tuple[tuple[Comparison, ...], ...]) -> Enough:
    """More than half of the groups are right."""
    return Enough(label, groups, len(groups) // 2 + 1)


def some(label: str, groups: tuple[tuple[Comparison, ...], ...]) -> Enough:
    """At least one group is right."""
    return Enough(label, groups, 1)


Check: TypeAlias = Comparison | Enough
Test: TypeAlias = Callable[..., Iterator[Check]]  # (scope, *words) -> what it compares


@dataclass(frozen=True)
class Outcome:
    """What becomes of a statement.

    Attributes:
        word: of STATEMENTS.
        why: the first comparisons that are not right, and what was left out; why it cannot be tested.
        right: how many of its comparisons are on its side; None where it rests on none.
        compared: how many there are; None where it rests on none.
        numbers: all comparisons that it rests on, each with its numbers and the bounds of their difference.
    """

    word: str
    why: tuple[str, ...] = ()
    right: int | None = None
    compared: int | None = None
    numbers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known(self.word, STATEMENTS)

    @property
    def columns(self) -> tuple[str, int | None, int | None, str, str]:
        """Its REPLY."""
        return self.word, self.right, self.compared, SEPARATOR.join(self.why), SEPARATOR.join(self.numbers)


def conclude(
    checks: Sequence[Check],
    left_out: Iterable[str] = (),
    nothing: Iterable[str] = (),
    unlike: Iterable[str] = (),
) -> Outcome:
    """Return what becomes of a statement.

    Args:
        checks: what it rests on.
        left_out: what it could not be asked of, and why.
        nothing: its clauses of which the run has nothing to compare: without them it does not hold.
        unlike: what its numbers are from that the paper's are not, in words: other data, or what is cut short.
    """
    comparisons = [one for check in checks for one in _comparisons(check)]
    states = _states(checks)
    found = [(check, _state(check, states)) for check in checks]
    why = []
    for state in ("reversed", "open", "no number"):
        those = [_text(check, states) for check, its in found if its == state]
        why += [f"{state}: {_some(those)}"] if those else []
    lost = [_text(one, states) for one, its in found if its == "right" and _lost(one, states)]
    why += [f"right, but not everywhere: {_some(lost)}"] if lost else []
    absent = [f"the run lacks a net or an attack of: {clause}" for clause in nothing]
    why += [*absent, *(f"left out: {text}" for text in left_out)]
    word = _word({state for _, state in found} | ({"no number"} if absent or not checks else set()))
    numbers = tuple(str(one) for one in comparisons if states[id(one)] != "no number")
    if numbers and word != "not run" and (others := tuple(unlike)):
        word, why = "not comparable", [_some(others), *why]
    right = sum(state == "right" for _, state in found) if checks else None
    return Outcome(word, tuple(why), right, len(found) or None, numbers)


def _some(texts: Sequence[str]) -> str:
    """List the first of many, and say how many more there are: a statement may rest on hundreds."""
    more = len(texts) - NAMED
    return ", ".join([*texts[:NAMED], *([f"and {more} more"] if more > 0 else [])])


def _word(states: Collection[State]) -> str:
    """Return the word for what is among the states of a statement's comparisons."""
    if "reversed" in states:
        return "fails"
    if "no number" in states:
        return "not run"
    return "undecided" if "open" in states else "holds"


def _comparisons(check: Check) -> list[Comparison]:
    return [check] if isinstance(check, Comparison) else [one for group in check.groups for one in group]


def _states(checks: Sequence[Check]) -> dict[int, State]:
    """Judge each comparison (by its id): where one is enough to fail, Holm's correction is over all of a statement."""
    states: dict[int, State] = {}
    levels = [
        (one, check.level if isinstance(check, Enough) else LEVEL) for check in checks for one in _comparisons(check)
    ]
    tails = {id(one): one.tails() for one, _ in levels}
    for one, level in levels:
        above, _ = tails[id(one)]
        states[id(one)] = "no number" if math.isnan(one.difference) else "right" if above < level else "open"
    below = sorted((p, name) for name, (_, p) in tails.items() if not math.isnan(p))
    for rank, (p, name) in enumerate(below):
        if p >= LEVEL / (len(below) - rank):
            break
        states[name] = "reversed"
    return states


def _state(check: Check, states: Mapping[int, State]) -> State:
    if isinstance(check, Comparison):
        return states[id(check)]
    won, lost = _score(check, states)
    if won >= check.needed:
        return "right"
    if lost > len(check.groups) - check.needed:
        return "reversed"
    return "no number" if "no number" in {states[id(one)] for one in _comparisons(check)} else "open"


def _text(check: Check, states: Mapping[int, State]) -> str:
    if isinstance(check, Comparison):
        return check.label if states[id(check)] == "no number" else str(check)
    won, lost = _score(check, states)
    return f"{check.label}: surely {won}, surely not {lost} of {len(check.groups)}, {check.needed} needed"


def _lost(check: Check, states: Mapping[int, State]) -> int:
    """Count the groups that are not right for sure where more than one is needed, and not all."""
    return _score(check, states)[1] if isinstance(check, Enough) and check.needed > 1 else 0


def _score(check: Enough, states: Mapping[int, State]) -> tuple[int, int]:
    """Count the groups that are right, and those that are not for sure."""
    groups = [{states[id(one)] for one in group} for group in check.groups]
    return sum(group == {"right"} for group in groups), sum("reversed" in group for group in groups)
