"""The verdict on a pair: is one attack stronger than another on one net by as much as was published?

Absolute numbers of nets that nobody published cannot come out again. How far two attacks lie apart on one net is less
its own: a claim names the attack that it is compared with, the published difference is that of the two printed
numbers, and ours is taken sample by sample on nets that match the published ones.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from touchstone.cell import ModelId, same_radius
from touchstone.findings import metrics
from touchstone.findings.cells import Cell, Index, at, at_radii
from touchstone.findings.evidence import NO_SCATTER, SEPARATOR, Caps, Cut
from touchstone.findings.intervals import deviation, least_margins, remainder, share_margins
from touchstone.findings.verdicts import Precision, agreement
from touchstone.findings.vocabulary import PAIRED, known
from touchstone.records import Attacked, Batch
from touchstone.study.claim import Claim, Place
from touchstone.study.claims import HEADLINE, Readings, compared_with, expand, restarts
from touchstone.study.scale import LEVEL, METRICS, POINTS, SLACK

DRAWS = 2000  # of a bootstrap


@dataclass(frozen=True)
class Pair:
    """Two published numbers on one net, under one reading.

    Attributes:
        claim: the first number.
        against: the attack of the second one, at the same radius and of the same metric.
        published: the first minus the second, in our unit.
        norm: of the attacks.
        restarts: as they are printed beside the two, "" where none is.
    """

    claim: Claim
    against: str
    published: float
    norm: str
    restarts: tuple[str, str] = ("", "")

    @property
    def place(self) -> Place:
        """What the first number is about, but for the radius."""
        return self.claim.place

    @property
    def tau(self) -> float:
        """The tolerance: the metric's own, of a share 2 points, at most half of the published difference."""
        return min(self.least, abs(self.published) / 2.0)

    @property
    def unequal(self) -> tuple[str, ...]:
        """In words that one attack has more restarts than the other in print, and so here; nothing if they agree."""
        first, second = map(_tries, self.restarts)
        return (f"as published, {first} against {second}",) if first != second else ()

    @property
    def least(self) -> float:
        """The smallest published difference that is tested."""
        metric = METRICS[self.place.metric]
        return POINTS if metric.sampling == "binomial" else metric.tolerance(self.claim.measured[0])


def _tries(restarts: str) -> str:
    """Say in words how often an attack is run; one without printed restarts is run once."""
    return "one run" if restarts in ("", "1") else f"{restarts.replace('or', ' or ')} restarts"


class Difference(NamedTuple):
    """Our difference on one net, or why there is none.

    Attributes:
        half: its 95 % half-width over samples, as if drawn from very many; nan where one sample is behind it.
        n: samples behind it.
        met: samples that both attacks met; a mean distance is over those that both break.
    """

    model: ModelId
    value: float
    half: float
    n: int
    met: int
    failed: str = ""


@dataclass(frozen=True)
class Verdict:
    """A word of PAIRED, its reasons, and our difference over `nets` nets with its half-width."""

    word: str
    why: tuple[str, ...] = ()
    ours: float = math.nan
    half: float = math.nan
    nets: int = 0
    n: int = 0

    def __post_init__(self) -> None:
        known(self.word, PAIRED)


# ---- what is compared


def pairs(claims: pd.DataFrame, readings: Readings) -> list[Pair]:
    """Return every claim that names what it is compared with, under each reading.

    Args:
        claims: as `claims.load` returns them, which has seen that the other number is printed in the same table.
        readings: as for `claims.expand`.
    """
    rows = claims.to_dict("records")
    seconds: dict[str, Mapping[Any, Any]] = {}
    for row in rows:
        if row["against"]:
            (seconds[row["id"]],) = compared_with(row, rows)
    found = []
    for row in expand(claims, readings, rivals=True).to_dict("records"):
        if row["against"]:
            claim, second = Claim.of(row, row["reading"]), seconds[row["id"]]
            published = claim.measured[0] - Claim.of(second, HEADLINE).measured[0]
            found.append(Pair(claim, row["against"], published, row["norm"], (restarts(row), restarts(second))))
    return found


# ---- what was measured


