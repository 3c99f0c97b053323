"""figures.csv: every figure of the six works that shows data, and where it is drawn."""

import csv
from pathlib import Path

import pytest

from touchstone.paths import study_files
from touchstone.study.config import ConfigError
from touchstone.study.figures import COLUMNS, load

PUBLISHED = {"minmax": 5, "margin": 5, "critic": 3, "pdpgd": 1, "pcloss": 3, "weightpen": 5}


def rows(root: Path) -> list[dict[str, str]]:
    found = []
    for study in PUBLISHED:
        with study_files(study, root).figures.open(encoding="utf-8", newline="") as file:
            found += list(csv.DictReader(file))
    return found


def test_every_published_figure_is_there_once_and_drawn(root: Path) -> None:
    found = rows(root)
    assert len(found) == len({(row["paper"], row["figure"]) for row in found}) == sum(PUBLISHED.values()) == 22
    assert {study: sum(row["paper"] == study for row in found) for study in PUBLISHED} == PUBLISHED
    assert all(row["drawn"] for row in found)


def test_the_rows_are_those_that_were_read_from_the_papers(root: Path) -> None:
    shared = root.parent / "shared" / "claims" / "figures.csv"
    if not shared.exists():
        pytest.skip("the notes on the papers are not here")
    with shared.open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [{key: row[key] for key in COLUMNS if key != "drawn"} for row in rows(root)] == read


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"paper": "margin"}, "paper: must be the study 'minmax', got 'margin'"),
        ({"claim": ""}, "claim: must not be empty"),
        ({"drawn": "figre2"}, "drawn: unknown figure 'figre2'; .*did you mean 'figure2'"),
        ({"figure": "Figure 1"}, "figure: must be unique, 'Figure 1' is already on line 2"),
        ({"drawn": "figure1"}, "drawn: must be unique, 'figure1' is already on line 2"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(tmp_path: Path, changes: dict[str, str], problem: str) -> None:
    row = dict.fromkeys(COLUMNS, "x") | {"paper": "minmax", "figure": "Figure 2", "drawn": "figure2"}
    path = tmp_path / "figures.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows([row | {"figure": "Figure 1", "drawn": "figure1"}, row | changes])
    with pytest.raises(ConfigError, match=f"figures.csv:3: {problem}"):
        load(path, "minmax", ("figure1", "figure2"))


def test_a_work_may_have_no_figures(tmp_path: Path) -> None:
    assert load(tmp_path / "figures.csv", "minmax", ()) == ()
