"""How a run is started: the one file that describes it, and the command that starts it again."""

import argparse
import os
import re
import shlex
from collections.abc import Collection, Sequence
from itertools import takewhile
from pathlib import Path

from touchstone.study.config import NO_UNSEEN, ConfigError

DEFAULT = Path("config.yaml")
# with these Snakemake runs no job, and says or clears away something; what packs results elsewhere is none of them
LOOKS = {"--dry-run", "--dryrun", "--lint", "--list-rules", "--list", "--list-target-rules", "--lt", "--summary",
         "--detailed-summary", "--report", "--dag", "--rulegraph", "--filegraph", "--d3dag", "--print-compilation",
         "--unlock", "--cleanup-metadata", "--cm", "--cleanup-shadow", "--delete-all-output", "--delete-temp-output",
         "--list-changes", "--lc", "--list-input-changes", "--li", "--list-params-changes", "--lp", "--list-untracked",
         "--lu", "--list-conda-envs", "--conda-cleanup-envs", "--conda-create-envs-only",
         "--container-cleanup-images"}  # fmt: skip
SHORT = re.compile(r"-[aFfkpt]*[DhlnSv]")  # one of them in one letter, behind others that take no value
LATER = "--report-after-run"  # which makes of --report a run

READ = "'\"`$\\%"  # by a shell within quotes as well, the last by sbatch in the name of a log


def config_file(root: Path, given: Sequence[str | Path] = (), changed: Collection[str] = ()) -> Path:
    """Return the one file that describes the run; two would be merged by Snakemake and describe a third.

    Args:
        root: the checkout.
        given: what was asked for. By default it is DEFAULT in the working directory, or the checkout's where there
            is none.
        changed: keys that were set beside a file.

    Raises:
        ConfigError: if several files are given, or keys beside them.
    """
    if len(given) > 1:
        raise ConfigError([f"give one --configfile, each is complete in itself; got {', '.join(map(str, given))}"])
    if changed:
        text = "copy the config file and change it, so that the run has a record"
        raise ConfigError([f"--config is not supported, got {', '.join(changed)}: {text}"])
    if given and not str(given[0]).isprintable():
        raise ConfigError([f"{given[0]}: {NO_UNSEEN} in its name: reports say how a run is started"])
    return Path(given[0]) if given else DEFAULT if DEFAULT.exists() else root / DEFAULT


def command(root: Path, config: Path, given: Sequence[str] = ()) -> str:
    """Return what starts a run again from the working directory, where its jobs ran.

    Paths are relative to it, so that the record of a run names no folder of a machine.

    Args:
        root: the checkout.
        config: file of the run.
        given: arguments that Snakemake was started with; by default its jobs run on all cores of this machine.
    """
    elsewhere = [] if root == Path() else ["--snakefile", str(root / "Snakefile")]
    where = _where(given) or ["--cores", "all"]
    return shlex.join(["snakemake", *elsewhere, *where, "--configfile", os.path.relpath(config)])


def check_names(*names: str | Path) -> None:
    """Refuse names that a cluster would read as more: its executor writes them into command lines, wrongly quoted.

    Raises:
        ConfigError: if one of READ is in one of them.
    """
    if wrong := [str(name) for name in names if {*str(name)} & {*READ}]:
        why = f"a cluster would read the {' '.join(READ)} in this name; give it another"
        raise ConfigError([f"{name}: {why}" for name in wrong])


def works(given: Sequence[str]) -> bool:
    """Say whether Snakemake runs jobs when it is given these arguments; if in doubt, that it does."""
    options = [word.partition("=")[0] for word in takewhile(lambda word: word != "--", given)]
    asked = LOOKS - {"--report"} if LATER in options else LOOKS
    return not any(option in asked or SHORT.match(option) for option in options)


def _where(given: Sequence[str]) -> list[str]:
    """Return those of Snakemake's arguments that say where jobs run; none of them: on this machine."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for names in (["--workflow-profile"], ["--profile"], ["--executor", "-e"]):
        parser.add_argument(*names)
    said = {name: value for name, value in vars(parser.parse_known_args(given)[0]).items() if value is not None}
    relative = {name: os.path.relpath(value) if os.path.isabs(value) else value for name, value in said.items()}
    return [word for name, value in relative.items() for word in (f"--{name.replace('_', '-')}", value)]
