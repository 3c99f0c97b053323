"""Which of our numbers one clause of a statement speaks of."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from touchstone.cell import ThreatSpec, distinct_radii, same_radius
from touchstone.findings.cells import UNDER_THREAT, Index, at
from touchstone.findings.evidence import Caps, Cut, Trial, Worst, behind
from touchstone.findings.intervals import standard_error
from touchstone.findings.statements.comparisons import Drawn, Seeds, sampling
from touchstone.findings.statements.measured import Samples, Trainings
from touchstone.study.claim import Claim, Place
from touchstone.study.statements import Clause, Statement, Subject


class Spot(NamedTuple):
    """Where accuracies are compared: under a published attack, or in the worst case of its threat.

    Attributes:
        name: of the attack, or of the worst case and where it differs from pixels in a box.
        epsilon: in the threat's own space; None for an attack without a budget.
        metric: of our numbers there.
    """

    dataset: str
    name: str
    epsilon: float | None
    metric: str

    def __str__(self) -> str:
        return f"{self.dataset} {self.name}" + ("" if self.epsilon is None else f" {self.epsilon:g}")


class Nets(NamedTuple):
    """What is compared: models on a dataset, which may be the same."""

    dataset: str
    model: str
    other: str


class Net(NamedTuple):
    """All seeds of a model."""

    dataset: str
    model: str
    defense: str

    def __str__(self) -> str:
        return " ".join(self)


class Pair(NamedTuple):
    """Two sides of a comparison: the seeds of each, and what to call the place."""

    label: str
    left: Seeds
    right: Seeds


@dataclass(frozen=True)
class Scope:
    """The numbers that one clause speaks of, under the published attacks or in the worst case.

    Attributes:
        claims: all claims of the study with a cell.
        statement: whose tables and datasets count.
        clause: whose attacks and nets count, where it names some.
        numbers: ours.
        worst: what tests an attack in the worst case; None: the published attacks are asked.
        samples: what was measured of every sample.
        trainings: how the nets were trained.
        caps: what was cut short, and how many samples there are.
    """

    claims: Sequence[Claim]
    statement: Statement
    clause: Clause
    numbers: Index
    worst: Worst | None = None
    samples: Samples = field(default_factory=Samples)
    trainings: Trainings = field(default_factory=Trainings)
    caps: Mapping[Cut, Caps] = field(default_factory=dict)

    @cached_property
    def evidence(self) -> list[Claim]:
        """The claims in the statement's tables, or all where none is there, as far as datasets and clause go."""
        here = [one for one in self.claims if one.table in self.statement.tables] or list(self.claims)
        return [one for one in here if self._meant(one)]

    def _meant(self, claim: Claim) -> bool:
        dataset, model, defense, attack, _ = claim.place
        return (
            dataset in (self.statement.datasets or (dataset,))
            and attack in (self.clause.under or (attack,))
            and self.speaks_of(Net(dataset, model, defense))
        )

    def speaks_of(self, net: Net) -> bool:
        """Return whether the clause is about a net."""
        on = [Subject.of(word) for word in self.clause.on]
        return not on or any(one.defense == net.defense and one.model in ("", net.model) for one in on)

    @property
    def places(self) -> list[Cut]:
        """Where the evidence was measured; in the worst case its attacks give way to that."""
        found = [(*one.place[:3], self._slug(one)) for one in self.evidence]
        return list(dict.fromkeys(found))

    def _slug(self, claim: Claim) -> str:
        """Return the attack that is asked where a claim has its own."""
        trial = self.worst.get((claim.place.dataset, claim.place.attack)) if self.worst and claim.robust else None
        return (trial.judge(claim.epsilon) if isinstance(trial, Trial) else None) or claim.place.attack

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that it speaks of."""
        return self.statement.datasets or tuple(dict.fromkeys(one.place.dataset for one in self.evidence))

    def seeds(self, place: Place, epsilon: float | None = None) -> Seeds:
        """Return our numbers at a place, by seed; a worst case that lacks an attack is no number."""
        found = at(self.numbers, place, math.nan if epsilon is None else epsilon)
        good = [cell for cell in found if cell.status == "ok" and not math.isnan(cell.value)]
        seeds = {cell.seed: cell.value for cell in good}
        if not good:
            return seeds
        population = self.caps.get(place[:4], Caps()).population
        margins = behind(place.metric, good, population).margins(sum(seeds.values()) / len(seeds))
        return Drawn(seeds, standard_error(margins))

    # ---- nets against nets, under attack

    def spot(self, claim: Claim) -> Spot | str:
        """Return where an accuracy under attack is looked at, or why nowhere."""
        dataset, _, _, attack, _ = claim.place
        epsilon = None if math.isnan(claim.epsilon) else claim.epsilon
        if self.worst is None:
            return Spot(dataset, attack, epsilon, "accuracy")
        trial = self.worst.get((dataset, attack), "no worst case is defined for it")
        if isinstance(trial, str):
            return f"{attack}: {trial}"
        slug = None if epsilon is None else trial.judge(epsilon)
        if slug is None or epsilon is None:
            return f"{attack}: no worst case is defined at {'no radius' if epsilon is None else epsilon}"
        return Spot(dataset, _called(slug, trial.threat), _as_others(epsilon, trial, self.worst), UNDER_THREAT)

    @property
    def left_out(self) -> list[str]:
        """Say of which attacks the clause cannot be asked, and why."""
        spots = [self.spot(claim) for claim in self.evidence if claim.robust]
        return list(dict.fromkeys(spot for spot in spots if isinstance(spot, str)))

    @cached_property
    def spots(self) -> dict[Spot, list[Claim]]:
        """The spots of the clause, with the accuracies that are printed there."""
        found: dict[Spot, list[Claim]] = defaultdict(list)
        for claim in self.evidence:
            spot = self.spot(claim) if claim.robust else ""
            if isinstance(spot, Spot):
                found[spot].append(claim)
        return found

    def there(self, spot: Spot, *nets: tuple[str, str]) -> list[Seeds]:
        """Return our numbers of some nets (model, defense) at a spot, by seed.

        In the worst case one attack stands for all under its threat: the first with numbers of every net.
        """
        return self._first(spot, (claim.place.attack for claim in self.spots[spot]), nets)

    def _first(self, spot: Spot, attacks: Iterable[str], nets: Sequence[tuple[str, str]]) -> list[Seeds]:
        """Return the numbers of the nets under the first attack that has one of each, or under the first of all."""
        found = [
            [self.seeds(Place(spot.dataset, *net, attack, spot.metric), spot.epsilon) for net in nets]
            for attack in dict.fromkeys(attacks)
        ]
        return next((numbers for numbers in found if all(numbers)), found[0])

    def pairs(self, left: str, right: str) -> dict[Nets, dict[Spot, Pair]]:
        """Return where the evidence prints an accuracy under attack of both defenses, or of one and we have the other.

        Two nets that are named whole are compared wherever one of them is printed.

        Args:
            left: word for a defense, on the model of the other one unless it names its own.
            right: word for the other.
        """
        found: dict[Nets, dict[Spot, Pair]] = defaultdict(dict)
        for spot, claims in self.spots.items():
            printed = {(claim.place.model, claim.place.defense) for claim in claims}
            ours = {net for claim in claims for net in self._measured_at(claim.place, spot)}
            named = [(one.model, one.defense) for one in map(Subject.of, (left, right))]
            whole = {*named} if all(model for model, _ in named) else set()
            for first, second in _models(left, right, printed | ours | whole):
                sides = (first, Subject.of(left).defense), (second, Subject.of(right).defense)
                if printed & {*sides}:
                    pair = Pair(f"{spot} {first}, {left} over {right}", *self.there(spot, *sides))
                    found[Nets(spot.dataset, first, second)][spot] = pair
        return found

    def _measured_at(self, place: Place, spot: Spot) -> list[tuple[str, str]]:
        """Return the nets of which we have a number where a claim has one."""
        nets = self._measured.get((place.dataset, place.attack, spot.metric), [])
        return [net for net in nets if self.seeds(Place(spot.dataset, *net, place.attack, spot.metric), spot.epsilon)]

    @cached_property
    def _measured(self) -> dict[tuple[str, str, str], list[tuple[str, str]]]:
        found: dict[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
        for dataset, model, defense, attack, metric in self.numbers:
            found[dataset, attack, metric].append((model, defense))
        return found

    def distances(self, metric: str, better: str, worse: str) -> Iterator[Pair]:
        """Yield two defenses wherever a claim has this metric of the better one; the other one needs no claim.

        Where no claim has it of the better one either, claims of its model or of any say where. In the worst case it is
        the accuracy at each radius of the threats of these claims' attacks.
        """
        ours, other = Subject.of(better), Subject.of(worse)
        named = [
            one.place for one in self.evidence if one.place.metric == metric and ours.model in ("", one.place.model)
        ]
        attacks: dict[tuple[Spot, str], list[str]] = defaultdict(list)
        for place in [one for one in named if one.defense == ours.defense] or named:
            for spot in self._distance_spots(place.dataset, place.attack, metric):
                attacks[spot, place.model].append(place.attack)
        for (spot, model), its in attacks.items():
            nets = [(model, ours.defense), (other.model or model, other.defense)]
            yield Pair(f"{spot} {model}, {better} over {worse}", *self._first(spot, its, nets))

    def _distance_spots(self, dataset: str, attack: str, metric: str) -> list[Spot]:
        if self.worst is None:
            return [Spot(dataset, attack, None, metric)]
        trial = self.worst.get((dataset, attack), "")
        if isinstance(trial, str):  # another attack under the threat has one, or none has
            return []
        return [
            Spot(dataset, _called(slug, trial.threat), _as_others(radius, trial, self.worst), UNDER_THREAT)
            for radius, (slug, _) in trial.judges.items()
        ]

    # ---- nets against nets, without an attack

    def lines(self, *words: str) -> Iterator[tuple[Net, ...]]:
        """Yield a net for each word, on every dataset where claims or numbers know them; models as `on_models`."""
        known: dict[str, dict[str, set[str]]] = {name: defaultdict(set) for name in self.datasets}
        for place in [one.place for one in self.claims] + list(self.numbers):
            if place.dataset in known:
                known[place.dataset][place.model].add(place.defense)
        enough = any if all(Subject.of(word).model for word in words) else all  # a net that is named whole is meant
        for dataset, models in known.items():
            for nets in on_models(words, models):
                if enough(defense in models.get(model, ()) for model, defense in nets):
                    yield tuple(Net(dataset, *net) for net in nets)

    def clean(self, net: Net, metric: str) -> Seeds:
        """Return a number that no attack made, by seed."""
        return self.seeds(Place(*net, "clean", metric))

    # ---- attacks against attacks

    def claimed(self, attacks: Iterable[str] = ()) -> list[Net]:
        """Return the nets that the evidence speaks of, under some attacks or any.

        Nets that the clause names need no claim: all of which we have numbers are meant.
        """
        places = [one.place for one in self.evidence]
        if self.clause.on:
            places += [one for one in self.numbers if one.dataset in self.datasets and self.speaks_of(Net(*one[:3]))]
        some = set(attacks)
        return list(dict.fromkeys(Net(*place[:3]) for place in places if not some or place.attack in some))

    def radii(self, net: Net, attack: str, metric: str = "accuracy") -> list[float]:
        """Return where a net's number under an attack is printed or measured, upwards; nan is no radius."""
        place = Place(*net, attack, metric)
        found = [radius for radius, _ in self.numbers.get(place, [])]
        found += [one.epsilon for one in self.claims if one.place[:4] == place[:4] and one.robust]
        return list(distinct_radii(radius for radius in found if not math.isnan(radius))) or [math.nan] * bool(found)

    def rivals(self, net: Net, attack: str, other: str) -> Iterator[Pair]:
        """Yield the accuracies of a net under two attacks at every radius of both; where each has one, at these."""
        first, second = self.radii(net, attack), self.radii(net, other)
        shared = [(one, one) for one in first if any(same_radius(one, two) for two in second)]
        alone = [(first[0], second[0])] if len(first) == len(second) == 1 else []
        for one, two in shared or alone:
            label = f"{net}{'' if math.isnan(one) else f' {one:g}'}, {attack} and {other}"
            sides = [
                self.seeds(Place(*net, name, "accuracy"), radius) for name, radius in ((attack, one), (other, two))
            ]
            yield Pair(label, *sides)


