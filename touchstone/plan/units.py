"""What one image costs in one pass through a net: measured, and kept in units.csv beside this file.

`python -m benchmarks units` measures it anew, for every net of the studies at the shape of its images.
"""

import csv
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

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


@cache
def units() -> dict[Key, Unit]:
    """Return what has been measured."""
    with UNITS.open(newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return {
        Key(row["model"], row["options"], tuple(map(int, row["shape"].split("x")))): Unit(
            int(row["parameters"]), *(float(row[name]) for name in Unit._fields[1:])
        )
        for row in rows
    }


def write(path: Path, measured: Mapping[Key, Unit], said: Iterable[str]) -> None:
    """Write what was measured, after lines on how, for `units` to read."""
    with path.open("w", newline="") as file:
        file.writelines(f"# {line}\n" for line in said)
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["model", "options", "shape", *Unit._fields])
        for (model, options, shape), unit in sorted(measured.items()):
            seconds = (f"{value:.3g}" for value in unit[1:])
            table.writerow([model, options, "x".join(map(str, shape)), unit.parameters, *seconds])
