"""`touchstone evaluate` from its command line to its report, as a user meets it."""

import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
from checkouts import copy_checkout, environment
from digit_nets import trained

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("test_evaluate_runs")]
NETS = """
from touchstone.models.lenet import lenet

def net():
    return lenet((1, 28, 28), 10)
"""
WORDS = "--model nets.py:net --weights mine.safetensors --dataset digits --norm linf --eps 0.02 0.2 --samples 20"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    folder = copy_checkout(root, tmp_path_factory.mktemp("evaluate"), "config.yaml")
    (folder / "nets.py").write_text(NETS)
    safetensors.torch.save_file(trained().state_dict(), folder / "mine.safetensors")
    return folder


def evaluate(checkout: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "touchstone", "evaluate", *WORDS.split(), "--threads", "1", "--device", "cpu", *more],
        cwd=checkout,
        env=environment(checkout),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_net_is_evaluated_with_one_command(checkout: Path) -> None:
    done = evaluate(checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    head, clean, near, far = (line.split() for line in done.stdout[done.stdout.rindex("norm  ") :].splitlines()[:4])
    assert (head[0], clean[0], near[:2], far[:2]) == ("norm", "clean", ["linf", "0.02"], ["linf", "0.2"])
    assert float(clean[1]) >= float(near[2]) > float(far[2])
    home = checkout / "results" / "own-mine" / "mine"
    assert (home / "report.pdf").stat().st_size > 20_000
    page = (home / "report.html").read_text()
    for words in ("Who broke what", "pgd-ce", "What it cost", "(wrong or broken before)", "Figure A2."):
        assert words in page
    assert {path.name for path in (home / "figures").glob("*.svg")} == {"curve.svg", "gallery.svg"}


def test_it_says_the_same_again_and_computes_nothing(checkout: Path) -> None:
    first = checkout / "results" / "own-mine" / "mine" / "tables" / "cells.csv"
    before = first.stat().st_mtime_ns
    done = evaluate(checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert first.stat().st_mtime_ns == before
    assert "Nothing to be done" in done.stdout + done.stderr


def test_weights_of_another_net_end_in_a_message(checkout: Path) -> None:
    done = evaluate(checkout, "--model", "lenet-512", "--name", "other")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "does not fit" in said
    assert "snakemake" not in said, "it is found before anything starts"
    assert not (checkout / "studies-own" / "other").exists()
