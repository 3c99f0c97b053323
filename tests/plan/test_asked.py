"""What a study asks for: the cells of its claims, under each reading."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from toy_claims import CLEAN, FILES, NO_CELL, ROW, write

from touchstone.paths import study_files
from touchstone.plan.asked import Asked, asked
from touchstone.plan.plan import make_plan
from touchstone.study import claims
from touchstone.study.checks import load_study
from touchstone.study.claims import SLOTS
from touchstone.study.config import ConfigError
from touchstone.study.schema import CellsDef, PeopleDef, Study


def ask(folder: Path, *rows: Mapping[str, str], study: Study | None = None, **files: Path) -> list[Asked]:
    """Return what minmax asks for with these claims, and without statements."""
    claimed = write(folder, *rows) / "claims.csv"
    written = replace(FILES, **{"claims": claimed, "statements": folder / "none.csv", **files})
    return asked(written, study or load_study(FILES), claims.read(claimed))


def test_an_asked_cell_has_the_slots_of_a_claim() -> None:
    assert Asked._fields == tuple(SLOTS)


def test_the_study_asks_for_its_cells_in_every_reading() -> None:
    found = asked(FILES, load_study(FILES), claims.read(FILES.claims))
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
    found = ask(tmp_path, row, study=load_study(FILES).model_copy(update={"tables": {}}))
    assert {c.defense for c in found} == {"minmax-printed", "minmax-coded", "std"}


def test_a_number_without_a_cell_asks_for_nothing(tmp_path: Path) -> None:
    row = ROW | {"paper": "minmax"}
    rows = [row, row | NO_CELL | {"id": "b", "cited": "A et al."}]
    assert ask(tmp_path, *rows) == [
        Asked("mnist", "lenet", "std", "pgd40-linf"),
        Asked("mnist", "lenet", "std", "pgd40-linf-px"),
    ]


def test_what_people_are_asked_is_shown_to_them(tmp_path: Path) -> None:
    row = ROW | {"paper": "minmax", "attack": "cw", "norm": "l2", "epsilon": "", "metric": "human_change"}
    row |= {"cell_attack": "cw-l2", "cell_epsilon": "", "cell_metric": "human_change"}
    with pytest.raises(ConfigError, match=rf"cell_metric: {row['id']}: `people` of .*study\.yaml shows no such images"):
        ask(tmp_path, row)
    cells = CellsDef(datasets=["mnist"], models=["lenet"], defenses=["std", "adv"], attacks=["cw-l2"])
    people = PeopleDef(cells=[cells], assignments=1, images=1, seed=0)
    found = ask(tmp_path, row, study=load_study(FILES).model_copy(update={"people": people}))
    assert Asked("mnist", "lenet", "adv", "cw-l2") in found, "what people see runs"


def test_problems_of_both_files_are_reported_together(tmp_path: Path) -> None:
    text = FILES.statements.read_text().replace("above minmax-printed", "abov minmax-printed")
    (statements := tmp_path / "qualitative.csv").write_text(text)
    with pytest.raises(ConfigError) as caught:
        ask(tmp_path, ROW | {"cell_attack": "pgd40-lnf", "paper": "minmax"}, statements=statements)
    assert len(caught.value.problems) == 3
    assert "claims.csv:2: cell_attack: unknown attack 'pgd40-lnf'" in caught.value.problems[0]
    assert "did you mean 'pgd40-linf'?" in caught.value.problems[0]
    assert "qualitative.csv:2: test: unknown test 'abov'; allowed: above" in caught.value.problems[1]


def test_a_study_asks_for_something(tmp_path: Path) -> None:
    row = ROW | NO_CELL | {"out_of_scope": "a figure", "paper": "minmax", "source_table": "Figure 1"}
    with pytest.raises(ConfigError, match=r"nothing runs: .*/claims\.csv names no cell, and .* has no `cells`"):
        ask(tmp_path, row)


def test_a_study_without_claims_names_cells() -> None:
    with pytest.raises(
        ConfigError, match=r"claims\.csv: cannot be read: there is none, and .* has no `cells`"
    ) as caught:
        asked(FILES, load_study(FILES), None)
    assert len(caught.value.problems) == 1, "and nothing of statements about them"


def test_claims_are_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the longest files of a plan."""
    seen, real = list[Path](), claims._rows
    monkeypatch.setattr(claims, "_rows", lambda path, *columns: seen.append(path) or real(path, *columns))
    plan = make_plan(root, root / "tests" / "config.yaml")
    written = [study_files(name, root) for name in plan.studies]
    assert sorted(seen) == sorted(f for files in written for f in (files.claims, files.statements, files.figures))
