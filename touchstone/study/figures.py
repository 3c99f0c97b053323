"""figures.csv: the figures of a work that show data, what each is said to show, and where it is drawn here."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from touchstone.registry import nearest
from touchstone.study.claims import raise_problems, read_sheet

COLUMNS = ["paper", "figure", "x", "y", "series", "claim", "datasets_models", "drawn"]


@dataclass(frozen=True)
class Published:
    """A figure of a work.

    Attributes:
        number: what it is called there, "Figure 3.4".
        claim: what the work concludes from it.
        drawn: the figure of study.yaml that draws it again.
    """

    number: str
    claim: str
    drawn: str


def load(path: Path, study: str, figures: Collection[str]) -> tuple[Published, ...]:
    """Return the figures of a work in the order of the file; none where there is no such file.

    Args:
        path: of figures.csv.
        study: whose figures they are.
        figures: slugs of the figures that study.yaml draws.

    Raises:
        ConfigError: with every problem: another study, a number that is there twice, or a figure that is drawn nowhere.
    """
    sheet = read_sheet(path, COLUMNS, [])
    if sheet is None:
        return ()
    raise_problems(sheet, lambda row: _problems(row, study, figures), unique=("figure", "drawn"))
    return tuple(Published(row["figure"], row["claim"], row["drawn"]) for _, row in sheet.rows)


def _problems(row: Mapping[str, str], study: str, figures: Collection[str]) -> Iterator[tuple[str, str]]:
    if row["paper"] != study:
        yield "paper", f"must be the study {study!r}, got {row['paper']!r}"
    for key in ("figure", "claim"):
        if not row[key]:
            yield key, "must not be empty"
    if row["drawn"] and row["drawn"] not in figures:
        yield "drawn", f"unknown figure {row['drawn']!r}; {nearest(row['drawn'], figures)}"
