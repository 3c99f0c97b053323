"""What a paper says in words, as tests of our numbers.

A statement rests on comparisons of means over trained nets. Each has Welch's one-sided 95 % bounds, on both sides, from
three seeds on. The statement holds if every bound is on its side, fails if one of them is on the other side after
Holm's correction (1979), and is undecided in between. It is asked of the published attacks and of the worst case.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from scipy import stats

from touchstone.cell import ThreatSpec, distinct_radii, same_radius
from touchstone.findings.cells import UNDER_THREAT, Index, at, derive, index
from touchstone.findings.evidence import SEPARATOR, Trial, Worst
from touchstone.findings.vocabulary import STATEMENTS, known
from touchstone.study.claim import Claim, Place
from touchstone.study.claims import HEADLINE
from touchstone.study.scale import LEAST_SEEDS, LEVEL, LITTLE, METRICS, SLACK, SLIGHT
from touchstone.study.statements import SEE, Question, Statement, Subject

REPLY = ("verdict", "right", "compared", "why")  # the columns of a verdict
WORST_CASE = "worst_"  # before them where it is the one in the worst case
COLUMNS = ["id", "claim", "test", *REPLY, *(WORST_CASE + name for name in REPLY), "published_numbers_agree"]

Seeds: TypeAlias = Mapping[int, float]  # a number per seed
State: TypeAlias = Literal["right", "reversed", "open", "no number"]


# ---- comparisons


class Mean(NamedTuple):
    """A mean over seeds, the variance of the mean and its degrees of freedom."""

    value: float
    variance: float
    freedom: float

    @classmethod
    def of(cls, number: Seeds | float) -> "Mean":
        """Take the mean over seeds (nan without any, variance nan below LEAST_SEEDS); a constant has no variance."""
        if isinstance(number, int | float):
            return cls(float(number), 0.0, math.inf)
        values, n = np.array(list(number.values())), len(number)
        if n < LEAST_SEEDS:
            return cls(float(values.mean()) if n else math.nan, math.nan, math.nan)
        return cls(float(values.mean()), float(values.var(ddof=1)) / n, n - 1)


@dataclass(frozen=True)
class Comparison:
    """`left` is above `right` by more than `margin`, or by as much where `or_equal`.

    "Does not" and "the same" have a margin of minus the tolerance.
    """

    label: str
    left: Seeds | float
    right: Seeds | float
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
        left, right = Mean.of(self.left), Mean.of(self.right)
        beyond, variance = self.difference - self.margin, left.variance + right.variance
        if math.isnan(beyond) or math.isnan(variance):
            return math.nan, math.nan
        if variance <= SLACK**2:
            tie = abs(beyond) <= SLACK
            return (float(not (self.or_equal if tie else beyond > 0)), float(tie or beyond > 0))
        shares = (m.variance**2 / m.freedom for m in (left, right) if m.variance)
        freedom, t = variance**2 / sum(shares), beyond / math.sqrt(variance)
        return float(stats.t.sf(t, freedom)), float(stats.t.cdf(t, freedom))

    def __str__(self) -> str:
        left, right = Mean.of(self.left).value, Mean.of(self.right).value
        above, below = self.tails()
        counts = [len(side) for side in (self.left, self.right) if not isinstance(side, int | float)]
        said = f"p {min(above, below):.2g}" if not math.isnan(above) else f"{min(counts)} of {LEAST_SEEDS} seeds"
        sign, margin = "≥" if self.or_equal else ">", f" {self.margin:+.2g}" if self.margin else ""
        return f"{self.label}: {left:.4g} {sign} {right:.4g}{margin} ({said})"


@dataclass(frozen=True)
class Most:
    """More than half of some groups of comparisons are right."""

    label: str
    groups: tuple[tuple[Comparison, ...], ...]


Check: TypeAlias = Comparison | Most


@dataclass(frozen=True)
class Outcome:
    """What becomes of a statement.

    Attributes:
        word: of STATEMENTS.
        why: the comparisons that are not right, and what was left out; of "see", what a reader looks at.
        right: how many of its comparisons are on its side; None where it rests on none.
        compared: how many there are; None where it rests on none.
    """

    word: str
    why: tuple[str, ...] = ()
    right: int | None = None
    compared: int | None = None

    def __post_init__(self) -> None:
        known(self.word, STATEMENTS)

    @property
    def columns(self) -> tuple[str, int | None, int | None, str]:
        """Its REPLY."""
        return self.word, self.right, self.compared, SEPARATOR.join(self.why)


def conclude(checks: Sequence[Check], left_out: Iterable[str] = ()) -> Outcome:
    """Return what becomes of a statement that rests on these; `left_out` is what it could not be asked of."""
    if not checks:
        return Outcome("not run", ("no two of its numbers are compared", *left_out))
    states = _states([one for check in checks for one in _comparisons(check)])
    found = [(check, _state(check, states)) for check in checks]
    why = []
    for state in ("reversed", "open", "no number"):
        those = [_text(check, states) for check, its in found if its == state]
        why += [f"{state}: {', '.join(those)}"] if those else []
    why += [f"left out: {text}" for text in left_out]
    seen, right = {state for _, state in found}, sum(state == "right" for _, state in found)
    return Outcome(_word(seen), tuple(why), right, len(found))


def _word(states: Collection[State]) -> str:
    """Return the word for what is among the states of a statement's comparisons."""
    if "reversed" in states:
        return "fails"
    if "no number" in states:
        return "not run"
    return "undecided" if "open" in states else "holds"


