"""The job that makes the tables of a study.

Apart from `touchstone.plan.jobs`, since it holds parts of a study: code that trains and attacks reaches none of that.
"""

from dataclasses import dataclass

from touchstone.cell import ThreatSpec
from touchstone.plan.jobs import Job
from touchstone.study.schema import NearZero, Reading, TableDef


@dataclass(frozen=True)
class Judge:
    """What tests the numbers of a published attack at one radius: slug of the worst case, and radius in pixels."""

    epsilon: float
    attack: str
    radius: float


@dataclass(frozen=True)
class WorstCase:
    """What tests the numbers of a published attack on a dataset, under its threat; or why nothing does."""

    dataset: str
    attack: str
    threat: ThreatSpec  # without radii
    judges: tuple[Judge, ...] = ()
    why_not: str = ""


@dataclass(frozen=True)
class CutShort:
    """What a run cuts short for one attack on one model, in words, by what it affects.

    Attributes:
        data: the dataset in use.
        cut_model: changes what is attacked: epochs, a dataset that stands in.
        cut_attack: changes the attack: steps, restarts.
        cut_size: fewer samples or seeds, which only widen the interval.
        population: the first so many test images are what the numbers are about; None for all.
        given: whether others trained the model.
    """

    dataset: str
    model: str
    defense: str
    attack: str
    data: str
    population: int | None = None
    cut_model: tuple[str, ...] = ()
    cut_attack: tuple[str, ...] = ()
    cut_size: tuple[str, ...] = ()
    given: bool = False


@dataclass(frozen=True)
class TablesJob(Job):
    """From the records of a study to its tables: what is needed besides them, its claims and its statements.

    Attributes:
        slugs: slot of a cell -> what the study defines there, which claims and statements may name.
        reference: the defense that others are compared with, "" if none is.
        near_zero: the thresholds of small weights; None if weights are not measured.
        tables: of the paper, and what it calls words of its claims (`labels`).
        match: attacks under which a net must be as accurate as the published one, where attacks are compared in pairs.
    """

    run: str
    study: str
    slugs: dict[str, tuple[str, ...]]
    reference: str
    near_zero: NearZero | None
    tables: dict[str, TableDef]
    labels: dict[str, str]
    readings: dict[str, Reading]
    worst: tuple[WorstCase, ...]
    cut_short: tuple[CutShort, ...]
    match: tuple[str, ...] = ()
