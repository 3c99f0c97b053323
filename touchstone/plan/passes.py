"""How many passes through a model an image costs at most: the terms of the tables, with the options of a study."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

from touchstone.attacks import ATTACKS, attack_spec
from touchstone.defenses import defense_spec
from touchstone.registry import Cost, DatasetSpec, with_defaults

Options = Mapping[str, Any]


class Count(NamedTuple):
    """Passes per image: forward ones, and gradients in the image and in the weights, which come on top of them."""

    forward: float = 0.0
    backward: float = 0.0
    weights: float = 0.0

    def plus(self, other: "Count", times: float = 1.0) -> "Count":
        """Return self + times * other."""
        return Count(*(mine + times * theirs for mine, theirs in zip(self, other, strict=True)))


def _rivals(given: Options, data: DatasetSpec) -> int:
    """Return how many classes DeepFool looks at besides the true one."""
    return min(given["candidates"] or data.classes, data.classes) - 1


# parts of AutoAttack by its version
_VERSIONS: dict[str, tuple[str, ...]] = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
}
_REPEATS = {"plus": 5, "custom": 5, "rand": 20}  # of what does not aim at classes, or draws of it
_AIMED = 9  # classes


def _runs(*kinds: str) -> Callable[[Options, DatasetSpec], int]:
    """Return how often AutoAttack runs its parts of some kinds."""

    def count(given: Options, data: DatasetSpec) -> int:
        parts = [part for part in _VERSIONS.get(given["version"], tuple(given["attacks"] or ())) if part in kinds]
        repeats = _REPEATS.get(given["version"], 1)
        return sum(min(_AIMED, data.classes - 1) if part.endswith("-t") else repeats for part in parts)

    return count


# what a term may multiply with besides options as they are given: (options, data) -> a number
QUANTITIES: dict[str, Callable[[Options, DatasetSpec], float]] = {
    "others": lambda _, data: data.classes - 1,  # wrong classes
    "values": lambda _, data: prod(data.shape),  # of an image
    "targets": lambda given, data: min(given["targets"], data.classes - 1),
    "step_sizes": lambda given, _: len(given["step_sizes"] or ()) or 1,
    "direction": lambda given, _: {"both": 2}.get(given["direction"], 1),
    "candidates": _rivals,
    "linearised": lambda given, data: 1 if given["fixed_class"] else _rivals(given, data),
    "clean": lambda given, _: bool(given["clean"]),  # a weight
    "parts": lambda given, _: len(_VERSIONS.get(given["version"], tuple(given["attacks"] or ()))) + 1,
    "apgd_runs": _runs("apgd-ce", "apgd-dlr", "apgd-t"),
    "fab_runs": _runs("fab", "fab-t"),
    "square_runs": lambda given, _: "square" in _VERSIONS.get(given["version"], tuple(given["attacks"] or ())),
}


def total(terms: Cost, given: Options, data: DatasetSpec) -> Count:
    """Return the sum of terms with all options known."""

    def value(name: str) -> float:
        return float(QUANTITIES[name](given, data) if name in QUANTITIES else given[name])

    found = Count()
    for term in terms:
        found = found.plus(Count(term.forward, term.backward, term.weights), prod(map(value, term.of)))
    return found


def of_attack(fn: str, given: Options, data: DatasetSpec) -> Count | None:
    """Return what one run of an attack at one radius costs at most, None where nobody knows.

    A transfer asks its substitute in the place of the model, and no less.

    Args:
        fn: a name of ATTACKS or "module:function".
        given: its options.
        data: of the images.
    """
    spec = attack_spec(fn)
    if spec.passes is None:
        return None
    known = with_defaults(spec.fn, given)
    found = total(spec.passes, known, data)
    return found.plus(total(*_inner(known), data)) if spec.wraps else found


def _inner(known: Options) -> tuple[Cost, Options]:
    """Return the terms of the attack that another one wraps, and its options: what both have is the outer one's."""
    inner = ATTACKS[known["attack"]]
    own = with_defaults(inner.fn, known["options"] or {})
    return inner.passes or (), {**own, **{name: value for name, value in known.items() if name in own}}


def of_defense(fn: str, given: Options, data: DatasetSpec) -> Count | None:
    """Return what a training image costs per epoch at most, None where nobody knows."""
    spec = defense_spec(fn)
    return None if spec.passes is None else total(spec.passes, with_defaults(spec.fn, given), data)
