"""What a paper says in words: reading and checking qualitative.csv.

A statement has a test: clauses, each a name and the words that it is about, as in "above minmax-printed std". It speaks
of the numbers that the paper prints as its evidence. What the tests compare is in `touchstone.findings.statements`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from touchstone.registry import nearest
from touchstone.study.claims import Known, Sheet, decimal, raise_problems, read_sheet
from touchstone.study.config import SLUG
from touchstone.study.scale import METRICS, RHO_NEAR, SILHOUETTE, TENSOR
from touchstone.weight_metrics import WEIGHT_METRICS

COLUMNS = ["paper", "id", "claim", "evidence_table", "how_to_test", "published_numbers_agree", "test"]
# datasets that it speaks of, where its evidence is no table of claims, or speaks of more; why numbers in its test are
# what they are
OPTIONAL = ["datasets", "threshold"]
NOT_TESTABLE = "not-testable"  # the test, with the reason, of a statement that no measurement answers
AND = ";"  # between the clauses of a test
UNDER, ON = "under", "on"  # after the words of a clause: attacks, and nets, that it is about alone
OF_WEIGHTS = tuple(metric.compared for metric in WEIGHT_METRICS.values())
OF_DISTANCE = (
    *("rho_adv", "rho_adv_ends", "rho_adv_all", "rho_adv_all_ends"),
    *("mean_norm", "median_norm"),
)  # what `more-robust` may compare: the larger, the more robust
_UNDER_ATTACK = [name for name, metric in METRICS.items() if {"fixed", "minimal"} & {*metric.kinds}]
OF_TRAINING = ("seconds_per_epoch", "settling_epoch", "late_spread", "validation_accuracy")
# kind of a word -> names; the others name slugs of the study, or are a number
NAMES = {
    "metric without an attack": (*OF_WEIGHTS, "accuracy", "error", "avg_confidence", "prob_gap", SILHOUETTE),
    "metric of distance": OF_DISTANCE,
    "metric under attack": (*_UNDER_ATTACK, RHO_NEAR),
    "metric of trainings": OF_TRAINING,
}


class Words(NamedTuple):
    """What a test is about: a word each with what it names, then one or more of a kind if they have a name."""

    each: Mapping[str, str]
    further: str = ""
    kind: str = "defense"

    def kinds(self, count: int) -> list[str] | None:
        """Return what so many words name, None if they are too many or too few."""
        more = count - len(self.each)
        return [*self.each.values(), *[self.kind] * more] if (more > 0 if self.further else more == 0) else None

    def __str__(self) -> str:
        return " ".join([*self.each, *([f"{self.further} ..."] if self.further else [])])


_PLAIN, _UNDER, _DISTANCE = "metric without an attack", "metric under attack", "metric of distance"
# name of a test -> its words, as the functions in touchstone.findings.statements have them
TESTS = {
    # defenses, under attack
    "above": Words({"better": "defense"}, "worse"),
    "not-above": Words({"defense": "defense"}, "references"),
    "same": Words({"defense": "defense"}, "references"),
    "little-above": Words({"defense": "defense"}, "references"),
    "mean-gain": Words({"better": "defense"}, "worse"),
    "best-on-most": Words({"best": "defense"}, "others"),
    "gain-grows": Words({"better": "defense", "worse": "defense", "weak": "attack"}, "strong", "attack"),
    "gain-above": Words({"better": "defense", "worse": "defense", "dataset": "dataset"}, "others", "dataset"),
    "at-least": Words({"share": "number"}, "defenses"),
    "at-most": Words({"share": "number"}, "defenses"),
    "broken": Words({"attack": "attack"}),
    "varies": Words({"first": "defense"}, "others"),
    "more-robust": Words({"metric": _DISTANCE, "better": "defense"}, "worse"),
    "more-robust-in-turn": Words({"metric": _DISTANCE, "first": "defense"}, "others"),
    "in-turn": Words({"metric": _UNDER, "first": "defense"}, "others"),
    "number-at-least": Words({"metric": _UNDER, "share": "number"}, "defenses"),
    "number-at-most": Words({"metric": _UNDER, "share": "number"}, "defenses"),
    # attacks
    "stronger": Words({"strong": "attack"}, "weak", "attack"),
    "no-weaker": Words({"strong": "attack"}, "weak", "attack"),
    "takes-at-most": Words({"share": "number", "short": "attack", "long": "attack"}),
    "ascending": Words({"metric": _UNDER, "first": "attack"}, "others", "attack"),
    "falls-to": Words({"share": "number"}),
    "misses": Words({"attack": "attack"}, "defenses"),
    "finds-all": Words({"attack": "attack"}, "defenses"),
    # without an attack
    "costs-clean": Words({"defense": "defense", "slight": "dataset", "clear": "dataset"}),
    "decreasing": Words({"metric": _PLAIN, "first": "defense"}, "others"),
    "decreasing-somewhere": Words({"metric": _PLAIN, "first": "defense"}, "others"),
    "no-less": Words({"metric": _PLAIN, "defense": "defense"}, "references"),
    "clearly-below": Words({"metric": _PLAIN, "defense": "defense"}, "references"),
    "keeps-clean": Words({"defense": "defense"}, "references"),
    "alike-clean": Words({"first": "defense"}, "others"),
    "difference-above": Words(
        {"metric": _PLAIN, "more": "defense", "less": "defense", "dataset": "dataset"}, "others", "dataset"
    ),
    "near-zero": Words({"defense": "defense", "other": "defense"}),
    "clean-at-least": Words({"metric": _PLAIN, "least": "number"}, "defenses"),
    "rises-with": Words({"metric": _PLAIN, "first": "defense"}, "others"),
    # trainings
    "training-above": Words({"statistic": "metric of trainings", "more": "defense"}, "less"),
    "costs-at-least": Words({"factor": "number", "defense": "defense"}, "references"),
    "costs-at-most": Words({"factor": "number", "defense": "defense"}, "references"),
    "unstable": Words({"reference": "defense"}, "defenses"),
    "stabler": Words({"reference": "defense", "stable": "defense"}, "unstable"),
    "decays": Words({"defense": "defense"}),
    "stays": Words({}, "defenses"),
    # attacks, sample by sample on one net
    "nearer": Words({"attack": "attack"}, "others", "attack"),
    "nearer-by": Words({"share": "number", "attack": "attack"}, "others", "attack"),
    "little-nearer": Words({"attack": "attack"}, "others", "attack"),
    "leaves-least": Words({"attack": "attack"}, "others", "attack"),
    "leaves-more": Words({"share": "number", "attack": "attack"}, "others", "attack"),
    "as-strong": Words({"attack": "attack"}, "others", "attack"),
    "gains-most": Words({"attack": "attack", "other": "attack", "defense": "defense"}),
    "helps-most": Words({"many": "attack", "few": "attack", "defense": "defense"}),
    "breaks-at-most": Words({"share": "number"}, "attacks", "attack"),
    "fewer-pixels": Words({}, "attacks", "attack"),
    "weaker-net": Words({"weak": "defense", "strong": "defense"}, "attacks", "attack"),
    "as-costly": Words({"attack": "attack"}, "others", "attack"),
    "second-class": Words({}, "attacks", "attack"),
    "second-class-throughout": Words({}, "attacks", "attack"),
    "later-classes-grow": Words({}, "attacks", "attack"),
    "more-in-second-class": Words({"attack": "attack", "more": "defense"}, "less"),
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


class Clause(NamedTuple):
    """A name of TESTS, its words, and the attacks and nets that it is about alone; none: all."""

    name: str
    words: tuple[str, ...]
    under: tuple[str, ...] = ()
    on: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> "Clause":
        """Read `name words ... [under attacks ...] [on nets ...]`."""
        name, *rest = text.split() or [""]
        parts: dict[str, list[str]] = {"": [], UNDER: [], ON: []}
        part = ""
        for word in rest:
            if word in (UNDER, ON) and name != NOT_TESTABLE:
                part = word
            else:
                parts[part].append(word)
        return cls(name, *map(tuple, parts.values()))

    def __str__(self) -> str:
        limits = [word for key, words in ((UNDER, self.under), (ON, self.on)) if words for word in (key, *words)]
        return " ".join([self.name, *self.words, *limits])

    @property
    def attacks(self) -> tuple[str, ...]:
        """The attacks that it names."""
        return self._of("attack")

    @property
    def numbers(self) -> tuple[str, ...]:
        """The numbers that it names."""
        return self._of("number")

    def _of(self, kind: str) -> tuple[str, ...]:
        kinds = TESTS[self.name].kinds(len(self.words)) if self.name in TESTS else None
        return tuple(word for word, its in zip(self.words, kinds or (), strict=False) if its == kind)


class Question(NamedTuple):
    """The clauses of a statement: it holds if all do."""

    clauses: tuple[Clause, ...]

    @classmethod
    def of(cls, text: str) -> "Question":
        """Read the column `test` of a statement."""
        parts = [text] if text.split()[:1] == [NOT_TESTABLE] else text.split(AND)
        return cls(tuple(Clause.of(part) for part in parts))

    @property
    def why_not(self) -> str:
        """Why no measurement answers it; "" if one does."""
        first = self.clauses[0]
        return " ".join(first.words) if first.name == NOT_TESTABLE else ""

    def __str__(self) -> str:
        return f"{AND} ".join(map(str, self.clauses))


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
        threshold: why the numbers in its test are what they are; "" if it has none.
    """

    id: str
    claim: str
    test: Question
    tables: tuple[str, ...]
    datasets: tuple[str, ...]
    published_numbers_agree: str
    threshold: str = ""

    @classmethod
    def of(cls, row: Mapping[str, str]) -> "Statement":
        """Read a row of the file."""
        tables, datasets = (_listed(row[key]) for key in ("evidence_table", "datasets"))
        agree, why = row["published_numbers_agree"], row["threshold"]
        return cls(row["id"], row["claim"], Question.of(row["test"]), tables, datasets, agree, why)


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
        ConfigError: with every problem: an unknown test, too many or too few words, a word that is no number or names
            no slug of its kind, an id that is there twice, evidence that is no table of claims.
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
    yield from (("test", text) for clause in test.clauses for text in _problems_of(clause, known))
    if not row["threshold"] and any(map(_is_number, chain.from_iterable(clause.numbers for clause in test.clauses))):
        yield "threshold", "is empty: say why the numbers of the test are what they are"
    if (
        not test.why_not
        and printed is not None
        and not row["datasets"]
        and not printed & {*_listed(row["evidence_table"])}
    ):
        text = f"no claim has one of them as `source_table`: name `datasets`, or one of {', '.join(sorted(printed))}"
        yield "evidence_table", f"{row['evidence_table']!r}: {text}"