def _left(records: pd.DataFrame, _: str) -> "pd.Series[float]":
    """Return per sample 1 where an attack leaves it right, else 0."""
    left: pd.Series[float] = (~records["success"]).groupby(records["sample"]).all().astype(float)
    return left


def _reached(records: pd.DataFrame, norm: str) -> "pd.Series[float]":
    """Return per sample that was right 1 where an attack breaks it, else 0."""
    dist = metrics.distances(records, norm)[metrics.correct(records)]
    return pd.Series(np.isfinite(dist), index=dist.index, dtype=float)


def _distance(records: pd.DataFrame, norm: str) -> "pd.Series[float]":
    """Return per sample that was right and is broken how far that took."""
    dist: pd.Series[float] = metrics.distances(records, norm)[metrics.correct(records)]
    return dist.where(np.isfinite(dist)).dropna()


# `paired` of a metric -> (rows of an attack at one radius, norm) -> a number per sample
OF_SAMPLE: Mapping[str, Callable[[pd.DataFrame, str], "pd.Series[float]"]] = {
    "left": _left,
    "reached": _reached,
    "distance": _distance,
}


def measure(batch: Batch, wanted: Iterable[Pair]) -> Iterator[tuple[Pair, Difference]]:
    """Compare the attacks on one model, as far as they ran on it; wanted: pairs, of this model or others.

    A mean distance is compared on the samples that both attacks break.
    """
    attacks = {one.header.attack: one for one in batch.attacks}
    for pair in wanted:
        both = [attacks[slug] for slug in (pair.place.attack, pair.against) if slug in attacks]
        model = batch.attacks[0].header.model
        if len(both) == 2 and pair.place[:3] == (model.dataset, model.model, model.defense):
            yield pair, _difference(model, pair, *both)


def _difference(model: ModelId, pair: Pair, one: Attacked, other: Attacked) -> Difference:
    failed = next((each.header.reason for each in (one, other) if each.header.status == "failed"), "")
    if failed:
        return Difference(model, math.nan, math.nan, 0, 0, failed)
    met = len(set(one.frame["sample"]).intersection(other.frame["sample"]))
    first, second = (_per_sample(pair, each) for each in (one, other))
    apart = (first - second).dropna().to_numpy(dtype=float)
    if not len(apart):
        return Difference(model, math.nan, math.nan, 0, met, "no sample is behind both numbers")
    return Difference(model, float(apart.mean()), bootstrap_half(apart), len(apart), met)


def _per_sample(pair: Pair, attacked: Attacked) -> "pd.Series[float]":
    values = pair.place.metric.endswith("_values")
    rows = at_radii(attacked, values=values)
    here = rows[[same_radius(eps, pair.claim.epsilon) for eps in rows["epsilon"]]]
    return OF_SAMPLE[METRICS[pair.place.metric].paired](here, metrics.VALUES if values else attacked.header.norm)


def bootstrap_half(values: Sequence[float] | np.ndarray) -> float:
    """Return half of the 95 % percentile bootstrap interval (Efron, 1979) of a mean over samples, one value each.

    It is of DRAWS samples of that size, with replacement, always the same ones. Of a share, or a difference of two, it
    is Wilson's at least. nan for fewer than two.
    """
    data, rng = np.asarray(values, dtype=float), np.random.default_rng(0)
    if len(data) < 2:
        return math.nan
    means = [data[rng.integers(len(data), size=len(data))].mean() for _ in range(DRAWS)]
    low, high = np.quantile(means, [LEVEL / 2.0, 1.0 - LEVEL / 2.0])
    return max(float(high - low) / 2.0, *least_margins(data))


# ---- what it means


@dataclass(frozen=True)
class Nets:
    """Which of our nets are like the published one, and why the others are not.

    Attributes:
        like: seeds.
        unlike: why each of the others is not.
        untold: of those that may be, what too few images leave open.
        unprinted: attacks under which no accuracy of the published net is printed, so that nobody knows.
    """

    like: frozenset[int] = frozenset()
    unlike: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    unprinted: tuple[str, ...] = ()

    @property
    def said(self) -> tuple[str, ...]:
        """In words by how little a net is known to be like the published one; nothing if by all."""
        return (f"no accuracy of the net under {' and '.join(self.unprinted)} is printed",) if self.unprinted else ()


