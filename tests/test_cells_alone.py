"""The whole pipeline on a study that names no published number: what was attacked is in the report."""

import subprocess
from pathlib import Path

import pytest
from checkouts import BIN, copy_checkout, environment
from small_study import ALONE, write_study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cells_alone")]


def test_a_study_of_cells_alone_runs_to_its_report(root: Path, tmp_path: Path) -> None:
    folder = copy_checkout(root, tmp_path, "tests/config.yaml")
    write_study(folder, {*ALONE} - {"cells"})
    config = (folder / "config.yaml").read_text().replace("studies: [minmax]", "studies: [small]")
    config = config.replace("mnist: digits, cifar10: digits-rgb", "mnist: digits").replace(", minmax-printed", "")
    (folder / "config.yaml").write_text(config)
    command = [str(BIN / "snakemake"), "--cores", "2"]
    for _ in range(2):
        done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert "Nothing to be done" in done.stdout + done.stderr
    report = (folder / "results/tiny/small/report.html").read_text()
    assert "pgd2" in report
    assert "names no published number" in report
    assert (folder / "results/tiny/report.pdf").read_bytes().startswith(b"%PDF")
