"""What is drawn of a number that was measured once per seed."""

from collections.abc import Collection
from typing import NamedTuple

import pandas as pd

from touchstone.findings.intervals import EXACT, interval, share_margins
from touchstone.study.scale import LEAST_SEEDS


class Estimate(NamedTuple):
    """A mean over seeds and the ends of its interval, which are the mean itself where no interval is known."""

    mean: float
    low: float
    high: float


def estimate(values: "pd.Series[float]", n: "pd.Series[int]", *, share: bool) -> Estimate:
    """Return the mean over seeds with its 95 % interval: Student's t over seeds, for fewer than three over samples.

    Args:
        values: one per seed; those that are missing do not count.
        n: samples behind each.
        share: the number is a share of them, in [0, 1]; of another one nothing is known over samples.
    """
    known = values.notna()
    mean, few = float(values[known].mean()), known.sum() < LEAST_SEEDS
    margins = share_margins(mean, int(n[known].min())) if share and few else EXACT
    found = interval(list(values[known]), margins=margins, share=share)
    return Estimate(mean, mean, mean) if found.kind == "none" else Estimate(mean, found.low, found.high)


def deviations(values: "pd.Series[float]", times: float) -> Estimate:
    """Return the mean over seeds and so many standard deviations around it, 0 of a single seed."""
    mean, spread = float(values.mean()), float(values.std()) if values.notna().sum() > 1 else 0.0
    return Estimate(mean, mean - times * spread, mean + times * spread)


def check_columns(table: pd.DataFrame, needed: Collection[str]) -> None:
    """Raise ValueError if a table lacks columns."""
    if lacking := [c for c in needed if c not in table]:
        raise ValueError(f"the table lacks {', '.join(lacking)}; it has {', '.join(table.columns)}")