def matching(
    claims: pd.DataFrame, numbers: Index, attacks: Sequence[str], caps: Mapping[Cut, Caps]
) -> dict[tuple[str, str, str], "Accuracies"]:
    """Put the published accuracies of the nets beside those of ours.

    Args:
        claims: as `claims.load` returns them; those whose place in print is uncertain tell nothing of a net.
        numbers: ours.
        attacks: slugs whose published accuracies a net must have to 2 points, all that are printed.
        caps: of how many images each number is about.

    Returns:
        By (dataset, model, defense); nets of which no such accuracy is printed are not there.
    """
    about = (claims["cell_metric"] == "accuracy") & claims["cell_attack"].isin(attacks)
    rows = claims[about & (claims["certainty"] != "uncertain")].to_dict("records")
    nets: dict[tuple[str, str, str], list[Printed]] = defaultdict(list)
    for row in rows:
        claim = Claim.of(row, HEADLINE)
        ours = {cell.seed: cell for cell in at(numbers, claim.place, claim.epsilon)}
        population = caps.get(claim.place[:4], Caps()).population
        found = Printed(claim.place.attack, row["norm"], claim.epsilon, claim.measured[0], ours, population)
        nets[claim.place[:3]].append(found)
    return {net: Accuracies(tuple(found), tuple(attacks)) for net, found in nets.items()}


@dataclass(frozen=True)
class Printed:
    """An accuracy of a published net under an attack in a norm at a radius, nan without one, and those of ours by seed.

    `population`: how many images it is about; None if no more than ours.
    """

    attack: str
    norm: str
    epsilon: float
    published: float
    ours: Mapping[int, Cell]
    population: int | None

    @property
    def under(self) -> str:
        """What a net stands under."""
        return self.attack if math.isnan(self.epsilon) else f"{self.attack} at {self.epsilon:g}"

    @cached_property
    def failed(self) -> set[int]:
        """The seeds of which there is no number to compare."""
        return {seed for seed, cell in self.ours.items() if cell.status == "failed"}

    @cached_property
    def _answers(self) -> dict[int, tuple[str, str]]:
        """What `compared` says of the others; every pair on a net asks for it."""
        return {seed: self._compared(cell) for seed, cell in self.ours.items() if seed not in self.failed}

    def compared(self, seed: int) -> tuple[str, str]:
        """Return a word of `agreement` on a net of ours, "" if nothing was measured, and both numbers in words."""
        return self._answers.get(seed, ("", f"{self.under} has not run"))

    def _compared(self, cell: Cell) -> tuple[str, str]:
        margin = max(share_margins(cell.value, cell.n, remainder(cell.n, self.population)))
        word = agreement(cell.value - self.published, POINTS, half=margin, wide=margin)
        of = f" of {cell.n:,} images" if word == "inconclusive" else ""
        return word, f"{100 * cell.value:.1f} %{of} under {self.under}, {100 * self.published:.1f} % is published"


@dataclass(frozen=True)
class Accuracies:
    """The accuracies of a published net under the attacks by which it is told, and those of ours."""

    numbers: tuple[Printed, ...]
    attacks: tuple[str, ...]

    def nets(self, pair: Pair) -> Nets:
        """Return which of our nets are like the published one, as far as it matters to a pair.

        They have all of the accuracies; for a pair at a radius the clean ones, and those in its norm at that radius, if
        any is printed. On a part of the images a net is like the published one, or not, where sampling leaves no doubt
        of it. One whose training failed is neither.
        """
        near = [one for one in self.numbers if one.norm == pair.norm and same_radius(one.epsilon, pair.claim.epsilon)]
        asked = [*(one for one in self.numbers if math.isnan(one.epsilon)), *near] if near else self.numbers
        seeds = {seed for number in asked for seed in number.ours}
        failed = {seed for number in asked for seed in number.failed}
        like, unlike, untold = set(), [], []
        for seed in sorted(seeds - failed):
            found = [number.compared(seed) for number in asked]
            against = dict.fromkeys(said for word, said in found if word not in ("reproduced", "inconclusive"))
            unclear = dict.fromkeys(said for word, said in found if word == "inconclusive")
            if against:
                unlike.append(f"seed {seed}: {SEPARATOR.join(against)}")
            elif unclear:
                untold.append(f"seed {seed}: {SEPARATOR.join(unclear)}")
            else:
                like.add(seed)
        unprinted = tuple(attack for attack in self.attacks if attack not in {one.attack for one in self.numbers})
        return Nets(frozenset(like), tuple(unlike), tuple(untold), unprinted)


