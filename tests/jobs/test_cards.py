"""Each job has a card to itself, or shares one as the config allows: cards are names here, and no GPU is asked."""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from touchstone.jobs import cards
from touchstone.jobs.cards import VISIBLE, one_card


@pytest.fixture(autouse=True)
def _three(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VISIBLE, "0, 1,GPU-2")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def job(stack: ExitStack, share: int = 1) -> str:
    """The card of another job, which sees all of them when it starts."""
    everything = os.environ[VISIBLE]
    stack.enter_context(one_card(1, share))
    card, os.environ[VISIBLE] = os.environ[VISIBLE], everything
    return card


def test_each_job_has_a_card_and_gives_it_back() -> None:
    with ExitStack() as first, ExitStack() as others:
        assert [job(first), job(others), job(others)] == ["0", "1", "GPU-2"]
        first.close()
        assert job(first) == "0"


def test_empty_cards_come_before_shared_ones() -> None:
    with ExitStack() as jobs:
        assert [job(jobs, share=2) for _ in range(6)] == ["0", "1", "GPU-2", "0", "1", "GPU-2"]


def test_a_job_waits_until_a_card_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as second, ExitStack() as others:
        job(others), job(second), job(others)
        looks: list[float] = []

        def someone_ends(seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 2:
                second.close()

        monkeypatch.setattr(cards.time, "sleep", someone_ends)
        assert job(others) == "1"
        assert len(looks) == 2


@pytest.mark.parametrize(("asked", "given"), [(0, "0,1"), (1, "3"), (1, "")])
def test_where_there_is_no_choice_nothing_changes(monkeypatch: pytest.MonkeyPatch, asked: int, given: str) -> None:
    monkeypatch.setenv(VISIBLE, given)
    for _ in range(2):
        with one_card(asked, 1), one_card(asked, 1):
            assert os.environ[VISIBLE] == given


@pytest.mark.parametrize("said", ["exit 9", "echo 0; echo 1"])
def test_without_the_variable_all_cards_that_the_driver_lists_are_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{said}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv(VISIBLE)
    assert cards.visible() == (["0", "1"] if "echo" in said else [])
    with one_card(1, 1):
        assert os.environ.get(VISIBLE) == ("0" if "echo" in said else None)
    assert VISIBLE not in os.environ


HOLDER = """
import os, sys, time
from pathlib import Path
from touchstone.jobs.cards import VISIBLE, one_card

with one_card(1, 1):
    file = Path(sys.argv[1])
    file.with_suffix(".new").write_text(os.environ[VISIBLE])
    file.with_suffix(".new").rename(file)
    time.sleep(600)
"""


def holder(file: Path) -> subprocess.Popen[bytes]:
    """A process that takes a card, writes its name to a file, and keeps it."""
    environment = {**os.environ, VISIBLE: "0,1", "TMPDIR": str(file.parent)}
    return subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], env=environment)


def card(file: Path, seconds: float = 60) -> str:
    """The card of a holder, when it has one."""
    end = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    return file.read_text()


def test_a_process_that_is_killed_gives_its_card_to_the_one_that_waits(tmp_path: Path) -> None:
    with ExitStack() as running:

        def begun(name: str) -> subprocess.Popen[bytes]:
            process = holder(tmp_path / name)
            running.callback(process.wait)
            running.callback(process.kill)
            return process

        first, _ = begun("first"), begun("second")
        taken = card(tmp_path / "first")
        assert {taken, card(tmp_path / "second")} == {"0", "1"}
        begun("third")
        time.sleep(2 * cards.LOOK)
        assert not (tmp_path / "third").exists()
        first.kill()
        assert card(tmp_path / "third") == taken
