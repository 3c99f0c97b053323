"""What a verdict is judged by: the claim, our numbers, and what this run cut short."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from touchstone.cell import ThreatSpec, radius_index
from touchstone.findings.cells import ATTACK_GAP, UNDER_THREAT, Cell, Index, at, index
from touchstone.findings.intervals import (
    NO_INTERVAL,
    Deviation,
    Interval,
    Samples,
    deviation,
    interval,
    pooled_deviation,
)
from touchstone.study.claim import Claim, Place
from touchstone.study.scale import COMPARED, LOG, LOGIT, METRICS, SHARE, measure


class Trial(NamedTuple):
    """What tests the numbers of a published attack.

    Attributes:
        threat: of the attack; its radii do not count.
        judges: radius of the attack -> what tests it there: slug of the worst case, and radius in pixels.
    """

    threat: ThreatSpec
    judges: Mapping[float, tuple[str, float]]

    @property
    def space(self) -> tuple[str, str, str]:
        """The norm, the space and the bounds, in which a radius means one thing."""
        return self.threat.norm, self.threat.space, self.threat.bounds

    def judge(self, epsilon: float) -> str | None:
        """Return the worst case that tests a number at a radius, None if none does."""
        place = radius_index(self.judges, epsilon)
        return None if place is None else list(self.judges.values())[place][0]


Worst = Mapping[tuple[str, str], Trial | str]  # (dataset, attack) -> it, or why nothing tests it
NO_IMAGE = "it ran, and left no image to measure this on"
JUDGED = METRICS | {UNDER_THREAT: SHARE, ATTACK_GAP: SHARE}  # what numbers of ours may be
NO_SCATTER = Deviation(0.0, math.inf)  # of nets that others trained: no other ones are meant
SEPARATOR = "; "  # between the texts of a column that holds several: why, caps, stands_why


Cut: TypeAlias = tuple[str, str, str, str]  # where something may be cut short: dataset, model, defense, attack


class Caps(NamedTuple):
    """What this run cut short for one cell (dataset, model, defense, attack), in words.

    `model`: changes what is attacked (epochs, a dataset that stands in). `attack`: changes the attack (steps,
    restarts). `size`: fewer samples or seeds, which only widen the interval. `population`: size of the whole
    test set. `given`: others trained the nets, and the number is of these and no others.
    """

    model: tuple[str, ...] = ()
    attack: tuple[str, ...] = ()
    size: tuple[str, ...] = ()
    population: int | None = None
    given: bool = False

    @property
    def changes(self) -> tuple[str, ...]:
        """What makes it another number than the one that is printed."""
        return (*self.model, *self.attack)

    def text(self) -> str:
        """All of them in one line."""
        return SEPARATOR.join([*self.model, *self.attack, *self.size, *(["given weights"] if self.given else [])])


@dataclass(frozen=True)
class Measured:
    """Our number for one cell, as measured: mean over seeds.

    Attributes:
        value: nan without one.
        seeds: that have it.
        spread: deviation over seeds; None if it is not known.
        samples: behind it, the fewest of the seeds.
        interval: of both.
        status: ok | incomplete | failed | not run.
        reasons: for the status, and what went wrong with single seeds.
        suite: behind a worst case, "" otherwise.
    """

    value: float
    seeds: int
    spread: Deviation | None
    samples: Samples
    interval: Interval
    status: str
    reasons: tuple[str, ...]
    suite: str = ""

    @classmethod
    def nothing(cls, status: str, reasons: tuple[str, ...] = ()) -> "Measured":
        """Return that there is no number."""
        return cls(math.nan, 0, None, Samples(0, 0, None), NO_INTERVAL, status, reasons)


@dataclass(frozen=True)
class Evidence:
    """Everything that claims are judged by.

    Attributes:
        numbers: ours.
        deviations: over seeds, on the metric's scale, pooled over the nets that share dataset, attack, metric and
            radius.
        worst: what tests a robust accuracy.
        caps: what was cut short; a cell that is not there was not.
        reference: the defense that COMPARED metrics compare with.
    """

    numbers: Index
    deviations: Mapping[tuple[str, str, str], Sequence[tuple[float, Deviation | None]]]
    worst: Worst
    caps: Mapping[Cut, Caps]
    reference: str

    @classmethod
    def of(cls, cells: pd.DataFrame, worst: Worst, caps: Mapping[Cut, Caps], reference: str) -> "Evidence":
        """Gather the evidence; cells as `cells.derive` returns them."""
        numbers = index(cells)
        return cls(numbers, _pooled(numbers), worst, caps, reference)

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
            given=own.given,
        )

    def measured(self, place: Place, epsilon: float, population: int | None) -> Measured:
        """Return our number at a place and radius (nan: none); population: size of the whole test set."""
        seeds = at(self.numbers, place, epsilon)
        if not seeds:
            return Measured.nothing("not run", _each_once([JUDGED[place.metric].absent]))
        good = [cell for cell in seeds if cell.status != "failed" and not math.isnan(cell.value)]
        failures = _each_once(sorted(cell.reason for cell in seeds if cell not in good))
        if not good:
            return Measured.nothing("failed", failures or (NO_IMAGE,))
        lost = len(seeds) - len(good)
        reasons = [f"{lost} of {len(seeds)} seeds failed: {SEPARATOR.join(failures)}"] if lost else []
        reasons += _each_once(sorted(cell.reason for cell in good))
        values, samples = [cell.value for cell in good], behind(place.metric, good, population)
        given = self.caps.get((place.dataset, place.model, place.defense, place.attack), Caps()).given
        value = float(np.mean(values))
        nets, pooled = ([value], NO_SCATTER) if given else (values, self._deviation(place, epsilon, good))
        return Measured(
            value=value,
            seeds=len(good),
            spread=deviation(nets, pooled),
            samples=samples,
            interval=interval(nets, margins=samples.margins(value), pooled=pooled, share=samples.half is None),
            status="incomplete" if any(cell.status == "incomplete" for cell in good) else "ok",
            reasons=tuple(reasons),
            suite=good[0].suite,
        )

    def _deviation(self, place: Place, epsilon: float, seeds: Sequence[Cell]) -> Deviation | None:
        """Return the deviation of the nets around a place, at the number there, in its own scale."""
        radii = self.deviations[place.dataset, place.attack, place.metric]
        found = radius_index((radius for radius, _ in radii), epsilon)
        pooled = None if found is None else radii[found][1]
        values = [value for cell in seeds if (value := _inside(cell)) is not None]
        if pooled is None or not values:
            return None
        slope = JUDGED[place.metric].scale.slope(float(np.mean(values)))
        return Deviation(pooled.value / slope, pooled.freedom)


def _pooled(numbers: Index) -> dict[tuple[str, str, str], list[tuple[float, Deviation | None]]]:
    """Pool the deviations over seeds of all nets at one dataset, attack, metric and radius."""
    groups: dict[tuple[str, str, str], list[tuple[float, list[list[float]]]]] = defaultdict(list)
    for place, radii in numbers.items():
        if place.metric not in JUDGED:
            continue
        key, to = (place.dataset, place.attack, place.metric), JUDGED[place.metric].scale.to
        for epsilon, seeds in radii:
            values = [to(value) for cell in seeds if (value := _inside(cell)) is not None]
            found = radius_index((radius for radius, _ in groups[key]), epsilon)
            if found is None:
                groups[key].append((epsilon, [values]))
            else:
                groups[key][found][1].append(values)
    return {key: [(eps, pooled_deviation(found)) for eps, found in radii] for key, radii in groups.items()}


def _inside(cell: Cell) -> float | None:
    """Return a number where its metric's scale is finite: a share is kept half a sample away from 0 and 1."""
    scale, value = JUDGED[cell.metric].scale, cell.value
    if not math.isfinite(value) or (scale is LOG and value <= 0.0):
        return None
    return (value * cell.n + 0.5) / (cell.n + 1.0) if scale is LOGIT else value


def behind(metric: str, seeds: Sequence[Cell], population: int | None) -> Samples:
    """Return the samples behind a mean over seeds, which share them."""
    n, met = min(cell.n for cell in seeds), min(cell.met for cell in seeds)
    sampling = (JUDGED.get(metric) or measure(metric)).sampling
    half = None if sampling == "binomial" else float(np.mean([cell.half for cell in seeds]))
    return Samples(n, met, None if sampling == "none" else population, half)


def _each_once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))
