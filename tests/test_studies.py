"""The typed form of a study."""

import pytest

from touchstone.studies import Study, for_dataset, starts
from touchstone.validation import fits, load_study


@pytest.fixture(scope="module")
def study(request: pytest.FixtureRequest) -> Study:
    return load_study(request.getfixturevalue("root") / "studies" / "minmax" / "study.yaml")


def test_values_by_dataset() -> None:
    assert for_dataset({"mnist": 0.3, "cifar10": 0.03}, "cifar10") == 0.03
    assert for_dataset(0.3, "cifar10") == 0.3


def test_what_a_defense_starts_from(study: Study) -> None:
    assert starts(study, "minmax-coded", "mnist") == ["std"]
    assert starts(study, "minmax-printed", "mnist") == []


def test_options_are_the_other_keys(study: Study) -> None:
    assert study.attacks["pgd40-linf"].options == {"steps": 40, "step_size": 0.01}


@pytest.mark.parametrize(
    ("value", "annotation", "good"),
    [
        (1, "int", True),
        (1.5, "int", False),
        (1, "float", True),
        (True, "int", False),
        (True, "bool", True),
        ("ce", "str", True),
        (None, "float | None", True),
        (None, "float", False),
        ([1], "list[int]", True),
    ],
)
def test_fits(value: object, annotation: str, good: bool) -> None:
    assert fits(value, annotation) is good
