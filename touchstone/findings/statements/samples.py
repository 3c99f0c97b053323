"""Tests of attacks sample by sample, on the same nets: functions of (scope, *words).

What an attack does to one net is known as well as its samples tell, so that a single net says something: "on our net".
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import pandas as pd

from touchstone.cell import same_radius
from touchstone.findings.statements.comparisons import Check, Comparison, Sampled, Test
from touchstone.findings.statements.measured import (
    DISTANCE,
    DISTANCE_VALUES,
    GRADIENTS,
    LEFT,
    NEW_RANK,
    REACHED,
    What,
)
from touchstone.findings.statements.scope import Net, Scope
from touchstone.study.scale import EDGE_POINTS, LITTLE, METRICS, POINTS
from touchstone.study.statements import Subject

ABOUT = 0.25  # the share by which costs that are "about the same" may differ: the widest tolerance of METRICS
RANKS = range(2, 11)  # of the classes that a misclassified sample may fall into
LATER = (3, 4, 5)  # of these, the ones after the second

PerSample: TypeAlias = "Mapping[int, pd.Series[float]]"  # seed -> a value of every sample


def _radii(scope: Scope, net: Net, attack: str, other: str) -> list[float]:
    """Return the radii of both attacks, upwards; without any one that has no number."""
    first, second = (scope.radii(net, name) for name in (attack, other))
    shared = [one for one in first if not math.isnan(one) and any(same_radius(one, two) for two in second)]
    return shared or [math.inf]


def _nearer(scope: Scope, attack: str, *others: str) -> Iterator[Check]:
    """An attack finds nearer points than each other, on the samples that both break."""
    for other in others:
        for net in scope.claimed():
            apart = scope.samples.apart(net, What(other, DISTANCE), What(attack, DISTANCE))
            yield Comparison(f"{net}, distance of {other} over {attack}", apart, 0.0)


def _nearer_by(scope: Scope, share: str, attack: str, *others: str) -> Iterator[Check]:
    """An attack's points are nearer than each other's by at least a share of its distance, where both break."""
    for other in others:
        for net in scope.claimed():
            what = What(other, DISTANCE), What(attack, DISTANCE)
            apart = scope.samples.apart(net, *what, times=1.0 - float(share))
            yield Comparison(f"{net}, distance of {other} less {share} over {attack}", apart, 0.0, or_equal=True)


def _little_nearer(scope: Scope, attack: str, *others: str) -> Iterator[Check]:
    """An attack's points are nearer than each other's by the tolerance of a norm at most, where both break."""
    most = METRICS["mean_norm"].tolerance(1.0)
    for other in others:
        for net in scope.claimed():
            what = What(attack, DISTANCE), What(other, DISTANCE)
            apart = scope.samples.apart(net, *what, times=1.0 / (1.0 - most))
            yield Comparison(f"{net}, distance of {attack} over {other} less {most:g}", apart, 0.0, or_equal=True)


def _leaves_least(scope: Scope, attack: str, *others: str) -> Iterator[Check]:
    """An attack leaves no more samples right than each other at any radius, but for EDGE_POINTS."""
    for other in others:
        for net in scope.claimed():
            for radius in _radii(scope, net, attack, other):
                apart = scope.samples.apart(net, What(other, LEFT, radius), What(attack, LEFT, radius))
                label = f"{net} {radius:g}, left by {other} over {attack}"
                yield Comparison(label, apart, 0.0, margin=-EDGE_POINTS, or_equal=True)


def _leaves_more(scope: Scope, share: str, attack: str, *others: str) -> Iterator[Check]:
    """At the largest radius of both an attack leaves more samples right than each other, by more than a share."""
    for other in others:
        for net in scope.claimed():
            known = [radius for name in (attack, other) for radius in scope.radii(net, name) if not math.isnan(radius)]
            radius = max(known, default=math.inf)
            apart = scope.samples.apart(net, What(attack, LEFT, radius), What(other, LEFT, radius))
            yield Comparison(f"{net} {radius:g}, left by {attack} over {other}", apart, 0.0, margin=float(share))


def _as_strong(scope: Scope, attack: str, *others: str) -> Iterator[Check]:
    """Two attacks leave about equal shares right at every radius: they are no more than LITTLE apart."""
    for other in others:
        for net in scope.claimed():
            for radius in _radii(scope, net, attack, other):
                for one, two in ((attack, other), (other, attack)):
                    apart = scope.samples.apart(net, What(one, LEFT, radius), What(two, LEFT, radius))
                    label = f"{net} {radius:g}, left by {one} over {two}"
                    yield Comparison(label, apart, 0.0, margin=-LITTLE, or_equal=True)


def _gains_most(scope: Scope, attack: str, other: str, defense: str) -> Iterator[Check]:
    """By how much one attack is nearer than another is larger on one defense than on every other of its dataset."""
    nets = scope.claimed()
    gain = {net: scope.samples.apart(net, What(other, DISTANCE), What(attack, DISTANCE)) for net in nets}
    for most in nets:
        for net in nets:
            if most.defense == defense != net.defense and most.dataset == net.dataset:
                yield Comparison(f"{other} minus {attack}, {most} over {net}", gain[most], gain[net])


def _helps_most(scope: Scope, many: str, few: str, defense: str) -> Iterator[Check]:
    """What more restarts of an attack gain, a mean over radii, is larger on one net than on every other."""
    wanted = Subject.of(defense)
    nets = scope.claimed()
    for most in nets:
        if most.defense == wanted.defense and wanted.model in ("", most.model):
            for net in nets:
                if net != most:
                    ours, others = (_restarts(scope, one, many, few) for one in (most, net))
                    yield Comparison(f"{few} to {many}, {most} over {net}", ours, others)


def _restarts(scope: Scope, net: Net, many: str, few: str) -> Sampled:
    """Return by how much a sample is broken more often with more restarts, a mean over radii."""
    found = [
        scope.samples.apart(net, What(few, LEFT, radius), What(many, LEFT, radius))
        for radius in _radii(scope, net, many, few)
    ]
    parts = [one.nets for one in found]
    seeds = set(parts[0]).intersection(*parts) if parts else set()
    means = {seed: pd.concat([part[seed] for part in parts], axis=1).mean(axis=1) for seed in seeds}
    return Sampled(means, max((one.part for one in found), default=0.0))


def _breaks_at_most(scope: Scope, share: str, *attacks: str) -> Iterator[Check]:
    """An attack breaks at most a share of the samples that are right, but for POINTS."""
    for attack in attacks:
        for net in scope.claimed():
            broken = scope.samples.one(net, What(attack, REACHED))
            yield Comparison(f"{net}, broken by {attack}", float(share), broken, margin=-POINTS, or_equal=True)


def _fewer_pixels(scope: Scope, *attacks: str) -> Iterator[Check]:
    """An attack changes fewer pixels than values, by more than the tolerance of a norm."""
    for attack in attacks:
        for net in scope.claimed():
            pixels = scope.samples.one(net, What(attack, DISTANCE))
            apart = scope.samples.apart(net, What(attack, DISTANCE_VALUES), What(attack, DISTANCE))
            tau = METRICS["mean_norm"].tolerance(pixels.mean.value)
            yield Comparison(f"{net}, values over pixels of {attack}", apart, 0.0, margin=tau)


def _weaker_net(scope: Scope, weak: str, strong: str, *attacks: str) -> Iterator[Check]:
    """An attack finds nearer points on one defense than on another."""
    for attack in attacks:
        for one, other in scope.lines(strong, weak):
            far, near = (scope.samples.one(net, What(attack, DISTANCE)) for net in (one, other))
            yield Comparison(f"{one.dataset}, distance of {attack} on {strong} over {weak}", far, near)


def _as_costly(scope: Scope, attack: str, *others: str) -> Iterator[Check]:
    """Two attacks take equally many gradients, but for ABOUT of them."""
    for other in others:
        for net in scope.claimed():
            for one, two in ((attack, other), (other, attack)):
                more, less = (scope.samples.one(net, What(name, GRADIENTS)) for name in (one, two))
                slack = -ABOUT * more.mean.value
                label = f"{net}, gradients of {one} over {two}"
                yield Comparison(label, more, less, margin=slack, or_equal=True)


# ---- classes that misclassified samples fall into


def _second_class(scope: Scope, *attacks: str) -> Iterator[Check]:
    """Of the samples that an attack newly breaks, more fall into the second likeliest class than into any other."""
    for attack in attacks:
        for net in scope.claimed():
            yield from _ahead(f"{net} {attack}", _pooled(scope, net, attack))


def _second_class_throughout(scope: Scope, *attacks: str) -> Iterator[Check]:
    """As _second_class, at every radius."""
    for attack in attacks:
        for net in scope.claimed():
            for radius in scope.radii(net, attack) or [math.inf]:
                ranks = scope.samples.one(net, What(attack, NEW_RANK, radius))
                yield from _ahead(f"{net} {attack} {radius:g}", ranks)


def _ahead(label: str, ranks: Sampled) -> Iterator[Check]:
    for rank in RANKS[1:]:
        apart = {seed: (of == 2).astype(float) - (of == rank) for seed, of in ranks.nets.items()}
        yield Comparison(f"{label}, class 2 over class {rank}", replace(ranks, nets=apart), 0.0)


def _later_classes_grow(scope: Scope, *attacks: str) -> Iterator[Check]:
    """The share of classes 3 to 5 among the samples that an attack newly breaks grows along its radii.

    Every sample counts once, so that a radius with a few of them has no more say: whether it falls into these classes
    goes with the place of its radius among all (Cochran, 1954; Armitage, 1955).
    """
    for attack in attacks:
        for net in scope.claimed():
            radii = scope.samples.radii(net, attack, NEW_RANK)
            found = [scope.samples.one(net, What(attack, NEW_RANK, one)) for one in radii]
            later = [_in_classes(one, LATER).nets for one in found]
            place = [{seed: 0.0 * of + i for seed, of in one.items()} for i, one in enumerate(later)]
            part = max((one.part for one in found), default=0.0)
            label = f"{net} {attack}, classes 3 to 5 along the radii"
            yield Comparison(label, Sampled(_covariance(_all(later), _all(place)), part), 0.0)


def _covariance(left: PerSample, right: PerSample) -> PerSample:
    """Return, sample by sample, the product of two deviations from the mean."""
    return {seed: (of - of.mean()) * (right[seed] - right[seed].mean()) for seed, of in left.items()}


def _more_in_second_class(scope: Scope, attack: str, more: str, *less: str) -> Iterator[Check]:
    """Of the samples that an attack breaks, a larger share falls into the second class with one defense than others."""
    for other in less:
        for left, right in scope.lines(more, other):
            ours, theirs = (_in_classes(_pooled(scope, net, attack), (2,)) for net in (left, right))
            yield Comparison(f"{left} {attack}, class 2 over that of {other}", ours, theirs)


def _in_classes(ranks: Sampled, classes: tuple[int, ...]) -> Sampled:
    return replace(ranks, nets={seed: of.isin(classes).astype(float) for seed, of in ranks.nets.items()})


def _pooled(scope: Scope, net: Net, attack: str) -> Sampled:
    """Return the ranks of all samples that an attack breaks, each at the first radius that does."""
    radii = scope.samples.radii(net, attack, NEW_RANK)
    found = [scope.samples.one(net, What(attack, NEW_RANK, one)) for one in radii]
    return Sampled(_all([one.nets for one in found]), max((one.part for one in found), default=0.0))


def _all(parts: Sequence[PerSample]) -> PerSample:
    """Return the values of several parts together, net by net."""
    seeds = sorted(set[int]().union(*parts))
    return {seed: pd.concat([part[seed] for part in parts if seed in part], ignore_index=True) for seed in seeds}


TESTS: Mapping[str, Test] = {
    "nearer": _nearer,
    "nearer-by": _nearer_by,
    "little-nearer": _little_nearer,
    "leaves-least": _leaves_least,
    "leaves-more": _leaves_more,
    "as-strong": _as_strong,
    "gains-most": _gains_most,
    "helps-most": _helps_most,
    "breaks-at-most": _breaks_at_most,
    "fewer-pixels": _fewer_pixels,
    "weaker-net": _weaker_net,
    "as-costly": _as_costly,
    "second-class": _second_class,
    "second-class-throughout": _second_class_throughout,
    "later-classes-grow": _later_classes_grow,
    "more-in-second-class": _more_in_second_class,
}
