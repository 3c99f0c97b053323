"""What options may be only together with others, under a threat or on a dataset: written once, and without torch.

An annotation says what one option may be (`touchstone.ranges`); a condition says the rest. The check of a study reads
CONDITIONS before any job, with `broken`; the function itself holds on to them when it is called, with `hold`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

Walls = Literal["unit", "one", "each", "none"]  # the box: [0, 1]; one interval; one for each channel; none at all


class Facts(NamedTuple):
    """What options meet; None where it is not known."""

    classes: int | None = None
    walls: Walls | None = None
    norm: str | None = None
    written: frozenset[str] = frozenset()  # options that a study writes, so that they are no defaults


UNKNOWN = Facts()


class Condition(NamedTuple):
    """What must not be.

    Attributes:
        option: under which a study is told, "" for the whole.
        broken: whether it is so, of all options with their defaults.
        words: what must be instead; options and facts stand in it as {name}.
    """

    option: str
    broken: Callable[[Mapping[str, Any], Facts], bool]
    words: str

    def said(self, options: Mapping[str, Any], facts: Facts) -> str:
        """Return its words for some options."""
        return self.words.format_map({**facts._asdict(), **options})


def _walls(allowed: tuple[Walls, ...], words: str) -> Condition:
    return Condition("", lambda _, facts: facts.walls is not None and facts.walls not in allowed, words)


# of a training against points in pixels: what `touchstone.attacks.contract.within` says of an attack's radius
_RADIUS = Condition(
    "eps",
    lambda o, _: (o["norm"], o.get("space", "pixel"), o.get("box", True)) == ("linf", "pixel", True) and o["eps"] > 1,
    "no linf distance exceeds 1 in pixels, got eps {eps:g}; of 0 to 255 take eps / 255",
)
_ADVERSARIAL = (
    _RADIUS,
    Condition(
        "eps_low",
        lambda o, _: o["eps_low"] is not None and o["eps_low"] > o["eps"],
        "eps_low must be in [0, eps={eps}], got {eps_low}",
    ),
    Condition(
        "box",
        lambda o, _: o["space"] == "whitened" and o["box"],
        "space 'whitened' has no box: give box: false",
    ),
)
_UNIT = _walls(("unit",), "clips to [0, 1], so that it works in pixels with bounds only")
COLOURS = "colours are drawn from the box, which must be finite here"
_COLOURS = Condition("", lambda _, facts: facts.walls == "none" and facts.norm in (None, "l0"), COLOURS)

CONDITIONS: dict[str, tuple[Condition, ...]] = {
    "touchstone.attacks.pgd:pgd": (
        Condition(
            "step_size",
            lambda _, facts: {"step_size", "step_sizes"} <= facts.written,
            "step_sizes stand in its place: give one of the two",
        ),
    ),
    "touchstone.attacks.autoattack:autoattack": (
        Condition(
            "attacks",
            lambda o, _: (o["version"] == "custom") != bool(o["attacks"]),
            "version 'custom', and no other, needs attacks; got {version!r} and {attacks}",
        ),
        _UNIT,
    ),
    "touchstone.attacks.external:external": (_UNIT,),
    "touchstone.attacks.external:external_fixed": (_UNIT,),
    "touchstone.attacks.brendel_bethge:brendel_bethge": (
        _walls(("unit", "one"), "needs one finite box for all values"),
    ),
    "touchstone.attacks.noise:noise": (_COLOURS,),
    "touchstone.attacks.onepixel:onepixel": (_COLOURS,),
    "touchstone.attacks.sparse_rs:sparse_rs": (_COLOURS,),
    "touchstone.attacks.cw:cw": (
        Condition(
            "confidence",
            lambda o, _: o["target_confidence"] is not None and o["confidence"] > 0,
            "confidence must be 0 where there is a target_confidence, got {confidence}",
        ),
        Condition(
            "target_class",
            lambda o, facts: None not in (o["target_class"], facts.classes) and o["target_class"] >= facts.classes,
            "target_class must be less than {classes}, the number of classes, got {target_class}",
        ),
    ),
    "touchstone.defenses.adv:Alternating": (_RADIUS,),
    "touchstone.defenses.trades:Trades": (_RADIUS,),
    "touchstone.defenses.mart:Mart": (_RADIUS,),
    "touchstone.defenses.at:Adversarial": _ADVERSARIAL,
    "touchstone.defenses.at:AdversarialGCE": _ADVERSARIAL,
    "touchstone.defenses.at:AdversarialPC": _ADVERSARIAL,
    "touchstone.models.resnet:wide_resnet": (
        Condition(
            "depth",
            lambda o, _: o["depth"] < 10 or (o["depth"] - 4) % 6 != 0,
            "depth must be 6 n + 4 with n >= 1, got {depth}",
        ),
    ),
}


def broken(target: str, options: Mapping[str, Any], facts: Facts = UNKNOWN) -> list[tuple[str, str]]:
    """Return what is wrong with options together: (option, words), none if nothing is.

    Args:
        target: "module:function".
        options: all of them, defaults included.
        facts: what they meet.
    """
    conditions = CONDITIONS.get(target, ())
    return [(one.option, one.said(options, facts)) for one in conditions if one.broken(options, facts)]


def hold(target: str, options: Mapping[str, Any], facts: Facts = UNKNOWN) -> None:
    """Raise ValueError with the first thing that is wrong with options together, as `broken` finds it."""
    for _, words in broken(target, options, facts)[:1]:
        raise ValueError(words)