def _comparisons(check: Check) -> list[Comparison]:
    return [check] if isinstance(check, Comparison) else [one for group in check.groups for one in group]


def _states(comparisons: Sequence[Comparison]) -> dict[int, State]:
    """Judge each comparison (by its id): Holm's correction is over all that a statement rests on."""
    states: dict[int, State] = {}
    tails = {id(one): one.tails() for one in comparisons}
    for one in comparisons:
        above, _ = tails[id(one)]
        states[id(one)] = "no number" if math.isnan(one.difference) else "right" if above < LEVEL else "open"
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
    if 2 * won > len(check.groups):
        return "right"
    if 2 * lost >= len(check.groups):
        return "reversed"
    return "no number" if "no number" in {states[id(one)] for one in _comparisons(check)} else "open"


def _text(check: Check, states: Mapping[int, State]) -> str:
    if isinstance(check, Comparison):
        return check.label if states[id(check)] == "no number" else str(check)
    won, lost = _score(check, states)
    return f"{check.label}: surely under {won}, surely not under {lost} of {len(check.groups)}"


def _score(check: Most, states: Mapping[int, State]) -> tuple[int, int]:
    """Count the groups that are right, and those that are not for sure."""
    groups = [{states[id(one)] for one in group} for group in check.groups]
    return sum(group == {"right"} for group in groups), sum("reversed" in group for group in groups)


# ---- our numbers


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


class Net(NamedTuple):
    """What is compared: models on a dataset, which may be the same."""

    dataset: str
    model: str
    other: str


class Pair(NamedTuple):
    """Two defenses at a spot: the seeds of each, and what to call the place."""

    label: str
    left: Seeds
    right: Seeds


