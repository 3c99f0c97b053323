"""What a study says of the work beside its recipes: tables, readings and words of claims.csv, and captions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from touchstone.study.checks.checker import Checker
from touchstone.study.claims import Sheet
from touchstone.study.schema import Norm, Study

CLAIM = "claim"  # the caption that says what the work claims

_LABELLED = ("dataset", "model", "defense", "attack", "threat", "metric", "cell_metric")  # columns


@dataclass(frozen=True)
class Printed:
    """Checks what a study says of printed tables and words against its claims.csv, if it has one."""

    check: Checker
    study: Study
    name: str  # of the file
    claims: Sheet | None

    def run(self) -> None:
        """Check tables, readings and labels."""
        if self.claims is None:
            for name, table in self.study.tables.items() if self.study.cells else ():  # else missed with the claims
                if table.source_table is not None:
                    self.check.add(("tables", name), f"shows what is printed, and there is no {self.name}")
            return
        if not self.claims.whole:
            return  # what is wrong with the file as a whole is said where its claims are checked
        rows = [row for _, row in self.claims.rows]
        self._tables(rows)
        self._readings(rows)
        self._labels(rows)

    def _tables(self, rows: list[dict[str, str]]) -> None:
        tables = {row["source_table"] for row in rows}
        on = {(row["source_table"], row["dataset"]) for row in rows}
        for name, table in self.study.tables.items():
            if table.source_table is None:
                continue
            key = ("tables", name)
            known = self.check.known((*key, "source_table"), table.source_table, tables, "table of claims.csv")
            if known and table.dataset and (table.source_table, table.dataset) not in on:
                text = f"claims.csv has no claim of {table.source_table!r} on {table.dataset!r}"
                self.check.add((*key, "dataset"), text)

    def _readings(self, rows: list[dict[str, str]]) -> None:
        for name, reading in self.study.readings.items():
            cells = ([row[f"cell_{word}"] for word in ("model", "defense", "attack", "metric")] for row in rows)
            if reading.swaps and not any(reading.changes(*words) for words in cells):
                text = "changes no claim: it swaps slugs that no cell of claims.csv has"
                self.check.add(("readings", name), text)

    def _labels(self, rows: list[dict[str, str]]) -> None:
        study = self.study
        words = {row[column] for row in rows for column in _LABELLED}
        words.update(study.recipes, study.models, study.defenses, study.attacks, get_args(Norm))
        for word in study.labels:
            self.check.known(("labels", word), word, words, "word")


@dataclass(frozen=True)
class Captions:
    """Checks captions.yaml: a caption for each figure, and with any of them what the work claims."""

    check: Checker
    study: Study
    given: Mapping[Any, Any]

    def run(self) -> None:
        """Check that each is text, is known, and that none is missing."""
        for name, text in self.given.items():
            self.check.known((name,), str(name), {CLAIM, *self.study.figures}, "caption")
            if not isinstance(text, str) or not text.strip():
                self.check.add((name,), f"must be text, got {text!r}")
        needed = {*self.study.figures, *([CLAIM] if self.given else [])}
        for name in sorted(needed - self.given.keys()):
            what = "a paragraph on what the paper says" if name == CLAIM else "it is a figure of study.yaml"
            self.check.add((), f"no caption {name!r}: {what}")
