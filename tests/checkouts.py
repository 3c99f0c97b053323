"""A copy of the checkout that a test may run and change."""

import os
import shutil
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
PARTS = ("Snakefile", "rules", "workflow", "profiles", "studies", "reports", "envs", "configs", "touchstone")


def copy_checkout(root: Path, folder: Path, config: str | Path) -> Path:
    """Copy what a run needs into `folder`, with `config` as its default config file."""
    for part in PARTS:
        source = root / part
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / part)
    shutil.copy2(root / config, folder / "config.yaml")
    return folder


def environment(folder: Path) -> dict[str, str]:
    """The environment in which Snakemake runs the copy and not the installed package."""
    return {**os.environ, "PYTHONPATH": str(folder), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
