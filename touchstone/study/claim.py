"""A published number as a value, and what it is about: rows of the claims are read here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from touchstone.study.scale import ERRORS, FLOOR, METRICS, SLACK, UNITS

# accuracies and errors: without an attack; under one that leaves FLOOR at most, as many attacks would; all others
KINDS = ("clean", "floor", "informative")


class Place(NamedTuple):
    """What the seeds of a number share, but for its radius."""

    dataset: str
    model: str
    defense: str
    attack: str
    metric: str

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> "Place":
        """Read the cell of a claim, from its columns `cell_*`."""
        return cls(*(row[f"cell_{slot}"] for slot in cls._fields))


@dataclass(frozen=True)
class Claim:
    """One published number under one reading.

    Attributes:
        id: its slug.
        reading: the paper is taken in this way.
        table: of the paper that prints it.
        place: what it is about, but for the radius; of empty words where it has no cell.
        epsilon: the radius, nan if there is none.
        low, high: the number, in its own unit: an interval if they differ.
        printed: the number as it is printed.
        alternatives: what it is if a doubtful label is read in another way.
        unit: how often it holds the unit of our numbers: 100 for percent.
        runs: how many the paper took the mean of.
        deviation: the printed one over them, in the claim's unit; None if none is printed.
        clean: whether it is a number without an attack.
        out_of_scope: why no re-run can produce it, "" if one can.
        cited: whose number it is, if the paper only repeats it.
    """

    id: str
    reading: str
    table: str
    place: Place
    epsilon: float
    low: float
    high: float
    printed: str
    alternatives: tuple[float, ...]
    unit: float
    runs: int
    deviation: float | None
    clean: bool
    out_of_scope: str
    cited: str

    @classmethod
    def of(cls, row: Mapping[Any, Any], reading: str) -> "Claim":
        """Read a row of the claims, as `claims.load` returns them or `claims.expand` under that reading."""
        return cls(
            id=row["id"],
            reading=reading,
            table=row["source_table"],
            place=Place.of(row),
            epsilon=row["cell_epsilon"],
            low=row["low"],
            high=row["high"],
            printed=row["value"],
            alternatives=tuple(float(text) for text in row["alternative"].split(";") if text),
            unit=UNITS[row["unit"]],
            runs=int(row["n_runs"] or 1),
            deviation=float(row["std"]) if row["std"] else None,
            clean=row["attack"] == "clean",
            out_of_scope=row["out_of_scope"],
            cited=row["cited"],
        )

    @property
    def measured(self) -> tuple[float, float]:
        """The number in the unit of ours: both ends of an interval, or twice the same."""
        return self.low / self.unit, self.high / self.unit

    @property
    def robust(self) -> bool:
        """Whether it is an accuracy or an error under attack, which a worst case can test."""
        return not self.clean and self.place.metric in ("accuracy", *ERRORS)

    @property
    def kind(self) -> str:
        """One of KINDS; empty for what is no accuracy or error."""
        if self.place.metric not in ("accuracy", *ERRORS):
            return ""
        if self.clean:
            return "clean"
        return "floor" if max(map(self.accuracy, (self.low, self.high))) <= FLOOR + SLACK else "informative"

    def accuracy(self, value: float) -> float:
        """Return a robust accuracy or error, given in the claim's unit, as an accuracy in [0, 1]."""
        return 1.0 - value / self.unit if self.place.metric in ERRORS else value / self.unit

    def printed_as(self, accuracy: float) -> float:
        """Return an accuracy in [0, 1] as the claim prints it: in its unit, as an error if it is one."""
        return (1.0 - accuracy if self.place.metric in ERRORS else accuracy) * self.unit

    def tau(self, value: float | None = None) -> float:
        """Return the tolerance of the number (of the middle of an interval), or of another value, in its unit."""
        middle = (self.low + self.high) / 2.0 if value is None else value
        return METRICS[self.place.metric].tau(middle / self.unit, clean=self.clean) * self.unit
