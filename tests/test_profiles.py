"""What the profiles tell Snakemake, read as it reads them."""

from pathlib import Path

import pytest
from snakemake.profiles import ProfileConfigFileParser


@pytest.mark.parametrize(
    ("given", "resources"),
    [
        ({}, []),
        ({"SBATCH_ACCOUNT": "12345", "SBATCH_PARTITION": ""}, ["slurm_account='12345'"]),
        ({"SBATCH_ACCOUNT": "mine", "SBATCH_PARTITION": "gpu"}, ["slurm_account=mine", "slurm_partition=gpu"]),
    ],
)
def test_account_and_partition_come_from_the_environment(
    root: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], resources: list[str]
) -> None:
    for name in ("SBATCH_ACCOUNT", "SBATCH_PARTITION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with (root / "profiles/slurm/config.yaml").open() as file:
        said = ProfileConfigFileParser().parse(file)
    assert said["default-resources"] == resources
    assert said["slurm-status-command"] == "squeue"
    assert "slurm-array-jobs" not in said


@pytest.mark.parametrize("name", ["default", "slurm"])
def test_the_date_of_a_script_triggers_nothing(root: Path, name: str) -> None:
    """Any checkout of another revision gives it a new one; what decides is in the job, its params."""
    with (root / "profiles" / name / "config.yaml").open() as file:
        said = ProfileConfigFileParser().parse(file)
    assert said["rerun-triggers"] == ["mtime", "params", "input", "software-env"]
