"""What statements read besides cells: numbers of every sample under an attack, and how nets were trained."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import pandas as pd

from touchstone.cell import ModelId, same_radius
from touchstone.findings import metrics, paired
from touchstone.findings.cells import at_radii
from touchstone.findings.evidence import Caps, Cut
from touchstone.findings.intervals import remainder
from touchstone.findings.statements.comparisons import Sampled, Seeds
from touchstone.records import Attacked, Batch
from touchstone.runs import Run

Values: TypeAlias = "pd.Series[float]"


# ---- of every sample

LEFT, REACHED, DISTANCE = "left", "reached", "distance"  # as `paired.OF_SAMPLE` has them
DISTANCE_VALUES = "distance_values"  # an l0 distance, counted in values
GRADIENTS = "gradients"  # that an attack took, over all radii and restarts that its records hold
NEW_RANK = "new_rank"  # of the class that a sample falls into at the first radius that breaks it, 1 the likeliest at x


class What(NamedTuple):
    """A number that every sample has: under which attack, one of the names above, and at which radius (nan: none)."""

    attack: str
    name: str
    epsilon: float = math.nan


@dataclass(frozen=True)
class Samples:
    """Numbers of every sample.

    Attributes:
        of: model -> what -> value by sample.
        caps: how many samples there are.
    """

    of: Mapping[ModelId, Mapping[What, Values]] = field(default_factory=dict)
    caps: Mapping[Cut, Caps] = field(default_factory=dict)

    def radii(self, net: tuple[str, str, str], attack: str, name: str) -> list[float]:
        """Return where a number of a net is known, upwards."""
        known = {what for model, held in self.of.items() if model[1:4] == net for what in held}
        return sorted(what.epsilon for what in known if (what.attack, what.name) == (attack, name))

    def get(self, net: tuple[str, str, str], what: What) -> dict[int, Values]:
        """Return the values of every seed that has them."""
        return {
            model.seed: values
            for model, known in self.of.items()
            if model[1:4] == net
            for key, values in known.items()
            if key[:2] == what[:2] and same_radius(key.epsilon, what.epsilon)
        }

    def one(self, net: tuple[str, str, str], what: What) -> Sampled:
        """Return a number of a net."""
        return Sampled(self.get(net, what), self._part(net, what.attack))

    def apart(self, net: tuple[str, str, str], left: What, right: What, times: float = 1.0) -> Sampled:
        """Return the difference of two numbers, the first so many times, sample by sample that has both."""
        first, second = self.get(net, left), self.get(net, right)
        apart = {seed: (times * first[seed] - second[seed]).dropna() for seed in first.keys() & second.keys()}
        return Sampled(apart, max(self._part(net, what.attack) for what in (left, right)))

    def _part(self, net: tuple[str, str, str], attack: str) -> float:
        """Return which part of the samples' error is left of those that an attack met."""
        population = self.caps.get((*net, attack), Caps()).population
        held = [known for model, known in self.of.items() if model[1:4] == net]
        met = max((len(values) for known in held for what, values in known.items() if what.attack == attack), default=0)
        return remainder(met, population)


def of_samples(batch: Batch, attacks: Collection[str]) -> dict[ModelId, dict[What, Values]]:
    """Measure every sample under some of the attacks on one model; those that failed have no number."""
    found: dict[ModelId, dict[What, Values]] = defaultdict(dict)
    for one in batch.attacks:
        header = one.header
        if header.attack in attacks and header.protocol == "published" and header.status == "ok":
            found[header.model] |= dict(_numbers(one))
    return found


def _numbers(attacked: Attacked) -> Iterator[tuple[What, Values]]:
    header, frame = attacked
    rows, slug = at_radii(attacked), header.attack
    yield What(slug, GRADIENTS), frame["backwards"].groupby(frame["sample"]).sum().astype(float)
    for _, here in rows.groupby("epsilon", dropna=False):
        yield What(slug, LEFT, here["epsilon"].iloc[0]), paired.OF_SAMPLE[LEFT](here, header.norm)
    if header.kind == "fixed":
        yield from ((What(slug, NEW_RANK, epsilon), ranks) for epsilon, ranks in _new_ranks(frame))
        return
    free = rows[rows["epsilon"].isna()]
    norms = {REACHED: header.norm, DISTANCE: header.norm}
    if header.norm == "l0":
        norms[DISTANCE_VALUES] = metrics.VALUES
    for name, norm in norms.items():
        yield What(slug, name), paired.OF_SAMPLE[REACHED if name == REACHED else DISTANCE](free, norm)


