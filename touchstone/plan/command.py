"""How a run is started: the one file that describes it, and the command that starts it again."""

import os
import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from touchstone.study.config import ConfigError

DEFAULT = Path("config.yaml")


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
    return Path(given[0]) if given else DEFAULT if DEFAULT.exists() else root / DEFAULT


def command(root: Path, config: Path) -> str:
    """Return what starts a run again from the working directory.

    Paths are relative to it, so that the record of a run names no folder of a machine.

    Args:
        root: the checkout.
        config: file of the run.
    """
    elsewhere = [] if root == Path() else ["--snakefile", str(root / "Snakefile")]
    return shlex.join(["snakemake", *elsewhere, "--cores", "all", "--configfile", os.path.relpath(config)])


def find_code(folders: Iterable[Path]) -> None:
    """Put folders with code of the user's own on PYTHONPATH, where the jobs of this program find it."""
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*map(str, folders), before]))
