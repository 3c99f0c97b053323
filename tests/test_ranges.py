"""Every option of every table has an annotation that says its range, and values are held against it."""

import math

import pytest

from touchstone.attacks import ATTACKS
from touchstone.defenses import DEFENSES
from touchstone.models import MODELS
from touchstone.ranges import hint, mismatch, words
from touchstone.registry import options
from touchstone.report.plots import PLOTS
from touchstone.study.checks.attacks import CONTRACT

TARGETS = sorted({spec.fn for table in (ATTACKS, DEFENSES, MODELS, PLOTS) for spec in table.values()})
# of wrapped and foreign attacks, which the check of attacks knows; of other libraries' nets
LOOKED_UP = {"attack", "target", "radius", "name"}


EVERY = [
    pytest.param(name, option.annotation, id=f"{target.rpartition(':')[2]}-{name}")
    for target in TARGETS
    for name, option in options(target).items()
    if name not in CONTRACT
]


@pytest.mark.parametrize(("name", "annotation"), EVERY)
def test_every_option_is_checked(name: str, annotation: str) -> None:
    """No annotation lets every number or every word pass, but for names that something else looks up."""
    assert annotation
    for value in (object(), math.nan, math.inf, -math.inf, -1e9, -(10**9), "no such word"):
        assert mismatch(value, hint(annotation)) or (value == "no such word" and name in LOOKED_UP)


@pytest.mark.parametrize("annotation", sorted({annotation for case in EVERY for annotation in case.values[1:]}))
def test_no_count_is_so_large_that_nothing_ends_or_fits(annotation: str) -> None:
    whole = [10**30, [10**30]]
    takes_integers = any(not mismatch(value, hint(annotation)) for value in (1, 16, [1]))
    takes_fractions = any(not mismatch(value, hint(annotation)) for value in (0.5, 1.5, [0.5]))
    if takes_integers and not takes_fractions:
        assert all(mismatch(value, hint(annotation)) for value in whole)


@pytest.mark.parametrize(
    ("value", "annotation", "problem"),
    [
        (1, "int", ""),
        (1.5, "int", "int, got 1.5"),
        (1, "float", ""),
        (True, "int", "int, got True"),
        (1, "bool", "bool, got 1"),
        ("ce", "str", ""),
        (None, "float | None", ""),
        (None, "float", "float, got None"),
        (0, "Count", "int >= 1 and <= 1000000000, got 0"),
        (10**30, "Count", f"int >= 1 and <= 1000000000, got {10**30}"),
        (10**30, "Whole", f"int >= 0 and <= 1000000000, got {10**30}"),
        (0, "Positive", "finite float > 0, got 0"),
        (math.inf, "NotNegative", "finite float >= 0, got inf"),
        (math.nan, "Share", "float >= 0 and <= 1, got nan"),
        (2, "Annotated[float, Gt(0), Lt(1)] | None", "float > 0 and < 1 or None, got 2"),
        ("l3", "Literal['l1', 'l2']", "one of 'l1', 'l2', got 'l3'"),
        ([1, 2], "Sequence[Count]", ""),
        ([1, 0], "Sequence[Count]", "sequence of int >= 1 and <= 1000000000, got [1, 0]"),
        ("12", "Sequence[str]", "sequence of str, got '12'"),
        ([], "Annotated[Sequence[Count], MinLen(1)]", "sequence of int >= 1 and <= 1000000000 of length >= 1, got []"),
        ({"a": 1}, "Mapping[str, Any] | None", ""),
        (object, "", ""),
    ],
)
def test_a_value_is_held_against_an_annotation(value: object, annotation: str, problem: str) -> None:
    assert mismatch(value, hint(annotation)) == problem


@pytest.mark.parametrize("annotation", ["Tensor", "Coutn", "list[", "Annotated[int, Multiple(2)]", "1 / 0"])
def test_an_annotation_that_says_nothing_is_an_error(annotation: str) -> None:
    with pytest.raises(ValueError, match="no value can be held against the annotation"):
        hint(annotation)


def test_words_of_a_type() -> None:
    assert words(hint("int")) == "int"


@pytest.mark.parametrize(
    "annotation",
    [
        "().__class__.__base__.__subclasses__()",
        "[one for one in (1, 2)]",
        "(lambda: int)()",
        "int if float else str",
        "f'{int}'",
        "'int'",
        "Annotated['print(1)', Ge(1)]",
        "Sequence['print(1)']",
        "Literal[print(1)]",
        "Literal[('a', 'b'), ()]",
        "int(",
        "Unknown",
    ],
)
def test_the_annotation_of_ones_own_function_runs_nothing(annotation: str) -> None:
    """A study is checked before anything of it runs, and the text of a function that it names stays text."""
    with pytest.raises(ValueError, match="no value can be held against the annotation"):
        hint(annotation)
