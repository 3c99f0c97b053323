"""Reading qualitative.csv: every wrong test is named; what is right is read as it is written."""

from pathlib import Path

import pytest
from toy_claims import STUDY, slugs, write

from touchstone.study import statements
from touchstone.study.config import ConfigError
from touchstone.study.statements import Question

COLUMNS = ["paper", "id", "claim", "evidence_table", "how_to_test", "published_numbers_agree"]


def test_statements_are_read_as_written() -> None:
    found = statements.load(STUDY, statements.words(slugs()))
    assert list(found) == statements.COLUMNS
    assert found["id"].tolist() == [f"mm{number:02}" for number in range(1, 14)]
    assert Question.of(found["test"][0]) == Question("above", ("minmax-printed", "std", "mnist"))


def test_a_file_that_need_not_be_there_may_be_missing(tmp_path: Path) -> None:
    assert statements.load(tmp_path, (), required=False).empty
    with pytest.raises(ConfigError, match=r"qualitative\.csv: cannot be read"):
        statements.load(tmp_path, ())


@pytest.mark.parametrize(
    "test", ["see figure 2", "best-on-most std", "best-on-most std adv mnist", "mean-gain std adv"]
)
def test_a_test_with_its_words_is_right(tmp_path: Path, test: str) -> None:
    write(tmp_path, {**dict.fromkeys(COLUMNS, "x"), "test": test}, name="qualitative.csv")
    assert statements.load(tmp_path, {"std", "adv", "mnist"})["test"].tolist() == [test]


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("beats std adv mnist", "unknown test 'beats'; allowed: above"),
        ("above std", "'above' with 1 words: expected better worse dataset"),
        ("above std std mnist mnist", "'above' with 4 words: expected better worse dataset"),
        ("above std stdd mnist", "unknown word 'stdd'; .* did you mean 'std'"),
        ("", "unknown test ''"),
        ("see", "unknown test 'see'"),
        ("best-on-most", r"'best-on-most' with 0 words: expected best others \.\.\."),
    ],
)
def test_a_wrong_test_is_named(tmp_path: Path, test: str, message: str) -> None:
    write(tmp_path, {**dict.fromkeys(COLUMNS, "x"), "test": test}, name="qualitative.csv")
    with pytest.raises(ConfigError, match=rf"qualitative\.csv:2: test: {message}"):
        statements.load(tmp_path, {"std", "adv", "mnist"})
