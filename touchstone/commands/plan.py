"""Say what a run costs before it starts, study by study, and what of it is done.

Hours are core-hours on one CPU thread of the machine that is named below the table; `python -m benchmarks.units
--configfile F` measures a run's nets on this one. Behind "+" a part is not estimated, and said below. Trainings count
nets that are given too. The count of jobs is Snakemake's. The row "shared" is data and what the studies have in common.

example: touchstone plan --configfile configs/paper.yaml
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from touchstone import paths
from touchstone.commands.text import WIDTH, columns
from touchstone.plan.command import config_file
from touchstone.plan.cost import StudyCost, costs, total
from touchstone.plan.plan import make_plan
from touchstone.plan.units import whose
from touchstone.registry import meant, rounded
from touchstone.study.config import ConfigError

HEAD = ("study", "trainings", "attacks", "jobs", "done", "figures", "h training", "h attacks", "disk")
SHARED = "shared"


def options(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    parser.add_argument("--configfile", type=Path, help="of the run (default: config.yaml)")


def run(arguments: argparse.Namespace) -> str:
    """Return the table of a run that is started from a checkout.

    Raises:
        ConfigError: with every problem of the run's files.
    """
    config = config_file(Path(), [arguments.configfile] if arguments.configfile else [])
    if config.is_dir():
        raise ConfigError([f"{config}: is a folder; expected a config file"])
    if not config.is_file():
        hint = meant(config.name, paths.beside(config)) if arguments.configfile else ": start it in a checkout"
        raise ConfigError([f"{config}: there is no such file{hint}"])
    if paths.study_of(config) is not None:
        raise ConfigError([f"{config}: is of a study; expected a config, which names its studies"])
    plan = make_plan(Path(), config)
    rows = costs(plan)
    return f"{config}: run {plan.config.run}\n\n{table(rows)}\n\nseconds of a pass: {whose()}"


def table(rows: Sequence[StudyCost]) -> str:
    """Return a line per study, their sum, and what is not estimated."""
    lines = [HEAD, *(cells(row) for row in [*rows, total(rows)])]
    return "\n".join([columns(lines, right=range(1, len(HEAD))), *lacking(total(rows).lacks)])


def cells(row: StudyCost) -> tuple[str, ...]:
    """Return a study as text; "+" behind hours of which a part is not estimated."""
    more = "+" if row.lacks else ""
    counts = (row.trainings, row.attacks, row.jobs, row.done, row.figures)
    taken = (f"{rounded(value)}{more}" for value in (row.training, row.attacking))
    return (row.study or SHARED, *(f"{count:,}" for count in counts), *taken, size(row.disk))


def size(bytes_: float) -> str:
    """Return bytes in the largest unit of which there is one."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = next((p for p in range(len(units)) if bytes_ < 1000 ** (p + 1)), len(units) - 1)
    return f"{bytes_ / 1000**power:.3g} {units[power]}"


def lacking(lacks: Sequence[str]) -> list[str]:
    """Return what is not estimated, a line each."""
    return ["", *(f"not estimated: {what}"[:WIDTH] for what in lacks)] if lacks else []
