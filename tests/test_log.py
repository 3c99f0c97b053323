"""A job's log holds its lines and its traceback."""

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from touchstone.files import read_sealed
from touchstone.log import progress
from touchstone.provenance import machine


def test_log_file_holds_lines_and_traceback(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "job.log"
    code = (
        "import logging; from touchstone import log;"
        f"log.set_up({str(file)!r}); logging.info('epoch 1'); raise RuntimeError('no memory')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    text = file.read_text()
    assert "epoch 1" in text
    assert "Traceback" in text
    assert "RuntimeError: no memory" in text
    assert "epoch 1" in done.stderr


def test_a_full_disk_is_told_of_once(tmp_path: Path) -> None:
    file = tmp_path / "job.log"
    file.symlink_to("/dev/full")
    code = f"import logging; from touchstone import log; log.set_up({str(file)!r}); [logging.info(n) for n in range(9)]"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Logging error" not in done.stderr
    assert done.stderr.count(f"{file} lacks lines: [Errno 28] No space left on device") == 1


def test_what_failed_keeps_its_log_and_what_succeeded_has_one(tmp_path: Path) -> None:
    file = tmp_path / "job.log"

    def job(code: str) -> None:
        file.unlink(missing_ok=True)  # as Snakemake does before an attempt
        code = f"import logging, os; from touchstone import log; log.set_up({str(file)!r}); {code}"
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)

    for code in ("logging.info('one'); os.kill(os.getpid(), 9)", "raise RuntimeError('two')", "logging.info('three')"):
        job(code)
    assert {path.name for path in tmp_path.iterdir()} == {
        "job.log", "job.attempt1.log", "job.attempt2.log", "job.json"
    }  # fmt: skip
    assert "attempt 1" in (tmp_path / "job.attempt1.log").read_text()
    assert "one" in (tmp_path / "job.attempt1.log").read_text()
    assert "Traceback" in (tmp_path / "job.attempt2.log").read_text()
    assert "attempt 3" in file.read_text()
    assert read_sealed(tmp_path / "job.json", "train") == machine()


@pytest.mark.parametrize(
    ("terminal", "set_up", "bar"), [(True, False, True), (False, False, False), (True, True, False)]
)
def test_a_bar_only_for_a_program_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, terminal: bool, set_up: bool, bar: bool
) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stderr)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [caplog.handler] if set_up or not terminal else [])
    with caplog.at_level(logging.INFO):
        report = progress("pgd40")
        report(1, 2, "epsilon 0.1")
        report(2, 2, "epsilon 0.3")
    assert ("pgd40: 100%" in stderr.getvalue()) is bar
    assert ("pgd40: stage 2 of 2, epsilon 0.3" in caplog.text) is not bar
