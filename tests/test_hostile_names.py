"""What a file, a folder or a config is called is a name to Snakemake and its shells, whatever it says."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checkouts import copy_checkout, environment
from safetensors.torch import save
from same_results import STD, TREE

from touchstone.data import DATASETS
from touchstone.files import read_sealed, sum_of
from touchstone.models.classifier import build

pytestmark = pytest.mark.slow

NAME = """it's "$(touch pwned)" `touch pwned`; {study} {} %s & touch pwned"""
REPORT = TREE.report("minmax")


def test_no_name_reaches_a_shell(root: Path, tmp_path: Path) -> None:
    """The checkout, the config, folders of code and of answers, and a checkpoint are all called so."""
    (home := tmp_path / "it's $(touch pwned)").mkdir()
    folder, config = copy_checkout(root, home, "tests/config.yaml"), f"{NAME}.yaml"
    (folder / NAME).mkdir()
    study, weights = folder / "studies/minmax/study.yaml", f"{NAME}.safetensors"
    net = build("lenet", DATASETS["mnist"], seed=0).state_dict()
    given = save({name: tensor.contiguous() for name, tensor in net.items()})
    (study.parent / weights).write_bytes(given)
    entry = {"dataset": "mnist", "model": "lenet", "defense": "std"}
    entry |= {"files": [{"file": weights, "sha256": sum_of(given)}]}
    study.write_text(f"{study.read_text()}\n{yaml.safe_dump({'weights': [entry]})}")
    few = {"datasets": ["mnist"], "defenses": ["std"], "attacks": ["fgsm-linf"]}
    said = yaml.safe_load((folder / "config.yaml").read_text()) | {"code": [NAME], "only": few}
    (folder / config).write_text(yaml.safe_dump(said))
    for more in (["--", str(TREE.config), *map(str, REPORT)], ["--dry-run"]):
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", config, *more]
        done = subprocess.run(
            command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, done.stderr[-3000:]
    assert yaml.safe_load((folder / TREE.config).read_text())["config"]["code"] == [NAME]
    assert read_sealed(folder / TREE.model(STD).run, "train")["weights"]["file"] == weights
    assert not list(tmp_path.rglob("pwned"))
