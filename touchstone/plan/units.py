"""What one image costs in one pass through a net: measured, and kept in units.csv beside this file.

`python -m benchmarks units` measures it anew, for every net of the studies at the shape of its images. What
`python -m benchmarks.units --configfile F` measures on this machine, for the nets of a run, the user's own among them,
is kept in results/units.csv and goes first.
"""

import csv
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from touchstone import paths
from touchstone.study.config import ConfigError

UNITS = Path(__file__).with_name("units.csv")
Shape = tuple[int, ...]


class Key(NamedTuple):
    """Which net, on images of which shape (C, H, W): `model` is a name of MODELS, `options` are JSON."""

    model: str
    options: str
    shape: Shape

    @classmethod
    def of(cls, model: str, options: Mapping[str, Any], shape: Shape) -> "Key":
        """Return the key of a net with options."""
        return cls(model, json.dumps(options, sort_keys=True), shape)


class Unit(NamedTuple):
    """Seconds of CPU time per image on one thread.

    Attributes:
        parameters: how many the net has.
        forward: logits alone, of many images at a time.
        gradient: logits, and the gradient of a loss in the images.
        step: logits in training, the gradient in the weights, and an optimiser's step, of a batch.
    """

    parameters: int
    forward: float
    gradient: float
    step: float


HEAD = (*Key._fields, *Unit._fields)


@cache
def units() -> dict[Key, Unit]:
    """Return what has been measured: on this machine, and for nets that were not, as the package has it.

    Raises:
        ConfigError: as `read` does.
    """
    own = paths.own_units()
    return read(UNITS) | (read(own) if own.is_file() else {})


def whose() -> str:
    """Say on which machine it was measured, and when."""
    own, package = paths.own_units(), f"the package's ({_machine(UNITS)})"
    return f"{own} ({_machine(own)}), and for nets that it lacks {package}" if own.is_file() else package


def _machine(path: Path) -> str:
    """Return the second line that `write` was given."""
    return path.read_text().splitlines()[1].removeprefix("# ")


def read(path: Path) -> dict[Key, Unit]:
    """Return what `write` wrote.

    Raises:
        ConfigError: for a file that it did not write so.
    """
    with path.open(newline="") as file:
        table = csv.DictReader(line for line in file if not line.startswith("#"))
        try:
            if tuple(table.fieldnames or ()) != HEAD:
                raise ValueError(f"its columns are {table.fieldnames}")
            return dict(map(_measured, table))
        except (AttributeError, TypeError, ValueError) as error:  # a row that is cut short has None
            text = "is no table of unit costs; delete it, and `python -m benchmarks.units` measures them anew"
            raise ConfigError([f"{path}: {text} ({error})"]) from error


def _measured(row: Mapping[str, str]) -> tuple[Key, Unit]:
    key = Key(row["model"], row["options"], tuple(map(int, row["shape"].split("x"))))
    return key, Unit(int(row["parameters"]), *(float(row[name]) for name in Unit._fields[1:]))


def write(path: Path, measured: Mapping[Key, Unit], said: Iterable[str]) -> None:
    """Write what was measured, after lines on how, for `units` to read."""
    with path.open("w", newline="") as file:
        file.writelines(f"# {line}\n" for line in said)
        table = csv.writer(file, lineterminator="\n")
        table.writerow(HEAD)
        for (model, options, shape), unit in sorted(measured.items()):
            seconds = (f"{value:.3g}" for value in unit[1:])
            table.writerow([model, options, "x".join(map(str, shape)), unit.parameters, *seconds])