@dataclass(frozen=True)
class Scope:
    """The numbers that one statement speaks of, under the published attacks or in the worst case.

    Attributes:
        claims: all claims of the study with a cell.
        statement: whose tables and datasets count.
        numbers: ours.
        worst: what tests an attack in the worst case; None: the published attacks are asked.
    """

    claims: Sequence[Claim]
    statement: Statement
    numbers: Index
    worst: Worst | None = None

    @property
    def evidence(self) -> list[Claim]:
        """The claims in the statement's tables, on its datasets."""
        here = [one for one in self.claims if one.table in self.statement.tables]
        return [one for one in here if not self.statement.datasets or one.place.dataset in self.statement.datasets]

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that it speaks of."""
        return self.statement.datasets or tuple(dict.fromkeys(one.place.dataset for one in self.evidence))

    def seeds(self, place: Place, epsilon: float | None = None) -> Seeds:
        """Return our numbers at a place, by seed; a worst case that lacks an attack is no number."""
        found = at(self.numbers, place, math.nan if epsilon is None else epsilon)
        return {cell.seed: cell.value for cell in found if cell.status == "ok" and not math.isnan(cell.value)}

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
        """Say of which attacks the statement cannot be asked, and why."""
        spots = [self.spot(claim) for claim in self.evidence if claim.robust]
        return list(dict.fromkeys(spot for spot in spots if isinstance(spot, str)))

    @cached_property
    def spots(self) -> dict[Spot, list[Claim]]:
        """The spots of the statement, with the accuracies that are printed there."""
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

    def pairs(self, left: str, right: str) -> dict[Net, dict[Spot, Pair]]:
        """Return where one table prints an accuracy under attack of both defenses.

        Args:
            left: word for a defense, on the model of the other one unless it names its own.
            right: word for the other.
        """
        found: dict[Net, dict[Spot, Pair]] = defaultdict(dict)
        for spot, claims in self.spots.items():
            tables: dict[str, set[tuple[str, str]]] = defaultdict(set)
            for claim in claims:
                tables[claim.table].add((claim.place.model, claim.place.defense))
            for ours, other in dict.fromkeys(m for nets in tables.values() for m in _models(left, right, nets)):
                sides = self.there(spot, (ours, Subject.of(left).defense), (other, Subject.of(right).defense))
                found[Net(spot.dataset, ours, other)][spot] = Pair(f"{spot} {ours}, {left} over {right}", *sides)
        return found

    def distances(self, metric: str, better: str, worse: str) -> Iterator[Pair]:
        """Yield two defenses wherever a claim has this metric of the better one; the other one needs no claim.

        Where the statement's evidence is no table these are all claims on its datasets. In the worst case it is the
        accuracy at each radius of the threats of these claims' attacks.
        """
        ours, other = Subject.of(better), Subject.of(worse)
        claims = self.evidence or [one for one in self.claims if one.place.dataset in self.datasets]
        attacks: dict[tuple[Spot, str], list[str]] = defaultdict(list)
        for claim in claims:
            dataset, model, defense, attack, measured = claim.place
            if (measured, defense) == (metric, ours.defense) and ours.model in ("", model):
                for spot in self._distance_spots(dataset, attack, metric):
                    attacks[spot, model].append(attack)
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

    def nets(self, *words: str) -> list[tuple[str, str]]:
        """Return (dataset, model) of the statement's datasets where the claims speak of all these defenses."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for claim in self.claims:
            if claim.place.dataset in self.datasets:
                found[claim.place.dataset, claim.place.model].add(claim.place.defense)
        subjects = [Subject.of(word) for word in words]
        return [
            (dataset, model)
            for (dataset, model), defenses in found.items()
            if all(one.defense in defenses and one.model in ("", model) for one in subjects)
        ]

    def clean(self, dataset: str, model: str, word: str, metric: str) -> Seeds:
        """Return a number that no attack made, by seed."""
        return self.seeds(Place(dataset, model, Subject.of(word).defense, "clean", metric))


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
    """Return the models of two defenses that are compared among (model, defense) with a number in one table."""
    ours, other = Subject.of(left), Subject.of(right)
    named = (ours.model or other.model, other.model or ours.model)
    for first in sorted(model for model, defense in nets if defense == ours.defense):
        for second in sorted(model for model, defense in nets if defense == other.defense):
            if (first, second) == named or (not any(named) and first == second):
                yield first, second


def _means(pairs: Iterable[Pair]) -> tuple[Seeds, Seeds]:
    """Return the means of both sides over several places, seed by seed."""
    sides = list(pairs)
    return _mean([pair.left for pair in sides]), _mean([pair.right for pair in sides])


def _mean(numbers: Sequence[Seeds]) -> Seeds:
    """Return the mean of several numbers seed by seed, of the seeds that all of them have."""
    seeds = set(numbers[0]).intersection(*numbers)
    return {seed: sum(number[seed] for number in numbers) / len(numbers) for seed in sorted(seeds)}


# ---- tests: functions of (scope, *words)


