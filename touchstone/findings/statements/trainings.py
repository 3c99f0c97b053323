"""Tests of how nets were trained: time, convergence, failures. Functions of (scope, *words)."""

import math
from collections.abc import Iterator, Mapping

from touchstone.findings.statements.comparisons import Check, Comparison, Mean, Seeds, Test, Trials
from touchstone.findings.statements.measured import Training
from touchstone.findings.statements.scope import Net, Scope, on_models
from touchstone.study.scale import LITTLE

SOME = 0.2  # share of the trainings that go wrong where training is unstable
WATCHED = "test_robust"  # column of the history: accuracy on test images under the attack that watches


def _training_above(scope: Scope, statistic: str, more: str, *less: str) -> Iterator[Check]:
    """A number of the trainings of a defense is above that of each other."""
    for other in less:
        for left, right in _lines(scope, more, other):
            ours, others = (scope.trainings.seeds(net, statistic) for net in (left, right))
            yield Comparison(f"{statistic}: {left} over {right}", ours, others)


def _costs_at_least(scope: Scope, factor: str, defense: str, *references: str) -> Iterator[Check]:
    """An epoch of a defense takes at least so many times as long as one of each other."""
    for label, ours, scaled in _seconds(scope, factor, defense, references):
        yield Comparison(label, ours, scaled, or_equal=True)


def _costs_at_most(scope: Scope, factor: str, defense: str, *references: str) -> Iterator[Check]:
    """An epoch of a defense takes at most so many times as long as one of each other."""
    for label, ours, scaled in _seconds(scope, factor, defense, references):
        yield Comparison(label, scaled, ours, or_equal=True)


def _seconds(
    scope: Scope, factor: str, defense: str, references: tuple[str, ...]
) -> Iterator[tuple[str, Seeds, Seeds]]:
    for reference in references:
        for net, other in _lines(scope, defense, reference):
            ours, base = (scope.trainings.seeds(one, "seconds_per_epoch") for one in (net, other))
            scaled = {seed: float(factor) * seconds for seed, seconds in base.items()}
            yield f"seconds of an epoch: {net} and {factor} x {other}", ours, scaled


def _unstable(scope: Scope, reference: str, *defenses: str) -> Iterator[Check]:
    """More than SOME of the trainings of each defense go wrong: they fail, or cost more than LITTLE clean accuracy."""
    for word in defenses:
        for net, other in _lines(scope, word, reference):
            yield Trials(f"trainings of {net} that go wrong", _wrong(scope, net, other), SOME)


def _stabler(scope: Scope, reference: str, stable: str, *unstable: str) -> Iterator[Check]:
    """Fewer trainings of a defense go wrong than of each other."""
    for word in unstable:
        for net, other, base in _lines(scope, stable, word, reference):
            theirs, ours = (_wrong(scope, one, base) for one in (other, net))
            yield Trials(f"trainings that go wrong: {other} over {net}", theirs, ours)


def _wrong(scope: Scope, net: Net, reference: Net) -> Seeds:
    """Return 1 for each training that failed or cost more than LITTLE clean accuracy, 0 for each other.

    What it costs is not known without the reference: then there is no number.
    """
    usual = Mean.of(scope.clean(reference, "accuracy")).value
    if math.isnan(usual):
        return {}
    accuracy = scope.clean(net, "accuracy")
    return {
        one.model.seed: float(one.failed or accuracy[one.model.seed] < usual - LITTLE)
        for one in scope.trainings.get(net)
        if one.failed or one.model.seed in accuracy
    }


def _decays(scope: Scope, defense: str) -> Iterator[Check]:
    """Watched while it is trained, a defense ends more than LITTLE below its best accuracy under attack."""
    for net, lost in _lost(scope, defense):
        yield Comparison(f"{net}, best epoch over the last under attack", lost, LITTLE)


def _stays(scope: Scope, *defenses: str) -> Iterator[Check]:
    """Watched while it is trained, each defense ends at most LITTLE below its best accuracy under attack."""
    for defense in defenses:
        for net, lost in _lost(scope, defense):
            yield Comparison(f"{net}, best epoch over the last under attack", LITTLE, lost, or_equal=True)


def _lost(scope: Scope, defense: str) -> Iterator[tuple[Net, Seeds]]:
    for (net,) in _lines(scope, defense):
        ended = [one for one in scope.trainings.get(net) if not one.failed]
        yield net, {one.model.seed: _fall(one) for one in ended if WATCHED in one.history}


def _fall(training: Training) -> float:
    robust = training.history[WATCHED].dropna()  # it is not measured in every epoch
    return float(robust.max() - robust.iloc[-1])


def _lines(scope: Scope, *words: str) -> Iterator[tuple[Net, ...]]:
    """As `Scope.lines`, where one of the nets at least was trained; the others have no number."""
    trained = [Net(*net) for net in scope.trainings.nets()]
    for dataset in scope.datasets:
        here = {net for net in trained if net.dataset == dataset}
        for nets in on_models(words, {net.model for net in here}):
            line = tuple(Net(dataset, *net) for net in nets)
            if here.intersection(line):
                yield line


TESTS: Mapping[str, Test] = {
    "training-above": _training_above,
    "costs-at-least": _costs_at_least,
    "costs-at-most": _costs_at_most,
    "unstable": _unstable,
    "stabler": _stabler,
    "decays": _decays,
    "stays": _stays,
}
