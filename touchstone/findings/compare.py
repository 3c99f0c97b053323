"""Two runs beside each other: every pair of equal cells sample by sample, and what changed in verdicts.

A test says of one pair of nets whether they fare differently on samples like these. It says nothing of nets that
are trained again: that is what verdicts over seeds are for.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress
from operator import not_
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from touchstone.cell import ModelId, radius_index
from touchstone.findings import metrics
from touchstone.findings.cells import Together, at_radii, without_budget
from touchstone.findings.results import LoadedRun
from touchstone.findings.vocabulary import STANDS, STATEMENTS, VERDICTS, known
from touchstone.records import TOLERANCE, Attacked, Batch
from touchstone.study.scale import LEVEL

Values: TypeAlias = "pd.Series[float]"
ACCURACY, DISTANCE = "accuracy", "distance"
OWN = "own"  # in place of the studies of two nets that somebody asked about
# column of a statement, and of a claim -> the words that stand there, none for a number
STATED: dict[str, Collection[str]] = {"verdict": STATEMENTS, "worst_verdict": STATEMENTS}
CLAIMED: dict[str, Collection[str]] = {"verdict": VERDICTS, "stands": STANDS, "ours": ()}


class What(NamedTuple):
    """What is compared, but for the radius: one attack on one model, in the data that were used."""

    model: ModelId
    data: str
    attack: str
    space: str
    norm: str
    measure: str  # ACCURACY: 1 where a sample is left right, else 0; DISTANCE: how far the nearest break is, or inf


class Measured(NamedTuple):
    """A number per sample, at a radius (nan: none), and the sha256 of the data it was measured on ("": not known)."""

    what: What
    epsilon: float
    values: Values
    data_sha256: str


# ---- what was measured


def measured(batch: Batch) -> Iterator[Measured]:
    """Return what the attacks on one model give per sample; of one that failed nothing.

    A worst case is that of `touchstone.findings.cells`: over the union with every attack whose points are images. The
    distances of a minimal-norm attack are those of samples that are right, and inf where it found nothing.
    """
    together = Together(batch)
    for one in batch.attacks:
        header = one.header
        if header.status == "failed":
            continue
        space, data = header.threat.space if header.threat else "", header.stand_in or header.model.dataset
        sha256 = str(header.made.get("dataset_sha256", ""))
        for measure, epsilon, values in _worst(one, together) if header.protocol == "worst" else _published(one):
            what = What(header.model, data, header.attack, space, header.norm, measure)
            yield Measured(what, epsilon, values, sha256)


def _published(attacked: Attacked) -> Iterator[tuple[str, float, Values]]:
    header, frame = attacked
    rows = at_radii(attacked)
    broken = rows["clean_pred"] != rows["label"] if header.kind == "none" else rows["success"]
    for epsilon, here in broken.groupby(rows["epsilon"], dropna=False):
        yield ACCURACY, float(epsilon), _left(here, rows["sample"])
    if header.kind == "minimal" and header.threat:
        alone = without_budget(frame)
        yield DISTANCE, float("nan"), metrics.distances(alone, header.norm)[metrics.correct(alone)]


def _worst(attacked: Attacked, together: Together) -> Iterator[tuple[str, float, Values]]:
    header = attacked.header
    nearest = together.nearest(header, header.norm)
    for epsilon in header.threat.epsilons if header.threat else ():
        yield ACCURACY, epsilon, (nearest > epsilon + TOLERANCE).astype(float)


def _left(broken: "pd.Series[bool]", sample: "pd.Series[int]") -> Values:
    left: Values = (~broken).groupby(sample).all().astype(float)
    return left


# ---- tests on pairs


def mcnemar(one: Values, other: Values) -> float:
    """Return the two-sided p of McNemar's test (1947), exact: that a sample which one alone has may be either's.

    Args:
        one: per sample 0 or 1.
        other: on the same samples.
    """
    more, less = int((one > other).sum()), int((one < other).sum())
    return float(stats.binomtest(more, more + less).pvalue) if more + less else 1.0


def signed_rank(one: Values, other: Values) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test (1945) on distances, which are paired by their sample.

    A sample that only one attack breaks differs by more than any other: the largest rank. What differs by no more than
    the judge's tolerance, or is broken by neither, is left out as a tie, as Wilcoxon did.

    Args:
        one: distances, inf where none was found.
        other: on the same samples.
    """
    apart = _apart(one, other)
    apart = apart[apart != 0.0]
    return float(stats.wilcoxon(apart).pvalue) if len(apart) else 1.0


def _apart(one: Values, other: Values) -> NDArray[np.float64]:
    """Return one minus other, 0 where both are infinite or no more than the judge's tolerance apart."""
    first, second = one.to_numpy(dtype=float), other.to_numpy(dtype=float)
    apart = np.subtract(first, second, out=np.zeros(len(first)), where=first != second)  # inf - inf would be nan
    return np.where(np.abs(apart) <= TOLERANCE, 0.0, apart)


