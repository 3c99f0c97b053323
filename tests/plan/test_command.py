"""Which file describes a run, and what starts it again."""

from itertools import chain
from pathlib import Path

import pytest
from snakemake.cli import get_argument_parser

from touchstone.plan.command import LATER, LOOKS, SHORT, check_names, command, config_file, works
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
        ("--cores 2 -p -- -n", True),  # a file
        ("-c2 -kp", True),
        ("-dn -c2", True),  # a folder
        ("--archive a.tar.gz -c1", True),
        ("--report report.zip --report-after-run -c1", True),
        ("-np --cores 2", False),
        ("-kpn", False),
        ("-nF -c1", False),
        ("-S", False),
        ("-D", False),
        ("-l", False),
        ("--delete-all-output -c1", False),
        ("--delete-temp-output --cores 1", False),
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


def test_what_only_looks_is_spelled_in_every_way_that_snakemake_knows() -> None:
    options = [option.option_strings for option in get_argument_parser()._actions]
    assert LATER in chain.from_iterable(options)
    looks = {spelling for spellings in options if LOOKS & {*spellings} for spelling in spellings}
    assert {spelling for spelling in looks if spelling.startswith("--")} == LOOKS
    plain = [option for option in get_argument_parser()._actions if option.nargs == 0]
    letters = {spelling for option in plain for spelling in option.option_strings if len(spelling) == 2}
    assert {letter for letter in letters if SHORT.match(letter)} == (looks | {"-h", "-v"}) & letters
    assert {letter for letter in letters if SHORT.match(f"{letter}n")} == letters
