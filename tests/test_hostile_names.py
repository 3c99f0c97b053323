"""What a file, a folder or a config is called is a name to Snakemake and its shells, whatever it says."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checkouts import copy_checkout, environment

from touchstone.files import sum_of

pytestmark = pytest.mark.slow

NAME = """it's "$(touch pwned)" `touch pwned`; {study} {} %s & touch pwned"""


def test_no_name_reaches_a_shell(root: Path, tmp_path: Path) -> None:
    """The checkout, the config, folders of code and of answers, and a checkpoint are all called so."""
    (home := tmp_path / "it's $(touch pwned)").mkdir()
    folder, config = copy_checkout(root, home, "tests/config.yaml"), f"{NAME}.yaml"
    (folder / NAME).mkdir()
    study, weights = folder / "studies/minmax/study.yaml", f"{NAME}.safetensors"
    (study.parent / weights).write_bytes(b"")
    given = {"dataset": "mnist", "model": "lenet", "defense": "std"}
    given |= {"files": [{"file": weights, "sha256": sum_of(b"")}]}
    study.write_text(f"{study.read_text()}\n{yaml.safe_dump({'weights': [given]})}")
    (folder / config).write_text(f"{(folder / 'config.yaml').read_text()}\n{yaml.safe_dump({'code': [NAME]})}")
    for more in (["--", "results/tiny/config.yaml"], ["--dry-run"]):
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", config, *more]
        done = subprocess.run(
            command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr[-3000:]
    assert yaml.safe_load((folder / "results/tiny/config.yaml").read_text())["config"]["code"] == [NAME]
    assert not list(tmp_path.rglob("pwned"))
