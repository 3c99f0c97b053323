"""Which file describes a run, and what starts it again."""

from pathlib import Path

import pytest

from touchstone.plan.command import check_names, command, config_file, works
from touchstone.study.config import ConfigError


def test_the_file_is_what_was_given_then_the_working_directorys_then_the_checkouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path("..") / "checkout"
    assert config_file(root) == root / "config.yaml"
    (tmp_path / "config.yaml").touch()
    assert config_file(root) == Path("config.yaml")
    assert config_file(root, ["a.yaml"]) == Path("a.yaml")


def test_a_run_is_described_by_one_file_alone() -> None:
    with pytest.raises(ConfigError, match=r"give one --configfile, each is complete in itself; got a\.yaml, b\.yaml"):
        config_file(Path(), ["a.yaml", "b.yaml"])
    with pytest.raises(ConfigError, match="--config is not supported, got device: copy the config file and change it"):
        config_file(Path(), [], {"device": "cuda"})


def test_a_command_names_no_folder_of_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(Path(), tmp_path / "a.yaml") == "snakemake --cores all --configfile a.yaml"
    far = ["--workflow-profile", str(tmp_path / "profiles/slurm"), "--jobs=4", "-e", "slurm", "--", "a.json"]
    slurm = "snakemake --workflow-profile profiles/slurm --executor slurm --configfile a.yaml"
    assert command(Path(), tmp_path / "a.yaml", far) == slurm
    there = command(Path("../a checkout"), Path("a b.yaml"))
    assert there == "snakemake --snakefile '../a checkout/Snakefile' --cores all --configfile 'a b.yaml'"


def test_names_that_a_cluster_would_read_are_refused() -> None:
    check_names("a b; touch c & (d) #é <e>|f*?!~{g}.yaml", Path("/a"))
    for name in ("$(a)", "`a`", "it's", 'say "a"', "a\\b", "100%"):
        with pytest.raises(ConfigError, match="a cluster would read the") as refused:
            check_names("a", Path("/b") / name)
        assert str(refused.value).count(name) == 1


@pytest.mark.parametrize(
    ("given", "run"),
    [
        ("--cores all", True),
        ("--cores 2 -- results/demo/claims.csv", True),
        ("--cores 2 -np", True),  # if in doubt
        ("--touch --cores 1", True),
        ("-n", False),
        ("--dry-run --configfile a.yaml", False),
        ("--report report.zip", False),
        ("--report=report.zip", False),
        ("--unlock", False),
        ("--cores 1 --lint", False),
    ],
)
def test_snakemake_runs_jobs_if_it_is_not_asked_for_something_else(given: str, run: bool) -> None:
    assert works(given.split()) is run
