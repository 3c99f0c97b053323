"""What options may be only together: every condition is met, and held to by the function itself."""

import inspect
import re
from typing import Any

import pytest

from touchstone.conditions import CONDITIONS, Facts, broken, hold
from touchstone.registry import load, options

AT = {"norm": "linf", "eps": 0.1, "eps_low": None, "space": "pixel", "box": True}
FAR = "of 0 to 255 take eps / 255"
CW = {"target_confidence": None, "confidence": 0.0, "target_class": None}
# function -> options and facts that will do, then what is wrong, and the option under which it is said
CASES: dict[str, tuple[tuple[dict[str, Any], Facts], list[tuple[dict[str, Any], Facts, str, str]]]] = {
    "touchstone.attacks.pgd:pgd": (
        ({}, Facts(written=frozenset({"step_size"}))),
        [({}, Facts(written=frozenset({"step_size", "step_sizes"})), "step_size", "give one of the two")],
    ),
    "touchstone.attacks.autoattack:autoattack": (
        ({"version": "custom", "attacks": ["square"]}, Facts(walls="unit")),
        [
            ({"version": "custom", "attacks": ()}, Facts(), "attacks", "needs attacks"),
            ({"version": "standard", "attacks": ["square"]}, Facts(), "attacks", "got 'standard' and ['square']"),
            ({"version": "standard", "attacks": ()}, Facts(walls="one"), "", "clips to [0, 1]"),
        ],
    ),
    "touchstone.attacks.external:external": (({}, Facts()), [({}, Facts(walls="none"), "", "clips to [0, 1]")]),
    "touchstone.attacks.external:external_fixed": (({}, Facts()), [({}, Facts(walls="each"), "", "clips to [0, 1]")]),
    "touchstone.attacks.brendel_bethge:brendel_bethge": (
        ({}, Facts(walls="one")),
        [({}, Facts(walls="each"), "", "one finite box for all values")],
    ),
    **{
        f"touchstone.attacks.{name}:{name}": (
            ({}, Facts(walls="none", norm="l2")),
            [({}, Facts(walls="none", norm="l0"), "", "colours are drawn from the box")],
        )
        for name in ("noise", "onepixel", "sparse_rs")
    },
    "touchstone.attacks.cw:cw": (
        (CW | {"target_class": 9}, Facts(classes=10)),
        [
            (CW | {"target_confidence": 0.9, "confidence": 1.0}, Facts(), "confidence", "confidence must be 0"),
            (CW | {"target_class": 10}, Facts(classes=10), "target_class", "less than 10"),
        ],
    ),
    **{
        f"touchstone.defenses.at:Adversarial{kind}": (
            (AT | {"eps_low": 0.1}, Facts()),
            [
                (AT | {"eps_low": 0.2}, Facts(), "eps_low", "in [0, eps=0.1], got 0.2"),
                (AT | {"space": "whitened"}, Facts(), "box", "give box: false"),
                (AT | {"eps": 8}, Facts(), "eps", f"got eps 8; {FAR}"),
            ],
        )
        for kind in ("", "GCE", "PC")
    },
    **{
        f"touchstone.defenses.{name}": (
            ({"norm": "linf", "eps": 1}, Facts()),
            [({"norm": "linf", "eps": 1.01}, Facts(), "eps", f"got eps 1.01; {FAR}")],
        )
        for name in ("adv:Alternating", "trades:Trades", "mart:Mart")
    },
    "touchstone.models.resnet:wide_resnet": (
        ({"depth": 10}, Facts()),
        [({"depth": depth}, Facts(), "depth", f"got {depth}") for depth in (4, 12)],
    ),
}


def test_every_function_with_a_condition_has_its_cases() -> None:
    assert CASES.keys() == CONDITIONS.keys()


@pytest.mark.parametrize("target", CASES)
def test_what_goes_together_is_let_through(target: str) -> None:
    given, facts = CASES[target][0]
    assert broken(target, given, facts) == []
    hold(target, given, facts)


@pytest.mark.parametrize(
    ("target", "given", "facts", "option", "words"),
    [(target, *case) for target, (_, cases) in CASES.items() for case in cases],
)
def test_what_does_not_is_said_under_its_option(
    target: str, given: dict[str, Any], facts: Facts, option: str, words: str
) -> None:
    ((said, text),) = broken(target, given, facts)
    assert said == option
    assert words in text
    with pytest.raises(ValueError, match=re.escape(text)):
        hold(target, given, facts)


@pytest.mark.parametrize("target", CONDITIONS)
def test_conditions_are_of_functions_that_there_are_and_of_their_options(target: str) -> None:
    assert callable(load(target))
    named = {one.option for one in CONDITIONS[target]} - {""}
    assert named <= options(target).keys(), inspect.getfile(load(target))


@pytest.mark.parametrize("free", [{"norm": "l2"}, {"space": "normalized"}, {"box": False}], ids=str)
def test_where_there_is_no_such_wall_a_radius_may_be_longer(free: dict[str, Any]) -> None:
    assert broken("touchstone.defenses.at:Adversarial", AT | {"eps": 8} | free) == []


def test_what_nobody_knows_is_not_broken() -> None:
    assert broken("touchstone.attacks.cw:cw", CW | {"target_class": 99}) == []
    assert broken("somebody:else", {"x": 1}) == []
