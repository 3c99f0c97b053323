"""What a paper says in words: reading and checking qualitative.csv.

A statement has a test, a name and the words that it is about: "above minmax-printed std mnist". What the tests compare
is in `touchstone.findings.statements`.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from touchstone.registry import nearest
from touchstone.study.claims import Known, read_rows
from touchstone.study.config import ConfigError
from touchstone.study.scale import METRICS

COLUMNS = ["paper", "id", "claim", "evidence_table", "how_to_test", "published_numbers_agree", "test"]
SEE = "see"  # the test of a statement that a reader judges: "see figure 3"


class Words(NamedTuple):
    """What a test is about: a word each, then any number of further ones if they have a name."""

    each: tuple[str, ...]
    further: str = ""

    def fit(self, count: int) -> bool:
        """Say whether so many words are as many as it takes."""
        return count == len(self.each) or (bool(self.further) and count > len(self.each))

    def __str__(self) -> str:
        return " ".join([*self.each, *([f"{self.further} ..."] if self.further else [])])


# name of a test -> its words, as the functions in touchstone.findings.statements have them
TESTS = {
    "above": Words(("better", "worse", "dataset")),
    "not-above": Words(("defense", "reference")),
    "little-above": Words(("defense", "reference")),
    "best-on-most": Words(("best",), "others"),
    "broken": Words(("attack", "dataset")),
    "costs-clean": Words(("defense", "slight", "clear")),
    "decreasing": Words(("metric",), "defenses"),
    "near-zero": Words(("defense", "other")),
    "mean-gain": Words(("better", "worse")),
}


class Question(NamedTuple):
    """A name of TESTS, or SEE, and its words."""

    name: str
    words: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Question":
        """Read the column `test` of a statement."""
        name, *words = text.split() or [""]
        return cls(name, tuple(words))


def words(known: Known) -> set[str]:
    """Return what the tests of a study may name: metrics, and the slugs that are defined."""
    return {*METRICS, "rho_extreme"}.union(*known.values())


def load(folder: Path, words: Collection[str], *, required: bool = True) -> pd.DataFrame:
    """Return qualitative.csv: statements, each with a `test`.

    Where the file need not be there (`required`), its absence means that there are none.

    Raises:
        ConfigError: with every problem: an unknown test, a wrong number of words, a word not in `words`.
    """
    path = folder / "qualitative.csv"
    rows, problems = read_rows(path, COLUMNS, [], required=required)
    for line, row in rows:
        problems += [f"{path}:{line}: test: {text}" for text in _problems(Question.of(row["test"]), words)]
    if problems:
        raise ConfigError(problems)
    return pd.DataFrame([row for _, row in rows], columns=COLUMNS)


def _problems(test: Question, words: Collection[str]) -> Iterator[str]:
    if test.name == SEE and test.words:
        return
    if test.name not in TESTS:
        yield f"unknown test {test.name!r}; {nearest(test.name, [*TESTS, SEE])}"
        return
    if not TESTS[test.name].fit(len(test.words)):
        yield f"{test.name!r} with {len(test.words)} words: expected {TESTS[test.name]}"
    yield from (f"unknown word {word!r}; {nearest(word, words)}" for word in test.words if word not in words)