class Test(NamedTuple):
    """How a measure is compared: name of the test, its p, and what a cell shows of its values."""

    name: str
    p: Callable[[Values, Values], float]
    middle: Callable[[Values], float]


TESTS: Mapping[str, Test] = {
    ACCURACY: Test("McNemar, exact", mcnemar, lambda values: float(values.mean())),
    DISTANCE: Test("Wilcoxon, signed rank", signed_rank, lambda values: float(values.median())),
}


# ---- two runs


class Pair(NamedTuple):
    """A cell of both runs.

    Attributes:
        data: the dataset in use.
        measure: accuracy, a share of samples, or distance, of which the median is shown (failures as inf).
        n: samples that both runs met; for a distance, those that are right in both.
        alone: samples of one of the runs alone: the other did not meet them or, for a distance, has them wrong.
        one: the number of the first run over those n.
        other: that of the second.
        more: samples whose value is larger in the first run.
        less: samples whose value is smaller there.
        p: of `test`.
        q: Benjamini and Hochberg's (1995) false discovery rate over all pairs: below which it would be a discovery.
        differs: whether q is at most LEVEL.
    """

    study: str
    dataset: str
    data: str
    model: str
    defense: str
    seed: int
    attack: str
    space: str
    norm: str
    epsilon: float
    measure: str
    n: int
    alone: int
    one: float
    other: float
    more: int
    less: int
    test: str
    p: float
    q: float = float("nan")
    differs: bool = False


class Change(NamedTuple):
    """A word or number of a claim or statement that the runs do not share; "" where one of them has not the row."""

    study: str
    kind: str
    id: str
    reading: str
    what: str
    one: str
    other: str


@dataclass(frozen=True)
class Comparison:
    """Two runs beside each other.

    Attributes:
        pairs: cells of both.
        only_one: cells that the first run alone has, in words.
        only_other: those of the second.
        unlike: cells of both that were measured on other data of one name.
        disjoint: cells of both that have no common sample.
        changes: in claims and statements.
    """

    pairs: tuple[Pair, ...]
    only_one: tuple[str, ...]
    only_other: tuple[str, ...]
    unlike: tuple[str, ...]
    disjoint: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()

    @property
    def cells(self) -> pd.DataFrame:
        """The pairs as a table."""
        return pd.DataFrame(self.pairs, columns=Pair._fields)

    @property
    def words(self) -> pd.DataFrame:
        """The changes as a table."""
        return pd.DataFrame(self.changes, columns=Change._fields)

    @property
    def differing(self) -> list[Pair]:
        """The pairs that differ, the clearest first."""
        return sorted((pair for pair in self.pairs if pair.differs), key=lambda pair: pair.p)

    @property
    def verdict(self) -> str:
        """What it comes to, in a sentence."""
        k, moved = len(self.differing), sum(bool(pair.more or pair.less) for pair in self.pairs)
        n, rate = len(self.pairs), f"at a false discovery rate of {100 * LEVEL:g} %"
        if not n:
            return f"nothing to compare: the runs share no {'sample' if self.unlike or self.disjoint else 'cell'}"
        if k:
            return f"{k:,} of {count(n)} differ{'s' if k == 1 else ''}, {rate}{self._samples}"
        if moved:
            return f"no difference in {count(n)} {rate}; samples differ in {moved:,}{self._samples}"
        return f"no difference: {count(n)} {'is' if n == 1 else 'are'} equal, sample by sample{self._samples}"

    @property
    def _samples(self) -> str:
        """On how many samples, where not all are common; a distance leaves out those that are wrong besides."""
        met = [pair for pair in self.pairs if pair.measure == ACCURACY]
        if not any(pair.alone for pair in met):
            return ""
        common, alone = _range([pair.n for pair in met]), _range([pair.alone for pair in met])
        return f"; cells have {common} common samples, and {alone} that one run alone met"


def count(cells: int) -> str:
    """Return "1 cell" or "2 cells"."""
    return f"{cells:,} cell{'' if cells == 1 else 's'}"


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def compare(one: LoadedRun, other: LoadedRun) -> Comparison:
    """Compare two runs; those of a single study without claims, as `touchstone evaluate` makes them, net by net.

    Raises:
        RunError: as `LoadedRun.batches` does.
        DamagedError: likewise.
    """
    found = compare_cells(one.batches(), other.batches(), _common(one, other))
    changes = (
        *_changes("claim", CLAIMED, one.claims, other.claims),
        *_changes("statement", STATED, *(run.statements.assign(reading="") for run in (one, other))),
    )
    return replace(found, changes=changes)


