from pathlib import Path
from typing import Any

import pytest
from toy_jobs import flip
from toy_records import MODEL, save_run

from touchstone.files import DamagedError
from touchstone.findings.weights import read
from touchstone.runs import read_run


def test_a_run_is_read_with_whose_it_is(tmp_path: Path) -> None:
    flag = {"flag": "redrawn", "detail": "twice"}
    run = read_run(save_run(tmp_path / "anywhere", flags=[flag], status="failed", reason="loss is nan", epoch_failed=3))
    assert (run.model, run.stand_in, run.status, run.reason) == (MODEL, "digits", "failed", "loss is nan")
    assert (run.epoch_failed, run.epochs, run.seconds, run.flags) == (3, 10, 12.5, (flag,))
    assert run.files.weights == tmp_path / "anywhere" / "model.safetensors"


@pytest.mark.parametrize("content", ['{"cell": ', "[]", '{"status": "ok"}', None])
def test_a_broken_run_json_names_itself_and_the_rule(tmp_path: Path, content: str | None) -> None:
    file = save_run(tmp_path, flags=["redrawn: twice"])
    if content is not None:
        file.write_text(content)
    with pytest.raises(DamagedError, match=r"run\.json cannot be used: .*\(rule train\)"):
        read_run(file)


@pytest.mark.parametrize(
    ("name", "reader"),
    [("model.safetensors", lambda run: read(run.checkpoint())), ("history.csv", lambda run: run.history())],
)
@pytest.mark.parametrize("damage", [flip, lambda file: file.write_bytes(b""), lambda file: file.unlink()])
def test_what_a_training_left_is_read_as_it_left_it(tmp_path: Path, name: str, reader: Any, damage: Any) -> None:
    """An emptied history would be a curve less in a figure, and a flipped bit another number."""
    run = read_run(save_run(tmp_path))
    assert len(reader(run)) == 1
    damage(tmp_path / name)
    with pytest.raises(DamagedError, match=rf"{name} cannot be used: .*\(rule train\)"):
        reader(run)
