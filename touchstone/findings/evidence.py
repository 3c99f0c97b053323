"""What a verdict is judged by: the claim, our numbers, and what this run cut short."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from touchstone.findings.cells import Index, Place, at, index
from touchstone.findings.intervals import NO_INTERVAL, Deviation, Interval, interval, pooled_deviation
from touchstone.study.claims import CELL
from touchstone.study.scale import COMPARED, METRICS, UNITS

# (dataset, attack, reading) -> radius -> what tests it there: attack, radius in pixels; or why nothing does
Worst = Mapping[tuple[str, str, str], Mapping[float, tuple[str, float]] | str]
SEPARATOR = "; "  # between the texts of a column that holds several: why, caps, stands_why


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
        return SEPARATOR.join([*self.model, *self.attack, *self.size])


@dataclass(frozen=True)
class Claim:
    """One published number under one reading, as far as a verdict needs it.

    Attributes:
        place: what it is about, but for the radius.
        epsilon: the radius, nan if there is none.
        low, high: the number, in its own unit: an interval if they differ.
        printed: the number as it is printed.
        alternatives: what it is if a doubtful label is read in another way.
        unit: how often it holds the unit of our numbers: 100 for percent.
        runs: how many the paper took the mean of.
        robust: whether it is an accuracy under attack, which a worst case can test.
        out_of_scope: why no re-run can produce it, "" if one can.
    """

    reading: str
    place: Place
    epsilon: float
    low: float
    high: float
    printed: str
    alternatives: tuple[float, ...]
    unit: float
    runs: int
    robust: bool
    out_of_scope: str

    @classmethod
    def of(cls, row: Mapping[Hashable, Any]) -> "Claim":
        """Read a row of the claims."""
        return cls(
            reading=row["reading"],
            place=Place(*(row[key] for key in [*CELL, "cell_metric"])),
            epsilon=row["cell_epsilon"],
            low=row["low"],
            high=row["high"],
            printed=row["value"],
            alternatives=tuple(float(text) for text in row["alternative"].split(";") if text),
            unit=UNITS[row["unit"]],
            runs=int(row["n_runs"] or 1),
            robust=row["attack"] != "clean" and row["cell_metric"] == "accuracy",
            out_of_scope=row["out_of_scope"],
        )

    def tau(self, value: float | None = None) -> float:
        """Return the tolerance of the number (of the middle of an interval), or of another value, in its unit."""
        middle = (self.low + self.high) / 2.0 if value is None else value
        return METRICS[self.place.metric].tolerance(middle / self.unit) * self.unit


class Measured(NamedTuple):
    """Our number for one cell, as measured: mean over seeds. status: ok | incomplete | failed | not run."""

    value: float
    n: int
    seeds: int
    interval: Interval
    status: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """Everything that claims are judged by.

    Attributes:
        numbers: ours.
        deviations: of a metric over seeds, for each attack: every one scatters differently.
        worst: what tests a robust accuracy.
        caps: (dataset, model, defense, attack) -> what was cut short; a cell that is not there was not.
        reference: the defense that COMPARED metrics compare with.
    """

    numbers: Index
    deviations: Mapping[tuple[str, str], Deviation | None]
    worst: Worst
    caps: Mapping[tuple[str, str, str, str], Caps]
    reference: str

    @classmethod
    def of(
        cls, cells: pd.DataFrame, worst: Worst, caps: Mapping[tuple[str, str, str, str], Caps], reference: str
    ) -> "Evidence":
        """Gather the evidence; cells as `cells.derive` returns them."""
        numbers = index(cells)
        values: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
        for place, radii in numbers.items():
            for _, seeds in radii:
                values[place.attack, place.metric].append([c.value for c in seeds if not math.isnan(c.value)])
        return cls(numbers, {key: pooled_deviation(groups) for key, groups in values.items()}, worst, caps, reference)

    def cut_short(self, claim: Claim) -> Caps:
        """Return what was cut short for the cell of a claim, and for the reference if the metric compares with it."""
        dataset, model, defense, attack, metric = claim.place
        own = self.caps.get((dataset, model, defense, attack), Caps())
        if metric not in COMPARED:
            return own
        base = self.caps.get((dataset, model, self.reference, attack), Caps())
        return Caps(
            model=_each_once([*own.model, *base.model]),
            attack=_each_once([*own.attack, *base.attack]),
            size=_each_once([*own.size, *base.size]),
            population=own.population,
        )

    def measured(self, place: Place, epsilon: float, population: int | None) -> Measured:
        """Return our number at a place and radius (nan: none); population: size of the whole test set."""
        seeds = at(self.numbers, place, epsilon)
        if not seeds:
            return Measured(math.nan, 0, 0, NO_INTERVAL, "not run", ())
        good = [cell for cell in seeds if cell.status != "failed" and not math.isnan(cell.value)]
        failures = _each_once(sorted(cell.reason for cell in seeds if cell not in good))
        if not good:
            return Measured(math.nan, 0, 0, NO_INTERVAL, "failed", failures or ("no value",))
        lost = len(seeds) - len(good)
        reasons = [f"{lost} of {len(seeds)} seeds failed: {SEPARATOR.join(failures)}"] if lost else []
        reasons += _each_once(sorted(cell.reason for cell in good))
        n, values = min(cell.n for cell in good), [cell.value for cell in good]
        half = interval(
            values,
            n,
            sampling=METRICS[place.metric].sampling,
            pooled=self.deviations[place.attack, place.metric],
            population=population,
        )
        status = "incomplete" if any(cell.status == "incomplete" for cell in good) else "ok"
        return Measured(float(np.mean(values)), n, len(good), half, status, tuple(reasons))


def _each_once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))
