"""Tests of defenses against each other under attack: functions of (scope, *words)."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise, permutations

from touchstone.findings.statements.comparisons import Check, Comparison, Mean, Seeds, Test, most, some
from touchstone.findings.statements.scope import Pair, Scope, Spot, mean, means, minus, on_models
from touchstone.study.claim import Place
from touchstone.study.scale import LITTLE, METRICS
from touchstone.study.statements import Subject


def _above(scope: Scope, better: str, *worse: str) -> Iterator[Check]:
    """Accuracy of one defense is above that of each other, attack by attack."""
    for other in worse:
        for pairs in scope.pairs(better, other).values():
            yield from (Comparison(*pair) for pair in pairs.values())


def _not_above(scope: Scope, defense: str, *references: str) -> Iterator[Check]:
    """A defense does not improve on any other by more than the tolerance, attack by attack."""
    for reference in references:
        for pairs in scope.pairs(reference, defense).values():
            yield from (Comparison(*pair, margin=-tolerance(pair.left), or_equal=True) for pair in pairs.values())


def _same(scope: Scope, defense: str, *references: str) -> Iterator[Check]:
    """A defense is as accurate as each other, within the tolerance, attack by attack."""
    for reference in references:
        for pairs in scope.pairs(defense, reference).values():
            for label, left, right in pairs.values():
                tau = tolerance(right)
                yield Comparison(label, left, right, margin=-tau, or_equal=True)
                yield Comparison(f"{label} at most", right, left, margin=-tau, or_equal=True)


def tolerance(reference: Seeds | float) -> float:
    """Return the tolerance of an accuracy under attack."""
    return METRICS["accuracy"].tolerance(Mean.of(reference).value)


def _little_above(scope: Scope, defense: str, *references: str) -> Iterator[Check]:
    """A defense improves on each other under every attack, by at most LITTLE on average."""
    for reference in references:
        for (dataset, model, _), pairs in scope.pairs(defense, reference).items():
            yield from (Comparison(*pair) for pair in pairs.values())
            left, right = means(pairs.values())
            label = f"{dataset} {model}, mean of {defense} over {reference} at most {LITTLE:g}"
            yield Comparison(label, right, left, margin=-LITTLE, or_equal=True)


def _mean_gain(scope: Scope, better: str, *worse: str) -> Iterator[Check]:
    """Averaged over the attacks a defense is above each other, on every dataset."""
    for other in worse:
        for (dataset, model, _), pairs in scope.pairs(better, other).items():
            left, right = means(pairs.values())
            yield Comparison(f"{dataset} {model}, mean of {better} over {other}", left, right)


def _best_on_most(scope: Scope, best: str, *others: str) -> Iterator[Check]:
    """On each dataset and model a defense is above all others under more than half of the attacks."""
    groups: dict[tuple[str, str], dict[Spot, list[Comparison]]] = defaultdict(lambda: defaultdict(list))
    for other in others:
        for net, pairs in scope.pairs(best, other).items():
            for spot, pair in pairs.items():
                groups[net[:2]][spot].append(Comparison(*pair))
    for place, spots in groups.items():
        yield most(" ".join(place), tuple(map(tuple, spots.values())))


def _gain_grows(scope: Scope, better: str, worse: str, weak: str, *strong: str) -> Iterator[Check]:
    """What a defense gains over another, a mean over radii, is larger under each strong attack than a weak one."""
    for (dataset, model, _), pairs in scope.pairs(better, worse).items():
        gains: dict[str, list[Pair]] = defaultdict(list)
        for spot, pair in pairs.items():
            gains[spot.name].append(pair)
        for attack in strong:
            if weak in gains or attack in gains:
                label = f"{dataset} {model}, gain of {better} over {worse} under {attack} and {weak}"
                yield Comparison(label, _gain(gains[attack]), _gain(gains[weak]))


def _gain_above(scope: Scope, better: str, worse: str, dataset: str, *others: str) -> Iterator[Check]:
    """What a defense gains over another, a mean over attacks, is larger on one dataset than on each other."""
    gains = {nets.dataset: _gain(list(pairs.values())) for nets, pairs in scope.pairs(better, worse).items()}
    for other in others:
        if dataset in gains or other in gains:
            label = f"gain of {better} over {worse} on {dataset} and {other}"
            yield Comparison(label, gains.get(dataset, {}), gains.get(other, {}))


def _gain(pairs: list[Pair]) -> Seeds:
    return mean([minus(pair.left, pair.right) for pair in pairs])


def _at_least(scope: Scope, share: str, *defenses: str) -> Iterator[Check]:
    """Accuracy of each defense is at least a share, but for the tolerance, attack by attack."""
    for label, seeds in _robust(scope, defenses):
        yield Comparison(label, seeds, float(share), margin=-tolerance(float(share)), or_equal=True)


def _at_most(scope: Scope, share: str, *defenses: str) -> Iterator[Check]:
    """Accuracy of each defense is at most a share, but for the tolerance, attack by attack."""
    for label, seeds in _robust(scope, defenses):
        yield Comparison(label, float(share), seeds, margin=-tolerance(float(share)), or_equal=True)


def _broken(scope: Scope, attack: str) -> Iterator[Check]:
    """Every defense with a claim has accuracy 0, within the tolerance of a claimed 0, under an attack."""
    zero = METRICS["accuracy"].tolerance(0.0)
    for claim in scope.evidence:
        spot = scope.spot(claim) if claim.robust and claim.place.attack == attack else ""
        if isinstance(spot, Spot):
            model, defense = claim.place.model, claim.place.defense
            (seeds,) = scope.there(spot, (model, defense))
            yield Comparison(f"{spot} {model} {defense} broken", zero, seeds, or_equal=True)


def _robust(scope: Scope, words: tuple[str, ...]) -> Iterator[tuple[str, Seeds]]:
    """Yield the accuracies under attack of some defenses wherever the evidence prints one, with what to call them."""
    for word in words:
        wanted = Subject.of(word)
        for spot, claims in scope.spots.items():
            printed = (claim.place for claim in claims if claim.place.defense == wanted.defense)
            for model in dict.fromkeys(one.model for one in printed if wanted.model in ("", one.model)):
                (seeds,) = scope.there(spot, (model, wanted.defense))
                yield f"{spot} {model} {wanted.defense}", seeds


def _varies(scope: Scope, first: str, *others: str) -> Iterator[Check]:
    """Under every attack one of some defenses is above another by more than LITTLE.

    All pairs are compared, both ways: the best and the worst of many are apart by chance too.
    """
    for spot, claims in scope.spots.items():
        for nets in on_models((first, *others), {claim.place.model for claim in claims}):
            sides = dict(zip(nets, scope.there(spot, *nets), strict=True))
            pairs = [
                Comparison(f"{spot}, {'/'.join(one)} over {'/'.join(two)}", sides[one], sides[two], margin=LITTLE)
                for one, two in permutations(nets, 2)
            ]
            yield some(f"{spot}, two of {', '.join(map('/'.join, nets))}", tuple((pair,) for pair in pairs))


# ---- distances and other numbers of an attack that has no radius


def _more_robust(scope: Scope, metric: str, better: str, *worse: str) -> Iterator[Check]:
    """What breaks one defense lies farther away than what breaks each other."""
    for other in worse:
        yield from (Comparison(*pair) for pair in scope.distances(metric, better, other))


def _more_robust_in_turn(scope: Scope, metric: str, first: str, *others: str) -> Iterator[Check]:
    """What breaks each of some defenses lies farther away than what breaks the next one."""
    for better, worse in pairwise((first, *others)):
        yield from _more_robust(scope, metric, better, worse)


def _in_turn(scope: Scope, metric: str, first: str, *others: str) -> Iterator[Check]:
    """A number under attack falls along the defenses."""
    return _more_robust_in_turn(scope, metric, first, *others)


def _number_at_least(scope: Scope, metric: str, share: str, *defenses: str) -> Iterator[Check]:
    """A number under attack is at least a share, wherever a claim has it."""
    yield from (
        Comparison(label, seeds, float(share), or_equal=True) for label, seeds in _there(scope, metric, defenses)
    )


def _number_at_most(scope: Scope, metric: str, share: str, *defenses: str) -> Iterator[Check]:
    """A number under attack is at most a share, wherever a claim has it."""
    yield from (
        Comparison(label, float(share), seeds, or_equal=True) for label, seeds in _there(scope, metric, defenses)
    )


def _there(scope: Scope, metric: str, words: tuple[str, ...]) -> Iterator[tuple[str, Seeds]]:
    """Yield a number of some defenses under every attack that a claim has it of, or that the clause names."""
    having = [one.place for one in scope.evidence if one.place.metric == metric]
    for word in words:
        wanted = Subject.of(word)
        named = having or [one.place for one in scope.evidence if one.place.attack in scope.clause.under]
        named = [one for one in named if wanted.model in ("", one.model)]
        mine = [one for one in named if one.defense == wanted.defense] or named
        for dataset, model, attack in dict.fromkeys((one.dataset, one.model, one.attack) for one in mine):
            place = Place(dataset, model, wanted.defense, attack, metric)
            yield f"{dataset} {attack} {model}, {metric} of {wanted.defense}", scope.seeds(place)


# asked in the worst case too: an attacker has a say in what they compare
UNDER_ATTACK: Mapping[str, Test] = {
    "above": _above,
    "not-above": _not_above,
    "same": _same,
    "little-above": _little_above,
    "mean-gain": _mean_gain,
    "best-on-most": _best_on_most,
    "gain-above": _gain_above,
    "at-least": _at_least,
    "at-most": _at_most,
    "broken": _broken,
    "varies": _varies,
    "more-robust": _more_robust,
    "more-robust-in-turn": _more_robust_in_turn,
}
TESTS: Mapping[str, Test] = {
    **UNDER_ATTACK,
    "gain-grows": _gain_grows,  # in the worst case there is no weak attack
    "in-turn": _in_turn,
    "number-at-least": _number_at_least,
    "number-at-most": _number_at_most,
}