def _above(scope: Scope, better: str, *worse: str) -> Iterator[Check]:
    """Accuracy of one defense is above that of each other, attack by attack."""
    for other in worse:
        for pairs in scope.pairs(better, other).values():
            yield from (Comparison(*pair) for pair in pairs.values())


def _not_above(scope: Scope, defense: str, *references: str) -> Iterator[Check]:
    """A defense does not improve on any other by more than the tolerance, attack by attack."""
    for reference in references:
        for pairs in scope.pairs(reference, defense).values():
            yield from (Comparison(*pair, margin=-_tolerance(pair.left), or_equal=True) for pair in pairs.values())


def _same(scope: Scope, defense: str, *references: str) -> Iterator[Check]:
    """A defense is as accurate as each other, within the tolerance, attack by attack."""
    for reference in references:
        for pairs in scope.pairs(defense, reference).values():
            for label, left, right in pairs.values():
                tau = _tolerance(right)
                yield Comparison(label, left, right, margin=-tau, or_equal=True)
                yield Comparison(f"{label} at most", right, left, margin=-tau, or_equal=True)


def _tolerance(reference: Seeds) -> float:
    """Return the tolerance of an accuracy."""
    return METRICS["accuracy"].tolerance(Mean.of(reference).value)


def _little_above(scope: Scope, defense: str, *references: str) -> Iterator[Check]:
    """A defense improves on each other under every attack, by at most LITTLE on average."""
    for reference in references:
        for (dataset, model, _), pairs in scope.pairs(defense, reference).items():
            yield from (Comparison(*pair) for pair in pairs.values())
            left, right = _means(pairs.values())
            label = f"{dataset} {model}, mean of {defense} over {reference} at most {LITTLE:g}"
            yield Comparison(label, right, left, margin=-LITTLE, or_equal=True)


def _mean_gain(scope: Scope, better: str, *worse: str) -> Iterator[Check]:
    """Averaged over the attacks a defense is above each other, on every dataset."""
    for other in worse:
        for (dataset, model, _), pairs in scope.pairs(better, other).items():
            left, right = _means(pairs.values())
            yield Comparison(f"{dataset} {model}, mean of {better} over {other}", left, right)


def _best_on_most(scope: Scope, best: str, *others: str) -> Iterator[Check]:
    """On each dataset and model a defense is above all others under more than half of the attacks."""
    groups: dict[tuple[str, str], dict[Spot, list[Comparison]]] = defaultdict(lambda: defaultdict(list))
    for other in others:
        for net, pairs in scope.pairs(best, other).items():
            for spot, pair in pairs.items():
                groups[net[:2]][spot].append(Comparison(*pair))
    for place, spots in groups.items():
        yield Most(" ".join(place), tuple(map(tuple, spots.values())))


def _more_robust(scope: Scope, metric: str, better: str, *worse: str) -> Iterator[Check]:
    """What breaks one defense lies farther away than what breaks each other."""
    for other in worse:
        yield from (Comparison(*pair) for pair in scope.distances(metric, better, other))


def _broken(scope: Scope, attack: str) -> Iterator[Check]:
    """Every defense with a claim has accuracy 0, within the tolerance of a claimed 0, under an attack."""
    zero = METRICS["accuracy"].tolerance(0.0)
    for claim in scope.evidence:
        spot = scope.spot(claim) if claim.robust and claim.place.attack == attack else ""
        if isinstance(spot, Spot):
            model, defense = claim.place.model, claim.place.defense
            (seeds,) = scope.there(spot, (model, defense))
            yield Comparison(f"{spot} {model} {defense} broken", zero, seeds, or_equal=True)


def _costs_clean(scope: Scope, defense: str, slight: str, clear: str) -> Iterator[Check]:
    """A defense lowers clean accuracy: by at most SLIGHT on one dataset, by more on another."""
    for dataset, model in scope.nets(defense):
        drop = scope.clean(dataset, model, defense, "clean_accuracy_drop_vs_std")
        where = f"{dataset} {model} drop"
        if dataset == slight:
            yield Comparison(where, drop, 0.0)
            yield Comparison(f"{where} at most", SLIGHT, drop, or_equal=True)
        if dataset == clear:
            yield Comparison(where, drop, SLIGHT)


