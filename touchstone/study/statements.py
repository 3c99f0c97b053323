"""What a paper says in words: reading and checking qualitative.csv.

A statement has a test, a name and the words that it is about: "above minmax-printed std". It speaks of the numbers that
the paper prints as its evidence. What the tests compare is in `touchstone.findings.statements`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from touchstone.registry import nearest
from touchstone.study.claims import Known, Sheet, raise_problems, read_sheet
from touchstone.study.config import SLUG
from touchstone.weight_metrics import WEIGHT_METRICS

COLUMNS = ["paper", "id", "claim", "evidence_table", "how_to_test", "published_numbers_agree", "test"]
OPTIONAL = ["datasets"]  # that it speaks of, where its evidence is no table of claims, or speaks of more
SEE = "see"  # the test of a statement that a reader judges: "see figure 3"
OF_WEIGHTS = tuple(metric.compared for metric in WEIGHT_METRICS.values())  # what `decreasing` may compare
OF_DISTANCE = (
    *("rho_adv", "rho_adv_ends", "rho_adv_all", "rho_adv_all_ends"),
    *("mean_norm", "median_norm"),
)  # what `more-robust` may compare: the larger, the more robust
METRICS = {"metric of weights": OF_WEIGHTS, "metric of distance": OF_DISTANCE}


class Words(NamedTuple):
    """What a test is about: a word each with what it names, then one or more defenses if they have a name."""

    each: Mapping[str, str]
    further: str = ""

    def kinds(self, count: int) -> list[str] | None:
        """Return what so many words name, None if they are too many or too few."""
        more = count - len(self.each)
        return [*self.each.values(), *["defense"] * more] if (more > 0 if self.further else more == 0) else None

    def __str__(self) -> str:
        return " ".join([*self.each, *([f"{self.further} ..."] if self.further else [])])


# name of a test -> its words, as the functions in touchstone.findings.statements have them
TESTS = {
    "above": Words({"better": "defense"}, "worse"),
    "not-above": Words({"defense": "defense"}, "references"),
    "same": Words({"defense": "defense"}, "references"),
    "little-above": Words({"defense": "defense"}, "references"),
    "mean-gain": Words({"better": "defense"}, "worse"),
    "best-on-most": Words({"best": "defense"}, "others"),
    "more-robust": Words({"metric": "metric of distance", "better": "defense"}, "worse"),
    "broken": Words({"attack": "attack"}),
    "costs-clean": Words({"defense": "defense", "slight": "dataset", "clear": "dataset"}),
    "decreasing": Words({"metric": "metric of weights", "first": "defense"}, "others"),
    "near-zero": Words({"defense": "defense", "other": "defense"}),
}


class Subject(NamedTuple):
    """A defense that a statement is about, on one model or, without its name, on every one that the claims name."""

    defense: str
    model: str = ""

    @classmethod
    def of(cls, word: str) -> "Subject":
        """Read `defense` or `model/defense`."""
        model, _, defense = word.rpartition("/")
        return cls(defense, model)


class Question(NamedTuple):
    """A name of TESTS, or SEE, and its words."""

    name: str
    words: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Question":
        """Read the column `test` of a statement."""
        name, *words = text.split() or [""]
        return cls(name, tuple(words))

    def __str__(self) -> str:
        return " ".join([self.name, *self.words])


@dataclass(frozen=True)
class Statement:
    """Something that a paper says in words.

    Attributes:
        id: its slug.
        claim: what it says.
        test: how it is tested.
        tables: where the paper shows it, as the column `source_table` of the claims has it.
        datasets: that it speaks of; empty: those of the claims in its tables.
        published_numbers_agree: whether the paper's own numbers support it.
    """

    id: str
    claim: str
    test: Question
    tables: tuple[str, ...]
    datasets: tuple[str, ...]
    published_numbers_agree: str

    @classmethod
    def of(cls, row: Mapping[str, str]) -> "Statement":
        """Read a row of the file."""
        tables, datasets = (_listed(row[key]) for key in ("evidence_table", "datasets"))
        return cls(row["id"], row["claim"], Question.of(row["test"]), tables, datasets, row["published_numbers_agree"])


def read(path: Path) -> Sheet | None:
    """Read qualitative.csv as it is written; None where there is no such file."""
    return read_sheet(path, COLUMNS, OPTIONAL)


def load(sheet: Sheet | None, study: str, known: Known, claims: pd.DataFrame | None = None) -> tuple[Statement, ...]:
    """Return the statements of qualitative.csv.

    Args:
        sheet: the file; None for a study without statements.
        study: whose statements they are.
        known: slot -> slugs that are defined, as `claims.known` returns them.
        claims: of the study; without them it is not checked that a statement's evidence is among them.

    Raises:
        ConfigError: with every problem: an unknown test, too many or too few words, a word that names no slug of its
            kind, an id that is there twice, evidence that is no table of claims.
    """
    if sheet is None:
        return ()
    printed = None if claims is None else set(claims["source_table"])
    raise_problems(sheet, lambda row: _problems(row, study, known, printed))
    return tuple(Statement.of(row) for _, row in sheet.rows)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())


def _problems(row: Mapping[str, str], study: str, known: Known, printed: set[str] | None) -> Iterator[tuple[str, str]]:
    if not re.fullmatch(SLUG, row["id"]):
        yield "id", f"must match {SLUG}, got {row['id']!r}"
    if row["paper"] != study:
        yield "paper", f"must be the study {study!r}, got {row['paper']!r}"
    for name in _listed(row["datasets"]):
        if name not in known["dataset"]:
            yield "datasets", f"unknown dataset {name!r}; {nearest(name, known['dataset'])}"
    test = Question.of(row["test"])
    yield from (("test", text) for text in _test_problems(test, known))
    if (
        test.name != SEE
        and printed is not None
        and not row["datasets"]
        and not printed & {*_listed(row["evidence_table"])}
    ):
        text = f"no claim has one of them as `source_table`: name `datasets`, or one of {', '.join(sorted(printed))}"
        yield "evidence_table", f"{row['evidence_table']!r}: {text}"


def _test_problems(test: Question, known: Known) -> Iterator[str]:
    if test.name == SEE and test.words:
        return
    if test.name not in TESTS:
        yield f"unknown test {test.name!r}; {nearest(test.name, [*TESTS, SEE])}"
        return
    kinds = TESTS[test.name].kinds(len(test.words))
    if kinds is None:
        yield f"{test.name!r} with {len(test.words)} words: expected {TESTS[test.name]}"
        return
    words = {**known, **METRICS}
    for word, kind in zip(test.words, kinds, strict=True):
        names = words[kind]
        subject = Subject.of(word) if kind == "defense" else Subject(word)
        if subject.defense not in names:
            yield f"unknown {kind} {subject.defense!r}; {nearest(subject.defense, names)}"
        if subject.model and subject.model not in known["model"]:
            yield f"unknown model {subject.model!r}; {nearest(subject.model, known['model'])}"
