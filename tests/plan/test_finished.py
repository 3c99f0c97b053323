"""What a run leaves is as it left it, or the next one says which file is not."""

import errno
import gzip
import hashlib
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
from damages import DAMAGES, Damage, another_s, cut_off, empty, flip_a_bit, put_back

from touchstone import paths
from touchstone.data import DATASETS
from touchstone.data.verify import contents_md5
from touchstone.files import BusyError, write_bytes, write_sealed
from touchstone.plan import finished, targets
from touchstone.plan.plan import Plan, make_plan
from touchstone.registry import RawFile

pytestmark = pytest.mark.usefixtures("left")


RAW = paths.raw("mnist").folder


@pytest.fixture(scope="module")
def plan(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The smallest run, on data that are fetched."""
    config = tmp_path_factory.mktemp("config") / "config.yaml"
    text = (root / "tests" / "config.yaml").read_text().replace("{mnist: digits, ", "{")
    config.write_text(text.replace("digits: {source: embedded}", "mnist: {source: download}", 1))
    return make_plan(root, config)


@pytest.fixture
def left(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files of a run that has ended, each with content of its own; raw data with what their row says."""
    monkeypatch.chdir(tmp_path)
    row = DATASETS["mnist"]
    monkeypatch.setitem(DATASETS, "mnist", replace(row, files=tuple(map(raw_file, row.files))))
    files = targets.everything(plan)
    for file in files:
        write_bytes(file, str(file).encode())
    for dataset in {plan.data(model.dataset) for model in plan.trained}:
        data, facts = paths.prepared(dataset)
        write_sealed(facts, {"name": dataset, "sha256": finished.sum_of_file(data)})
        write_sealed(paths.raw(dataset).fetched, {"dataset": dataset})
        files.append(paths.raw(dataset).fetched)
        files += [RAW / file.path for file in row.files]
    work(plan)
    finished.finish(plan)
    return files


def work(plan: Plan) -> None:
    """Begin a run, and be killed."""
    finished.begin(plan).close()


def raw_file(published: RawFile) -> RawFile:
    """Write one that is packed, and return its row."""
    content = gzip.compress(published.path.encode() * 100, mtime=0)
    write_bytes(RAW / published.path, content)
    return RawFile(published.path, hashlib.md5(content).hexdigest(), contents_md5(RAW / published.path))


def test_nothing_is_wrong_with_what_a_run_has_left(plan: Plan) -> None:
    assert finished.damaged(plan) == []


@pytest.mark.parametrize("damage", [*DAMAGES, another_s([*paths.prepared("mnist"), paths.raw("mnist").fetched])])
def test_every_file_that_is_damaged_is_named_with_its_rule(
    plan: Plan, left: list[Path], tmp_path: Path, damage: Damage
) -> None:
    rules = targets.made(plan)
    for file in left:
        with put_back(file, tmp_path / "aside"):
            damage(file)
            (error,) = finished.damaged(plan)
            assert str(error).startswith(f"{file} cannot be used: ")
            gone = f"the folder {RAW}" if RAW in file.parents[1:] else "it"
            assert str(error).endswith(f"; delete {gone} and run snakemake again (rule {rules.get(file, 'fetch')})")
    assert finished.damaged(plan) == []


@pytest.mark.parametrize("noted", [True, False])
def test_a_file_that_cannot_be_read_is_named(plan: Plan, monkeypatch: pytest.MonkeyPatch, noted: bool) -> None:
    """Whoever is root can read all."""
    if not noted:
        plan.results.finished.unlink()
    whole = finished.sum_of_file

    def sum_of_file(file: Path) -> str:
        if file == plan.results.claims:
            raise PermissionError(13, "Permission denied", str(file))
        return whole(file)

    monkeypatch.setattr(finished, "sum_of_file", sum_of_file)
    (error,) = finished.damaged(plan)
    assert "claims.csv cannot be used: [Errno 13] Permission denied" in str(error)


def test_sums_are_made_beside_one_another(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, threads = finished.sum_of_file, set[int]()

    def sum_of_file(file: Path) -> str:
        threads.add(threading.get_ident())
        return whole(file)

    monkeypatch.setattr(finished, "sum_of_file", sum_of_file)
    finished.damaged(plan)
    assert threads
    assert threading.get_ident() not in threads


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


@pytest.mark.parametrize("damage", [flip_a_bit, empty, cut_off, another_s([paths.raw("mnist").fetched])])
def test_so_is_a_record_that_is_damaged_itself(plan: Plan, damage: Damage) -> None:
    damage(plan.results.finished)
    (error,) = finished.damaged(plan)
    assert "finished.json cannot be used" in str(error)
    plan.results.finished.unlink()
    assert finished.damaged(plan) == []
    flip_a_bit(plan.results.claims)
    assert len(finished.damaged(plan)) == 1, "what is there is noted again"


def test_a_run_that_fails_notes_what_it_made(plan: Plan) -> None:
    work(plan)
    plan.results.claims.write_text("made anew")
    plan.results.provenance().unlink()
    finished.finish(plan)
    assert finished.damaged(plan) == []
    plan.results.claims.write_text("damaged")
    assert len(finished.damaged(plan)) == 1


def test_what_a_killed_run_may_have_made_is_not_compared(plan: Plan) -> None:
    work(plan)
    plan.results.claims.write_text("made anew")
    flip_a_bit(plan.results.provenance())
    plan.results.config.unlink()
    (error,) = finished.damaged(plan)
    assert "provenance.json cannot be used" in str(error), "its date says that nobody wrote it"
    plan.results.provenance().unlink()
    assert finished.damaged(plan) == []


def test_after_a_killed_run_all_is_compared_again_once_it_is_whole(plan: Plan) -> None:
    """With nothing left to do no run begins, and none ends."""
    work(plan)
    plan.results.claims.write_text("made anew")
    assert finished.damaged(plan) == []
    plan.results.claims.write_text("damaged")
    assert len(finished.damaged(plan)) == 1


def test_a_bit_that_is_lost_while_a_run_works_is_not_taken_as_its_own(plan: Plan) -> None:
    work(plan)
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


@pytest.mark.parametrize("forget", [lambda plan: plan.results.finished.unlink(), work])
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_where_nothing_can_be_written_a_whole_run_is_taken_as_it_is(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, forget: Any, number: int
) -> None:
    forget(plan)

    def hold(path: Path) -> IO[str]:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(finished, "hold", hold)
    assert finished.damaged(plan) == []
    (said,) = caplog.messages
    assert str(plan.results.lock) in said
    assert said.endswith("no sums are kept of what is there, so that damage to it goes unnoticed")


def test_two_runs_do_not_work_on_the_same_results(plan: Plan) -> None:
    """They are named whom to wait for; nor is a run that works taken for one that was killed."""
    with finished.begin(plan):
        noted = plan.results.finished.read_bytes()
        with pytest.raises(BusyError, match=rf"^process {os.getpid()} on \S+ is at work on results/tiny; give "):
            finished.begin(plan)
        assert finished.damaged(plan) == []
        assert plan.results.finished.read_bytes() == noted
    finished.begin(plan).close()
    assert finished.damaged(plan) == []
    assert plan.results.finished.read_bytes() != noted