def _common(one: LoadedRun, other: LoadedRun) -> str:
    """Return what two studies are called where each asks about one net and no paper; "" where names tell."""
    asks = all(len(run.studies) == 1 and run.claims.empty for run in (one, other))
    return OWN if asks and one.studies != other.studies else ""


def compare_cells(one: Iterable[Batch], other: Iterable[Batch], study: str = "") -> Comparison:
    """Compare the attacks of two runs; nothing is said of claims.

    Args:
        one: of the first run.
        other: of the second.
        study: what the studies of both are called; "" for their names, so that other studies share no cell.
    """
    both, only_one, only_other = _matched(_by_what(one, study), _by_what(other, study))
    alike, unlike = _split(both, _same_data)
    joined, disjoint = _split(alike, _share_samples)
    return Comparison(
        pairs=_with_q([_pair(a, b) for a, b in joined]),
        only_one=tuple(map(label, only_one)),
        only_other=tuple(map(label, only_other)),
        unlike=tuple(label(a) for a, _ in unlike),
        disjoint=tuple(label(a) for a, _ in disjoint),
    )


Both: TypeAlias = list[tuple[Measured, Measured]]


def _split(both: Both, test: Callable[[Measured, Measured], bool]) -> tuple[Both, Both]:
    """Return the cells of both runs that pass a test, and those that do not."""
    passed = [test(one, other) for one, other in both]
    return list(compress(both, passed)), list(compress(both, map(not_, passed)))


def _same_data(one: Measured, other: Measured) -> bool:
    """Say whether two cells are of the same images, as far as records know what they were made from."""
    return one.data_sha256 == other.data_sha256 or not (one.data_sha256 and other.data_sha256)


def _share_samples(one: Measured, other: Measured) -> bool:
    return not one.values.index.intersection(other.values.index).empty


def label(measured: Measured) -> str:
    """Name a cell for people."""
    what, epsilon = measured.what, "" if math.isnan(measured.epsilon) else f" at {measured.epsilon:g}"
    return f"{what.model.label} {what.attack} {what.measure}{epsilon} ({what.data})"


Found = Mapping[What, Sequence[Measured]]


def _by_what(batches: Iterable[Batch], study: str) -> Found:
    found = defaultdict[What, list[Measured]](list)
    for one in chain.from_iterable(map(measured, batches)):
        model = one.what.model
        what = one.what._replace(model=model._replace(study=study or model.study))
        found[what].append(one._replace(what=what))
    return found


def _matched(first: Found, second: Found) -> tuple[Both, list[Measured], list[Measured]]:
    """Return the cells of both runs, those of the first alone, and those of the second alone, each in order."""
    both, only_first, only_second = Both(), list[Measured](), list[Measured]()
    for what in sorted({*first, *second}):
        ones, others = first.get(what, ()), second.get(what, ())
        places = [radius_index((other.epsilon for other in others), one.epsilon) for one in ones]
        both += [(one, others[at]) for one, at in zip(ones, places, strict=True) if at is not None]
        only_first += [one for one, at in zip(ones, places, strict=True) if at is None]
        only_second += [other for at, other in enumerate(others) if at not in places]
    return both, only_first, only_second


def _pair(one: Measured, other: Measured) -> Pair:
    what, test = one.what, TESTS[one.what.measure]
    table = pd.concat({"one": one.values, "other": other.values}, axis=1)
    both = table.dropna()
    a, b = both["one"], both["other"]
    apart = _apart(a, b)
    about = (what.model.study, what.model.dataset, what.data, *what.model[2:], what.attack, what.space, what.norm)
    return Pair(
        *about,
        epsilon=one.epsilon,
        measure=what.measure,
        n=len(both),
        alone=len(table) - len(both),
        one=test.middle(a),
        other=test.middle(b),
        more=int((apart > 0.0).sum()),
        less=int((apart < 0.0).sum()),
        test=test.name,
        p=test.p(a, b),
    )


def _with_q(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    if not pairs:
        return ()
    rates = stats.false_discovery_control([pair.p for pair in pairs])
    return tuple(pair._replace(q=float(q), differs=bool(q <= LEVEL)) for pair, q in zip(pairs, rates, strict=True))


def _changes(kind: str, columns: Mapping[str, Collection[str]], *tables: pd.DataFrame) -> Iterator[Change]:
    """Yield what two tables do not share in some columns, each with its words; study, id and reading name a row."""
    first, second = (
        {(row["study"], row["id"], row["reading"]): row for row in table.to_dict("records")} for table in tables
    )
    for study, name, reading in sorted({*first, *second}):
        rows = [found.get((study, name, reading), {}) for found in (first, second)]
        for column, words in columns.items():
            a, b = (_text(row.get(column, "")) for row in rows)
            if a != b:
                for text in filter(None, (a, b) if words else ()):
                    known(text, words)
                yield Change(study, kind, name, reading, column, a, b)


def _text(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return "" if math.isnan(value) else f"{value:.6g}"
