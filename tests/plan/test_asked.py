"""What a study asks for: the cells of its claims, under each reading."""

import shutil
from pathlib import Path

import pytest
from toy_claims import CLEAN, NO_CELL, ROW, STUDY, write

from touchstone.plan.asked import Asked, asked
from touchstone.study.checks import load_study
from touchstone.study.claims import SLOTS
from touchstone.study.config import ConfigError


def test_an_asked_cell_has_the_slots_of_a_claim() -> None:
    assert Asked._fields == tuple(SLOTS)


def test_the_study_asks_for_its_cells_in_every_reading() -> None:
    found = asked(STUDY, load_study(STUDY / "study.yaml"))
    defenses = {(c.defense, c.attack) for c in found if c.dataset == "mnist"}
    assert {("std", "pgd40-linf"), ("minmax-coded", "pgd40-linf"), ("minmax-printed", "pgd40-linf-px")} <= defenses
    assert ("minmax-coded", "pgd40-linf-px") not in defenses, "readings are not crossed"
    assert ("adv", "clean") in defenses
    assert len(set(found)) == len(found)


def test_a_comparing_metric_asks_for_the_reference(tmp_path: Path) -> None:
    row = (
        ROW | CLEAN | {"cell_metric": "clean_accuracy_drop_vs_std", "cell_defense": "minmax-printed", "paper": "minmax"}
    )
    row |= {"metric": "clean_accuracy_drop_vs_std", "defense": "minmax"}
    (folder := tmp_path / "minmax").mkdir()
    study = load_study(STUDY / "study.yaml").model_copy(update={"tables": {}})
    found = asked(write(folder, row), study)
    assert {c.defense for c in found} == {"minmax-printed", "minmax-coded", "std"}


def test_a_number_without_a_cell_asks_for_nothing(tmp_path: Path) -> None:
    (folder := tmp_path / "minmax").mkdir()
    row = ROW | {"paper": "minmax"}
    rows = [row, row | NO_CELL | {"id": "b", "cited": "A et al."}]
    assert asked(write(folder, *rows), load_study(STUDY / "study.yaml")) == [
        Asked("mnist", "lenet", "std", "pgd40-linf"),
        Asked("mnist", "lenet", "std", "pgd40-linf-px"),
    ]


def test_problems_of_both_files_are_reported_together(tmp_path: Path) -> None:
    (folder := tmp_path / "minmax").mkdir()
    shutil.copy(STUDY / "qualitative.csv", folder)
    text = (folder / "qualitative.csv").read_text().replace("above minmax-printed", "abov minmax-printed")
    (folder / "qualitative.csv").write_text(text)
    write(folder, ROW | {"cell_attack": "pgd40-lnf", "paper": "minmax"})
    with pytest.raises(ConfigError) as caught:
        asked(folder, load_study(STUDY / "study.yaml"))
    assert len(caught.value.problems) == 3
    assert "claims.csv:2: cell_attack: unknown attack 'pgd40-lnf'" in caught.value.problems[0]
    assert "did you mean 'pgd40-linf'?" in caught.value.problems[0]
    assert "qualitative.csv:2: test: unknown test 'abov'; allowed: above" in caught.value.problems[1]


def test_a_study_asks_for_something(tmp_path: Path) -> None:
    (folder := tmp_path / "minmax").mkdir()
    write(folder, ROW | NO_CELL | {"out_of_scope": "a figure", "paper": "minmax", "source_table": "Figure 1"})
    study = load_study(STUDY / "study.yaml").model_copy(update={"tables": {}})
    with pytest.raises(ConfigError, match=r"nothing runs: claims\.csv names no cell, and study\.yaml has no `cells`"):
        asked(folder, study)