def _new_ranks(frame: pd.DataFrame) -> Iterator[tuple[float, Values]]:
    """Yield per radius the ranks of the classes of samples that it breaks and no smaller one did (Li et al., fig. 2).

    A sample that was misclassified at x is none of them.
    """
    broken = frame[frame["success"] & (frame["clean_pred"] == frame["label"])]
    first = broken.sort_values("epsilon", kind="stable").drop_duplicates("sample").set_index("sample")
    for epsilon in sorted(frame["epsilon"].unique()):
        yield float(epsilon), first["adv_rank"][first["epsilon"] == epsilon].astype(float)


# ---- of trainings


class Training(NamedTuple):
    """One training: what was trained, whether it ended with weights, and a row per epoch."""

    model: ModelId
    failed: bool
    history: pd.DataFrame

    @classmethod
    def of(cls, run: Run) -> "Training":
        """Read the history of a run; raises DamagedError if it is not as the training left it."""
        return cls(run.model, run.status == "failed", run.history())


@dataclass(frozen=True)
class Trainings:
    """The trainings of a study."""

    all: tuple[Training, ...] = ()

    @classmethod
    def of(cls, runs: Iterable[Run]) -> "Trainings":
        """Read their histories."""
        return cls(tuple(Training.of(run) for run in runs))

    def nets(self) -> list[tuple[str, str, str]]:
        """Return the (dataset, model, defense) that were trained."""
        return list(dict.fromkeys(one.model[1:4] for one in self.all))

    def get(self, net: tuple[str, str, str]) -> list[Training]:
        """Return the trainings of a net."""
        return [one for one in self.all if one.model[1:4] == net]

    def seeds(self, net: tuple[str, str, str], statistic: str) -> Seeds:
        """Return a number of STATISTICS by seed; a training that failed, or has no such column, has none."""
        ended = [one for one in self.get(net) if not one.failed and len(one.history)]
        found = {one.model.seed: STATISTICS[statistic](one.history) for one in ended}
        return {seed: value for seed, value in found.items() if not math.isnan(value)}


TAIL = 0.25  # share of the epochs that is the end of a training
SETTLED = 0.9  # share of its way down after which a loss has converged


def seconds_per_epoch(history: pd.DataFrame) -> float:
    """Return the mean time that an epoch took."""
    return float(history["seconds"].iloc[-1]) / len(history)


def settling_epoch(history: pd.DataFrame) -> float:
    """Return the first epoch at which the loss has made SETTLED of its way from the first epoch's to its smallest.

    Losses of two objectives have no level in common, so that no fixed one is asked for.
    """
    loss = history["loss"].astype(float)
    level = loss.iloc[0] - SETTLED * (loss.iloc[0] - loss.min())
    return float(history["epoch"].iloc[int((loss <= level).to_numpy().argmax())])


def late_spread(history: pd.DataFrame) -> float:
    """Return the deviation of the loss over the last TAIL of the epochs, as a share of its whole way down."""
    loss = history["loss"].astype(float)
    end = loss.iloc[-max(2, round(TAIL * len(loss))) :]
    way = float(loss.iloc[0] - loss.min())
    return float(end.std(ddof=1)) / way if way > 0 and len(end) > 1 else math.nan


def validation_accuracy(history: pd.DataFrame) -> float:
    """Return the last accuracy on the rows that were held out; nan where none were."""
    return float(history["validation_accuracy"].iloc[-1]) if "validation_accuracy" in history else math.nan


STATISTICS: Mapping[str, Callable[[pd.DataFrame], float]] = {
    "seconds_per_epoch": seconds_per_epoch,
    "settling_epoch": settling_epoch,
    "late_spread": late_spread,
    "validation_accuracy": validation_accuracy,
}
