"""95 % intervals of a number that was measured once per seed, on some of the samples that it is about.

Two errors are kept apart. The seeds scatter: Student's t over trained nets. The samples that all seeds share are drawn
from a population: no error if it was met whole.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from touchstone.study.scale import LEAST_SEEDS, LEVEL

Values: TypeAlias = "Sequence[float] | pd.Series[float]"


class Interval(NamedTuple):
    """A 95 % interval: ends, the larger half-width, and what it covers. nan and "none" where nothing can be said."""

    low: float
    high: float
    half: float
    kind: str


class Deviation(NamedTuple):
    """A standard deviation over seeds and its degrees of freedom."""

    value: float
    freedom: float


class Margins(NamedTuple):
    """What the samples leave open at 95 %: how far below and above a number the truth may lie; nan if not known."""

    below: float
    above: float


NO_INTERVAL = Interval(math.nan, math.nan, math.nan, "none")
EXACT = Margins(0.0, 0.0)


def quantile(freedom: float) -> float:
    """Return the 97.5 % quantile of Student's t: the half-width of a 95 % interval in standard errors."""
    return float(special.stdtrit(freedom, 1.0 - LEVEL / 2.0))


# ---- seeds


def pooled_deviation(groups: Iterable[Sequence[float]]) -> Deviation | None:
    """Return the standard deviation within groups of seeds; None if no group has two or more."""
    arrays = [np.asarray(group, dtype=float) for group in groups if len(group) >= 2]
    freedom = sum(len(array) - 1 for array in arrays)
    if not freedom:
        return None
    squares = sum(float(((array - array.mean()) ** 2).sum()) for array in arrays)
    return Deviation(math.sqrt(squares / freedom), freedom)


def deviation(values: Sequence[float], pooled: Deviation | None = None) -> Deviation | None:
    """Return the deviation over LEAST_SEEDS or more seeds, that of others for fewer; None if it is not known."""
    if len(values) < LEAST_SEEDS:
        return pooled
    return pooled_deviation([values]) if np.isfinite(values).all() else None


# ---- samples


def remainder(met: int, population: int | None) -> float:
    """Return which part of the error of independent draws is left when so many of a population were met.

    Drawn without replacement, the variance is (N - n) / (N - 1) of that: 0 for a population that was met whole.

    Args:
        met: n, how many.
        population: N; None if they are all there are.
    """
    if population is None or met >= population:
        return 0.0
    return math.sqrt((population - met) / (population - 1))


def spread(printed: str, half: str, low: float, high: float) -> str:
    """Return how far a printed number is known: "±1.0", or "+1.0" or "−1.0" from an end of its range.

    Args:
        printed: the number, as text.
        half: its half-width, as text.
        low: the least that it can be, in the unit that is printed.
        high: the most.
    """
    return {low: "+", high: "−"}.get(float(printed), "±") + half


def share_margins(share: float, n: int, part: float = 1.0) -> Margins:
    """Return the margins of a share of n samples: Wilson's interval (1927), shrunk towards the share.

    Shrinking keeps its order (more broken samples never lower an end) and its ends inside [0, 1].

    Args:
        share: in [0, 1]; a mean over seeds is taken as the nearest count.
        n: samples.
        part: as `remainder` returns it.
    """
    if not part:
        return EXACT
    found = stats.binomtest(round(share * n), n).proportion_ci(1.0 - LEVEL, method="wilson")
    return Margins(part * (share - found.low), part * (found.high - share))


def standard_error(margins: Margins) -> float:
    """Return what a normal error with these margins has, by the wider one: a share of 0 has none below it."""
    return max(margins) / quantile(math.inf)


def least_margins(values: NDArray[np.floating[Any]]) -> Margins:
    """Return what samples leave open of their mean at least: that they all agree makes no share exact.

    The margins are Wilson's where each value is 0 or 1, or a difference of two such; otherwise there are none.
    """
    if not np.isin(values, (-1.0, 0.0, 1.0)).all():
        return EXACT
    return share_margins(abs(float(values.mean())), len(values))


def share_interval(share: float, n: int) -> Interval:
    """Return the interval of the share of n samples that one net has: of the samples alone."""
    return interval([share], margins=share_margins(share, n), share=True)


def mean_half(values: Values) -> float:
    """Return the half-width over samples of their mean, as if drawn from very many; nan for fewer than two."""
    if len(values) < 2:
        return math.nan
    return quantile(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def median_half(values: Values) -> float:
    """Return the half-width over samples of their median, likewise, from order statistics; nan if it has no end.

    Some of the values may be infinite.
    """
    if len(values) < 2:
        return math.nan
    found = stats.quantile_test(np.asarray(values, dtype=float), p=0.5).confidence_interval(1.0 - LEVEL)
    half = float(found.high - found.low) / 2.0 if np.isfinite(found.low) else math.nan
    return half if math.isfinite(half) else math.nan


@dataclass(frozen=True)
class Samples:
    """The samples behind a number, and what they were drawn from.

    Attributes:
        n: behind the number.
        met: that were attacked; a mean over those that are broken is over some of them.
        population: how many there are; None if no more than were met, or if the number reads none.
        half: half-width over n samples, as if drawn from very many; None if the number is a share of them.
    """

    n: int
    met: int
    population: int | None
    half: float | None = None

    def margins(self, value: float, met: int | None = None) -> Margins:
        """Return what the samples leave open of a number, or would if so many were met."""
        met = met or self.met
        part, n = remainder(met, self.population), round(self.n * met / self.met) if self.met else self.n
        if not part:
            return EXACT
        if self.half is None:
            return share_margins(value, n, part)
        half = part * self.half * math.sqrt(self.n / n)
        return Margins(half, half)


# ---- both


def interval(
    values: Sequence[float],
    *,
    margins: Margins = EXACT,
    pooled: Deviation | None = None,
    share: bool = False,
) -> Interval:
    """Return the interval of the mean of a number measured once per seed.

    The margins of seeds and samples are independent: on each side they add up as squares.

    Args:
        values: one per seed.
        margins: of the samples, which all seeds share.
        pooled: deviation over seeds of the same metric elsewhere, for fewer than LEAST_SEEDS.
        share: the number is one, and its interval ends at 0 and 1.

    Returns:
        An interval of kind "t" or "pooled", by whose deviation it is, " + sampling" where the samples are part of a
        population; "sampling only" where no deviation is known; none where nothing is.
    """
    spread = deviation(values, pooled)
    if not len(values) or math.isnan(margins.above) or (spread is None and margins == EXACT):
        return NO_INTERVAL
    mean = float(np.mean(values))
    seeds = quantile(spread.freedom) * spread.value / math.sqrt(len(values)) if spread else 0.0
    below, above = (math.hypot(seeds, margin) for margin in margins)
    low, high = mean - below, mean + above
    if share:
        low, high = max(low, 0.0), min(high, 1.0)
    kind = "sampling only" if spread is None else "t" if len(values) >= LEAST_SEEDS else "pooled"
    if spread and margins != EXACT:
        kind += " + sampling"
    return Interval(low, high, max(below, above), kind)
