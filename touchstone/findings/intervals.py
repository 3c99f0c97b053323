"""95 % intervals of numbers that were measured once per seed."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

SAMPLING = ("binomial", "unknown", "none")  # see `interval`


class Interval(NamedTuple):
    """A 95 % interval: its ends, half-width, and what it covers. nan and "none" where nothing can be said."""

    low: float
    high: float
    half: float
    kind: str


class Deviation(NamedTuple):
    """A pooled standard deviation over seeds and its degrees of freedom."""

    value: float
    freedom: int


NO_INTERVAL = Interval(math.nan, math.nan, math.nan, "none")


def pooled_deviation(groups: Iterable[Sequence[float]]) -> Deviation | None:
    """Return the standard deviation within groups of seeds; None if no group has two or more."""
    arrays = [np.asarray(group, dtype=float) for group in groups if len(group) >= 2]
    freedom = sum(len(array) - 1 for array in arrays)
    if not freedom:
        return None
    squares = sum(float(((array - array.mean()) ** 2).sum()) for array in arrays)
    return Deviation(math.sqrt(squares / freedom), freedom)


def binomial_interval(p: float, n: int) -> Interval:
    """Return the interval of a share p of n samples: the 2.5 and 97.5 % quantiles of its bootstrap, exactly.

    A resample of n equal outcomes has no spread, so at p = 0 and 1 the limit of Clopper and Pearson (1934) is
    used instead: 10 unbroken samples do not prove that no sample can be broken.
    """
    certain = 1.0 - 0.025 ** (1.0 / n)
    if p <= 0.0:
        return Interval(0.0, certain, certain, "sampling only")
    if p >= 1.0:
        return Interval(1.0 - certain, 1.0, certain, "sampling only")
    low, high = (float(q) / n for q in stats.binom.ppf([0.025, 0.975], n, p))
    return Interval(low, high, max(p - low, high - p), "sampling only")


def interval(
    values: Sequence[float],
    n: int,
    *,
    sampling: str,
    pooled: Deviation | None = None,
    population: int | None = None,
) -> Interval:
    """Return the interval of the mean of a number measured once per seed.

    Args:
        values: one per seed.
        n: samples (or weights) behind each value; all seeds share the samples.
        sampling: how the number varies with the samples: "binomial" (a share of them), "unknown" (a mean or
            a difference, whose variance the value does not tell), "none" (it reads no samples).
        pooled: deviation over seeds of the same metric elsewhere in the study, for fewer than 3 seeds.
        population: size of the whole test set. If n is smaller, the seeds share an error that their spread
            does not show; it is added.

    Returns:
        Student's t over 3 or more seeds ("t"); the pooled deviation for 2, or for 1 of a number that is no
        share ("pooled"); for 1 seed and a share, the samples alone ("sampling only").

    Raises:
        ValueError: for another word of how it varies.
    """
    if sampling not in SAMPLING:
        raise ValueError(f"sampling: expected {', '.join(SAMPLING)}, got {sampling!r}")
    count, mean = len(values), float(np.mean(values)) if len(values) else math.nan
    whole = max(n, population or 0)
    partial = n < whole
    if not count or (partial and sampling == "unknown"):
        return NO_INTERVAL
    if count == 1 and sampling == "binomial":
        return binomial_interval(mean, n)
    own = Deviation(float(np.std(values, ddof=1)), count - 1) if count >= 3 else pooled
    if own is None:
        return NO_INTERVAL
    half = float(stats.t.ppf(0.975, own.freedom)) * own.value / math.sqrt(count)
    kind = "t" if count >= 3 else "pooled"
    if partial and sampling == "binomial":
        correction = math.sqrt((whole - n) / (whole - 1))  # drawn without replacement
        half = math.hypot(half, correction * binomial_interval(mean, n).half)
        kind += " + sampling"
    low, high = mean - half, mean + half
    if sampling == "binomial":
        low, high = max(low, 0.0), min(high, 1.0)
    return Interval(low, high, half, kind)