def _decreasing(scope: Scope, metric: str, first: str, *others: str) -> Iterator[Check]:
    """A metric of weights falls along the defenses, on every dataset that the statement speaks of."""
    for dataset, model in scope.nets(first, *others):
        for more, less in pairwise([first, *others]):
            left, right = (scope.clean(dataset, model, name, metric) for name in (more, less))
            yield Comparison(f"{dataset} {model}, {more} over {less}", left, right)


def _near_zero(scope: Scope, defense: str, other: str) -> Iterator[Check]:
    """The ratio of near-zero weights is in the claimed interval (with its tolerance); another's is above 1."""
    metric = "near_zero_param_ratio_vs_std"
    for claim in scope.evidence:
        if claim.place.metric == metric and claim.place.defense == Subject.of(defense).defense:
            dataset, model = claim.place[:2]
            where, ours = f"{dataset} {model} {defense}", scope.clean(dataset, model, defense, metric)
            low, high = claim.measured
            tau = METRICS[metric].tolerance((low + high) / 2)
            yield Comparison(f"{where} at least", ours, low, margin=-tau, or_equal=True)
            yield Comparison(f"{where} at most", high, ours, margin=-tau, or_equal=True)
            yield Comparison(f"{dataset} {model} {other}", scope.clean(dataset, model, other, metric), 1.0)


class Method(NamedTuple):
    """How a statement is tested, and whether an attacker has a say in it."""

    checks: Callable[..., Iterator[Check]]
    attacked: bool = True


# what `touchstone.study.statements` names
TESTS = {
    "above": Method(_above),
    "not-above": Method(_not_above),
    "same": Method(_same),
    "little-above": Method(_little_above),
    "mean-gain": Method(_mean_gain),
    "best-on-most": Method(_best_on_most),
    "more-robust": Method(_more_robust),
    "broken": Method(_broken),
    "costs-clean": Method(_costs_clean, attacked=False),
    "decreasing": Method(_decreasing, attacked=False),
    "near-zero": Method(_near_zero, attacked=False),
}


# ---- every statement


def qualitative(
    statements: Iterable[Statement],
    claims: pd.DataFrame,
    cells: pd.DataFrame,
    *,
    worst: Worst,
    near_zero: str,
    reference: str,
) -> pd.DataFrame:
    """Return whether each statement holds for our numbers.

    Args:
        statements: as `touchstone.study.statements.load` returns them.
        claims: of the study; they say which attacks, radii, models and defenses a statement is about.
        cells: cells.csv.
        worst: as for `verdicts.verdicts`.
        near_zero: as for `verdicts.verdicts`.
        reference: as for `verdicts.verdicts`.

    Returns:
        COLUMNS: REPLY under the published attacks, and again, after WORST_CASE, in the worst case, where it is empty if
        no attacker has a say. `verdict` is a word of STATEMENTS, `right` of `compared` comparisons are on its side.
    """
    numbers = index(derive(cells, near_zero=near_zero, reference=reference))
    claimed = [Claim.of(row, HEADLINE) for row in claims[claims["out_of_scope"] == ""].to_dict("records")]
    rows = []
    for one in statements:
        attacked = one.test.name != SEE and TESTS[one.test.name].attacked
        published = _asked(one, Scope(claimed, one, numbers)).columns
        hardest = _asked(one, Scope(claimed, one, numbers, worst)).columns if attacked else ("", None, None, "")
        rows.append([one.id, one.claim, str(one.test), *published, *hardest, one.published_numbers_agree])
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({f"{case}{name}": "Int64" for case in ("", WORST_CASE) for name in ("right", "compared")})


def _asked(statement: Statement, scope: Scope) -> Outcome:
    test: Question = statement.test
    if test.name == SEE:
        return Outcome(SEE, (" ".join(test.words),))
    return conclude(list(TESTS[test.name].checks(scope, *test.words)), scope.left_out)