def _called(slug: str, threat: ThreatSpec) -> str:
    """Name a worst case, and where its threat differs from pixels in a box."""
    space = "" if threat.space == "pixel" else threat.space
    return " ".join(filter(None, (slug, space, "without a box" if threat.bounds == "none" else "")))


def _as_others(epsilon: float, trial: Trial, worst: Worst) -> float:
    """Write a radius as the attacks under the same threat do."""
    same = [one for one in worst.values() if isinstance(one, Trial) and one.space == trial.space]
    radii = distinct_radii(radius for one in same for radius in one.judges)
    return next(radius for radius in radii if same_radius(radius, epsilon))


def _models(left: str, right: str, nets: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Return the models of two defenses that are compared among (model, defense)."""
    ours, other = Subject.of(left), Subject.of(right)
    named = (ours.model or other.model, other.model or ours.model)
    for first in sorted(model for model, defense in nets if defense == ours.defense):
        for second in sorted(model for model, defense in nets if defense == other.defense):
            if (first, second) == named or (not any(named) and first == second):
                yield first, second


def on_models(words: Iterable[str], models: Iterable[str]) -> Iterator[list[tuple[str, str]]]:
    """Yield (model, defense) for each word: of words without a model on the one that others name, or on each of all."""
    subjects = [Subject.of(word) for word in words]
    named = {one.model for one in subjects} - {""}
    for free in sorted(named if len(named) == 1 else models if "" in {one.model for one in subjects} else {""}):
        yield [(one.model or free, one.defense) for one in subjects]


def means(pairs: Iterable[Pair]) -> tuple[Seeds, Seeds]:
    """Return the means of both sides over several places, seed by seed."""
    sides = list(pairs)
    return mean([pair.left for pair in sides]), mean([pair.right for pair in sides])


def mean(numbers: Sequence[Seeds]) -> Seeds:
    """Return the mean of several numbers seed by seed, of the seeds that all of them have.

    They may be of the same samples, and err together: so much at most their mean does.
    """
    seeds = set(numbers[0]).intersection(*numbers) if numbers else set()
    means = {seed: sum(number[seed] for number in numbers) / len(numbers) for seed in sorted(seeds)}
    return Drawn(means, sum(map(sampling, numbers)) / len(numbers)) if means else means


def minus(left: Seeds, right: Seeds) -> Seeds:
    """Return the difference of two numbers seed by seed, of the seeds that both have.

    It errs as if they were of different samples: of the same ones it varies less than that.
    """
    apart = {seed: left[seed] - right[seed] for seed in sorted(left.keys() & right.keys())}
    return Drawn(apart, math.hypot(sampling(left), sampling(right)))