def _problems_of(clause: Clause, known: Known) -> Iterator[str]:
    if clause.name == NOT_TESTABLE and clause.words:
        return
    if clause.name not in TESTS:
        yield f"unknown test {clause.name!r}; {nearest(clause.name, [*TESTS, NOT_TESTABLE])}"
        return
    kinds = TESTS[clause.name].kinds(len(clause.words))
    if kinds is None:
        yield f"{clause.name!r} with {len(clause.words)} words: expected {TESTS[clause.name]}"
        return
    words = [*zip(clause.words, kinds, strict=True), *((word, "attack") for word in clause.under)]
    for word, kind in [*words, *((word, "defense") for word in clause.on)]:
        yield from _problems_of_word(word, kind, known)


def _problems_of_word(word: str, kind: str, known: Known) -> Iterator[str]:
    if kind == "number":
        if not _is_number(word):
            yield f"expected a number, got {word!r}"
        return
    subject = Subject.of(word) if kind == "defense" else Subject(word.partition(TENSOR)[0] if kind in NAMES else word)
    names = NAMES.get(kind) or known[kind]
    if subject.defense not in names:
        yield f"unknown {kind} {subject.defense!r}; {nearest(subject.defense, names)}"
    if subject.model and subject.model not in known["model"]:
        yield f"unknown model {subject.model!r}; {nearest(subject.model, known['model'])}"


def _is_number(word: str) -> bool:
    return decimal(word) is not None
