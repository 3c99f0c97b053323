"""Tests of attacks against each other, and along their radii: functions of (scope, *words)."""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise

from touchstone.findings.cells import ATTACK_GAP
from touchstone.findings.statements.comparisons import Check, Comparison, Seeds, Test
from touchstone.findings.statements.defenses import tolerance
from touchstone.findings.statements.scope import Net, Scope, mean
from touchstone.study.claim import Place
from touchstone.study.scale import EDGE_POINTS, POINTS
from touchstone.study.statements import Subject


def _stronger(scope: Scope, strong: str, *weak: str) -> Iterator[Check]:
    """An attack leaves less than each other, on every net with a claim of both or at equal radius."""
    for other in weak:
        for net in scope.claimed([strong, other]):
            for label, left, right in scope.rivals(net, strong, other):
                yield Comparison(label, right, left)


def _no_weaker(scope: Scope, strong: str, *weak: str) -> Iterator[Check]:
    """An attack leaves no more than each other, within the tolerance."""
    for other in weak:
        for net in scope.claimed([strong, other]):
            for label, left, right in scope.rivals(net, strong, other):
                yield Comparison(label, right, left, margin=-tolerance(right), or_equal=True)


def _takes_at_most(scope: Scope, share: str, short: str, long: str) -> Iterator[Check]:
    """A longer attack leaves less than a shorter one by at most a share, but for EDGE_POINTS."""
    for net in scope.claimed([short, long]):
        for label, left, right in scope.rivals(net, short, long):
            yield Comparison(label, right, left, margin=-float(share) - EDGE_POINTS, or_equal=True)


def _ascending(scope: Scope, metric: str, first: str, *others: str) -> Iterator[Check]:
    """A number grows along the attacks, on every net that the evidence speaks of under one of them."""
    for less, more in pairwise((first, *others)):
        for net in scope.claimed((first, *others)):
            left, right = (scope.seeds(Place(*net, attack, metric)) for attack in (more, less))
            yield Comparison(f"{net}, {metric} of {more} over {less}", left, right, or_equal=True)


def _falls_to(scope: Scope, share: str) -> Iterator[Check]:
    """Accuracy never rises with the radius, within the tolerance, and at the largest it is at most a share."""
    for net, attack in dict.fromkeys((Net(*c.place[:3]), c.place.attack) for c in scope.evidence if c.robust):
        radii = scope.radii(net, attack)
        if len(radii) < 2:
            continue
        numbers = [scope.seeds(Place(*net, attack, "accuracy"), radius) for radius in radii]
        for (small, before), (large, after) in pairwise(zip(radii, numbers, strict=True)):
            label = f"{net}, {attack} at {small:g} and {large:g}"
            yield Comparison(label, before, after, margin=-tolerance(before), or_equal=True)
        label = f"{net}, {attack} at {radii[-1]:g} at most {share}"
        yield Comparison(label, float(share), numbers[-1], margin=-EDGE_POINTS, or_equal=True)


def _misses(scope: Scope, attack: str, *defenses: str) -> Iterator[Check]:
    """The worst case breaks more than an attack does, by more than POINTS on average over its radii."""
    for label, gaps in _gaps(scope, attack, defenses):
        yield Comparison(f"{label}, worst case beyond {attack}", mean([seeds for _, seeds in gaps]), POINTS)


def _finds_all(scope: Scope, attack: str, *defenses: str) -> Iterator[Check]:
    """The worst case breaks no more than an attack does, but for POINTS, at every radius: it is not held up."""
    for label, gaps in _gaps(scope, attack, defenses):
        for radius, seeds in gaps or [(math.inf, {})]:
            yield Comparison(f"{label} {radius:g}, worst case beyond {attack} at most", POINTS, seeds, or_equal=True)


def _gaps(scope: Scope, attack: str, words: tuple[str, ...]) -> Iterator[tuple[str, list[tuple[float, Seeds]]]]:
    """Yield what an attack leaves of each defense and the worst case does not, by radius, on every dataset."""
    for word in words:
        wanted = Subject.of(word)
        for dataset in scope.datasets:
            found = [
                (radius, scope.seeds(place, radius))
                for place, radii in scope.numbers.items()
                if (place.dataset, place.defense, place.attack) == (dataset, wanted.defense, attack)
                and place.metric == ATTACK_GAP
                and wanted.model in ("", place.model)
                for radius, _ in radii
            ]
            yield f"{dataset} {word}", found


TESTS: Mapping[str, Test] = {
    "stronger": _stronger,
    "no-weaker": _no_weaker,
    "takes-at-most": _takes_at_most,
    "ascending": _ascending,
    "falls-to": _falls_to,
    "misses": _misses,
    "finds-all": _finds_all,
}