def like(accuracies: Mapping[tuple[str, str, str], Accuracies], pair: Pair) -> Nets | None:
    """Return which of our nets are like the one of a pair; None where nothing published says so.

    Args:
        accuracies: as `matching` returns them.
        pair: what is published.
    """
    net = accuracies.get(pair.place[:3])
    return net.nets(pair) if net else None


def decide(pair: Pair, found: Sequence[Difference], nets: Nets | None, population: int | None) -> Verdict:
    """Return the verdict on a pair.

    Over fewer than LEAST_SEEDS nets the half-width is that of the samples, and says nothing of other nets. With more
    the nets scatter too, the published one among them, and samples only count as far as the population was not met
    whole.

    Args:
        pair: what is published.
        found: our differences, one per net.
        nets: which of ours are like the published one; None where nothing published says so.
        population: how many samples the published numbers are about; None if no more than were met.
    """
    if abs(pair.published) < pair.least - SLACK:
        published, least = pair.published * pair.claim.unit, pair.least * pair.claim.unit
        return Verdict("too small to test", (f"{published:.3g} is below {least:.3g}",))
    if nets is None:
        return Verdict("not comparable", ("no published accuracy says what the net is like",))
    if not found:
        return Verdict("not run")
    good = [one for one in found if not one.failed and one.model.seed in nets.like]
    failures = tuple(dict.fromkeys(one.failed for one in found if one.failed))
    if not good and nets.untold:
        return Verdict("not comparable", ("too few images to tell what the nets are like", *nets.untold, *nets.unlike))
    if not good:
        return Verdict("not comparable", ("other nets", *nets.unlike)) if nets.unlike else Verdict("failed", failures)
    values, n = [one.value for one in good], min(one.n for one in good)
    spread = deviation(values) or NO_SCATTER
    part = 1.0 if spread is NO_SCATTER else remainder(min(one.met for one in good), population)
    known = Precision(len(good), spread, margin=part * float(np.mean([one.half for one in good])))
    ours = float(np.mean(values))
    word = agreement(ours - pair.published, pair.tau, half=known.half, wide=known.wide)
    where = {1: ("on our net",), 2: ("on our nets",)}.get(len(good), ())
    return Verdict(
        word, (*where, *pair.unequal, *nets.said, *nets.unlike, *nets.untold, *failures), ours, known.half, len(good), n
    )


# ---- the table

COLUMNS = ["id", "reading", *Place._fields[:4], "against", "metric", "epsilon", "published", "ours", "h", "tau"]
COLUMNS += ["nets", "n", "verdict", "why", "caps"]


def cut_short(pair: Pair, caps: Mapping[Cut, Caps]) -> tuple[str, ...]:
    """Return what this run cut short for the two attacks, in words; how a net was trained shows in what it matches."""
    both = [caps.get((*pair.place[:3], slug), Caps()) for slug in (pair.place.attack, pair.against)]
    return tuple(dict.fromkeys(text for cut in both for text in (*cut.attack, *cut.size)))


def table(rows: Iterable[tuple[Pair, Verdict, Sequence[str]]]) -> pd.DataFrame:
    """Return verdicts on pairs, and what was cut short for each, as a table with COLUMNS.

    Numbers are in the claim's own unit, nan for none.
    """
    found = []
    for pair, said, cuts in rows:
        claim = pair.claim
        numbers = (value * claim.unit for value in (pair.published, said.ours, said.half, pair.tau))
        place = (*claim.place[:4], pair.against, claim.place.metric, claim.epsilon)
        texts = (SEPARATOR.join(said.why), SEPARATOR.join(cuts))
        found.append((claim.id, claim.reading, *place, *numbers, said.nets, said.n, said.word, *texts))
    return pd.DataFrame(found, columns=COLUMNS)
