"""What a run leaves is as it left it, or the next one says which file is not."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from damages import DAMAGES, Damage, another_s, cut_off, empty, flip_a_bit, put_back

from touchstone import paths
from touchstone.files import write_bytes, write_sealed
from touchstone.plan import finished, targets
from touchstone.plan.plan import Plan, make_plan

pytestmark = pytest.mark.usefixtures("left")


@pytest.fixture(scope="module")
def plan(root: Path) -> Plan:
    return make_plan(root, root / "tests" / "config.yaml")


@pytest.fixture
def left(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The files of a run that has ended, each with content of its own."""
    monkeypatch.chdir(tmp_path)
    files = targets.everything(plan)
    for file in files:
        write_bytes(file, str(file).encode())
    for dataset in {plan.data(model.dataset) for model in plan.trained}:
        data, facts = paths.prepared(dataset)
        write_sealed(facts, {"name": dataset, "sha256": finished.sum_of_file(data)})
        write_sealed(paths.raw(dataset).fetched, {"dataset": dataset})
        files.append(paths.raw(dataset).fetched)
    finished.begin(plan)
    finished.finish(plan)
    return files


def test_nothing_is_wrong_with_what_a_run_has_left(plan: Plan) -> None:
    assert finished.damaged(plan) == []


@pytest.mark.parametrize("damage", [*DAMAGES, another_s([*paths.prepared("digits"), paths.raw("digits").fetched])])
def test_every_file_that_is_damaged_is_named_with_its_rule(
    plan: Plan, left: list[Path], tmp_path: Path, damage: Damage
) -> None:
    rules = targets.made(plan)
    for file in left:
        with put_back(file, tmp_path / "aside"):
            damage(file)
            (error,) = finished.damaged(plan)
            assert str(error).startswith(f"{file} cannot be used: ")
            assert str(error).endswith(f"; delete it and run snakemake again (rule {rules.get(file, 'fetch')})")
    assert finished.damaged(plan) == []


def test_a_file_that_cannot_be_read_is_named(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is root can read all."""
    whole = finished.sum_of_file

    def sum_of_file(file: Path) -> str:
        if file == plan.results.claims:
            raise PermissionError(13, "Permission denied", str(file))
        return whole(file)

    monkeypatch.setattr(finished, "sum_of_file", sum_of_file)
    (error,) = finished.damaged(plan)
    assert "claims.csv cannot be used: [Errno 13] Permission denied" in str(error)


def test_what_is_gone_is_not_wrong(plan: Plan, left: list[Path]) -> None:
    for file in left:
        file.unlink()
        assert finished.damaged(plan) == []


def test_a_new_date_is_no_damage(plan: Plan, left: list[Path]) -> None:
    for file in left:
        os.utime(file, (1, 1))
    assert finished.damaged(plan) == []


def test_all_that_is_damaged_is_named_at_once(plan: Plan, left: list[Path]) -> None:
    for file in left:
        flip_a_bit(file)
    prepared = {file for file in left if file.parent == paths.PREPARED}
    named = {str(error).partition(" cannot be used")[0] for error in finished.damaged(plan)}
    assert named >= {str(file) for file in left if file not in prepared}


@pytest.mark.parametrize("damage", [flip_a_bit, empty, cut_off, another_s([paths.raw("digits").fetched])])
def test_so_is_a_record_that_is_damaged_itself(plan: Plan, damage: Damage) -> None:
    damage(plan.results.finished)
    (error,) = finished.damaged(plan)
    assert "finished.json cannot be used" in str(error)
    plan.results.finished.unlink()
    assert finished.damaged(plan) == []
    flip_a_bit(plan.results.claims)
    assert len(finished.damaged(plan)) == 1, "what is there is noted again"


def test_a_run_that_fails_notes_what_it_made(plan: Plan) -> None:
    finished.begin(plan)
    plan.results.claims.write_text("made anew")
    plan.results.provenance().unlink()
    finished.finish(plan)
    assert finished.damaged(plan) == []
    plan.results.claims.write_text("damaged")
    assert len(finished.damaged(plan)) == 1


def test_what_a_killed_run_may_have_made_is_not_compared(plan: Plan) -> None:
    finished.begin(plan)
    plan.results.claims.write_text("made anew")
    flip_a_bit(plan.results.provenance())
    plan.results.config.unlink()
    (error,) = finished.damaged(plan)
    assert "provenance.json cannot be used" in str(error), "its date says that nobody wrote it"
    plan.results.provenance().unlink()
    assert finished.damaged(plan) == []


def test_after_a_killed_run_all_is_compared_again_once_it_is_whole(plan: Plan) -> None:
    """With nothing left to do no run begins, and none ends."""
    finished.begin(plan)
    plan.results.claims.write_text("made anew")
    assert finished.damaged(plan) == []
    plan.results.claims.write_text("damaged")
    assert len(finished.damaged(plan)) == 1


def test_a_bit_that_is_lost_while_a_run_works_is_not_taken_as_its_own(plan: Plan) -> None:
    finished.begin(plan)
    flip_a_bit(plan.results.claims)
    finished.finish(plan)
    assert len(finished.damaged(plan)) == 1


def test_what_this_run_does_not_ask_for_stays_noted(plan: Plan) -> None:
    study = plan.results.report("minmax").pdf
    finished.finish(Plan(plan.root, plan.config, {}, plan.suites, {}))
    flip_a_bit(study)
    (error,) = finished.damaged(plan)
    assert str(error).endswith("(rule study_report)")


def test_a_run_that_never_ended_is_not_compared(plan: Plan) -> None:
    plan.results.finished.unlink()
    plan.results.claims.unlink()
    flip_a_bit(plan.results.provenance())
    assert finished.damaged(plan) == []
    assert not plan.results.finished.exists()
