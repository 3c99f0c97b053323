"""How many jobs share a card, from the key of the config through the rule to the locks: cards are names here."""

import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from checkouts import BIN, copy_checkout, environment

from touchstone.cell import ModelId
from touchstone.jobs.cards import VISIBLE, one_card
from touchstone.paths import Results

pytestmark = [pytest.mark.slow, pytest.mark.skipif(torch.cuda.is_available(), reason="a card is more than a name here")]


def test_a_card_has_as_many_jobs_as_the_config_says(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has one already, so that a job by itself would wait."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = copy_checkout(root, tmp_path, "tests/config.yaml")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("device: cpu", "device: cuda\njobs_per_card: 2"))
    results, chosen = Results.of("tiny"), ModelId("minmax", "mnist", "lenet", "minmax-printed", 0)
    with ExitStack() as others:
        for _ in range(2):
            monkeypatch.setenv(VISIBLE, "0,1")
            others.enter_context(one_card(1, 1))
        monkeypatch.setenv(VISIBLE, "0,1")
        done = subprocess.run(
            [str(BIN / "snakemake"), "--cores", "1", "--", str(results.selection(chosen).choice)],
            cwd=folder,
            env={**environment(folder), "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    logged = results.log("select", *map(str, chosen[:-1]))
    said = (folder / logged).read_text()
    assert "takes card 0 of 0, 1" in said, done.stderr[-3000:]
    assert "torch sees no GPU here" in said
    assert f"select failed: what it said is in its log\n    {logged}" in done.stderr
