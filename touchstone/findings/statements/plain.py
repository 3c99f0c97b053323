"""Tests of what no attack made: clean accuracy, probabilities, weights, features. Functions of (scope, *words)."""

import math
from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise

import numpy as np
from scipy import stats

from touchstone.cell import distinct_radii
from touchstone.findings.statements.comparisons import Check, Comparison, Mean, Seeds, Test, some
from touchstone.findings.statements.scope import Net, Scope, minus
from touchstone.study.claim import Place
from touchstone.study.scale import LITTLE, METRICS, SLIGHT, measure
from touchstone.study.statements import Subject


def _costs_clean(scope: Scope, defense: str, slight: str, clear: str) -> Iterator[Check]:
    """A defense lowers clean accuracy: by at most SLIGHT on one dataset, by more on another."""
    for (net,) in scope.lines(defense):
        drop = scope.clean(net, "clean_accuracy_drop_vs_std")
        where = f"{net.dataset} {net.model} drop"
        if net.dataset == slight:
            yield Comparison(where, drop, 0.0)
            yield Comparison(f"{where} at most", SLIGHT, drop, or_equal=True)
        if net.dataset == clear:
            yield Comparison(where, drop, SLIGHT)


def _decreasing(scope: Scope, metric: str, first: str, *others: str) -> Iterator[Check]:
    """A number falls along the defenses, on every dataset that the statement speaks of."""
    for more, less in pairwise([first, *others]):
        for left, right in scope.lines(more, less):
            yield Comparison(_over(left, right), scope.clean(left, metric), scope.clean(right, metric))


def _decreasing_somewhere(scope: Scope, metric: str, first: str, *others: str) -> Iterator[Check]:
    """A number falls along the defenses on one of the datasets at least."""
    groups = [(one,) for one in _decreasing(scope, metric, first, *others) if isinstance(one, Comparison)]
    if groups:
        yield some(f"{metric} of {first} over {' over '.join(others)}", tuple(groups))


def _clearly_below(scope: Scope, metric: str, defense: str, *references: str) -> Iterator[Check]:
    """A number of a defense is below that of each other by more than the tolerance of such a number."""
    for reference in references:
        for net, other in scope.lines(defense, reference):
            left, right = scope.clean(other, metric), scope.clean(net, metric)
            tau = measure(metric).tau(Mean.of(left).value, clean=True)
            yield Comparison(_over(other, net), left, right, margin=tau)


def _no_less(scope: Scope, metric: str, defense: str, *references: str) -> Iterator[Check]:
    """A number of a defense is no less than that of each other, but for the tolerance of such a number."""
    for reference in references:
        for net, other in scope.lines(defense, reference):
            left, right = scope.clean(net, metric), scope.clean(other, metric)
            tau = measure(metric).tau(Mean.of(right).value, clean=True)
            yield Comparison(_over(net, other), left, right, margin=-tau, or_equal=True)


def _keeps_clean(scope: Scope, defense: str, *references: str) -> Iterator[Check]:
    """Clean accuracy of a defense is at least that of each other, but for SLIGHT."""
    for reference in references:
        for net, other in scope.lines(defense, reference):
            left, right = (scope.clean(one, "accuracy") for one in (net, other))
            yield Comparison(_over(net, other), left, right, margin=-SLIGHT, or_equal=True)


def _alike_clean(scope: Scope, first: str, *others: str) -> Iterator[Check]:
    """Clean accuracies of any two of some defenses are no more than LITTLE apart."""
    for line in scope.lines(first, *others):
        for one, other in combinations(line, 2):
            for left, right in ((one, other), (other, one)):
                more, less = (scope.clean(net, "accuracy") for net in (left, right))
                yield Comparison(_over(left, right), more, less, margin=-LITTLE, or_equal=True)


def _difference_above(scope: Scope, metric: str, more: str, less: str, dataset: str, *others: str) -> Iterator[Check]:
    """By how much a number of one defense is above that of another is larger on one dataset than on each other."""
    gains = {
        left.dataset: minus(scope.clean(left, metric), scope.clean(right, metric))
        for left, right in scope.lines(more, less)
    }
    for other in others:
        label = f"{metric} of {more} over {less} on {dataset} and {other}"
        yield Comparison(label, gains.get(dataset, {}), gains.get(other, {}))


def _near_zero(scope: Scope, defense: str, other: str) -> Iterator[Check]:
    """The ratio of near-zero weights is in the claimed interval (with its tolerance); another's is above 1."""
    metric = "near_zero_param_ratio_vs_std"
    for claim in scope.evidence:
        if claim.place.metric == metric and claim.place.defense == Subject.of(defense).defense:
            net = Net(*claim.place[:3])
            beside = net._replace(defense=Subject.of(other).defense)
            where, ours = f"{net}", scope.clean(net, metric)
            low, high = claim.measured
            tau = METRICS[metric].tolerance((low + high) / 2)
            yield Comparison(f"{where} at least", ours, low, margin=-tau, or_equal=True)
            yield Comparison(f"{where} at most", high, ours, margin=-tau, or_equal=True)
            yield Comparison(f"{beside}", scope.clean(beside, metric), 1.0)


def _clean_at_least(scope: Scope, metric: str, least: str, *defenses: str) -> Iterator[Check]:
    """A number of each defense is at least a given one."""
    for word in defenses:
        for (net,) in scope.lines(word):
            yield Comparison(f"{net}, {metric}", scope.clean(net, metric), float(least), or_equal=True)


def _rises_with(scope: Scope, metric: str, first: str, *others: str) -> Iterator[Check]:
    """Accuracy under every attack that the clause names rises with a number along defenses (Spearman's rho)."""
    for line in scope.lines(first, *others):
        under = {
            name: distinct_radii(one for net in line for one in scope.radii(net, name)) for name in scope.clause.under
        }
        met = {attack: radii for attack, radii in under.items() if radii}  # each dataset has its own
        for attack, radii in (met or dict.fromkeys(under, (math.inf,))).items():
            for radius in radii:
                correlations = _correlations(
                    [scope.clean(net, metric) for net in line],
                    [scope.seeds(Place(*net, attack, "accuracy"), radius) for net in line],
                )
                label = f"{line[0].dataset} {line[0].model}, rank correlation of {metric} and {attack} {radius:g}"
                yield Comparison(label, correlations, 0.0)


def _correlations(one: list[Seeds], other: list[Seeds]) -> Seeds:
    """Return Spearman's rank correlation by seed, of the seeds that every net has; none where all are equal."""
    shared = set(one[0]).intersection(*one, *other)
    found = {}
    for seed in sorted(shared):
        columns = [[number[seed] for number in numbers] for numbers in (one, other)]
        if all(np.ptp(column) > 0 for column in columns):
            found[seed] = float(stats.spearmanr(*columns).statistic)
    return found


def _over(left: Net, right: Net) -> str:
    if left.model == right.model:
        return f"{left.dataset} {left.model}, {left.defense} over {right.defense}"
    return f"{left.dataset}, {left.model}/{left.defense} over {right.model}/{right.defense}"


TESTS: Mapping[str, Test] = {
    "costs-clean": _costs_clean,
    "decreasing": _decreasing,
    "decreasing-somewhere": _decreasing_somewhere,
    "no-less": _no_less,
    "clearly-below": _clearly_below,
    "keeps-clean": _keeps_clean,
    "alike-clean": _alike_clean,
    "difference-above": _difference_above,
    "near-zero": _near_zero,
    "clean-at-least": _clean_at_least,
    "rises-with": _rises_with,
}
