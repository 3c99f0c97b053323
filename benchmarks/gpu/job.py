"""One thing to be shown, how it is run within its time, and what is kept of it."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Literal, NamedTuple

import torch

from touchstone.paths import PREPARED

CHECK = "correctness"  # the part whose failures are an error of the program
AGAIN = 5.0  # seconds
LAST = 4  # lines of a traceback that are kept

Value = str | float | int | bool | None | list["Value"] | dict[str, "Value"]
Status = Literal["ok", "failed", "skipped", "not run"]


class NotHere(Exception):
    """Something cannot be shown on this machine, for the reason given."""


class OutOfTime(BaseException):
    """A job has used up its seconds; no `except Exception` of a library keeps it."""


class Finding(NamedTuple):
    """What a job found: in words (a line, or several lines of Markdown) and as plain data."""

    text: str
    data: Mapping[str, Value] = {}


@dataclass(frozen=True)
class Site:
    """Where and how large things are shown.

    Attributes:
        device: under test.
        tiny: sizes that show on a CPU, within two minutes, that everything runs.
        short: leave out what is worth less.
        scratch: a folder to write in.
        data: a folder of prepared datasets that were brought along.
        trainings: the table that `benchmarks.gpu.trainings` wrote.
        found: data of the jobs that are done, by "part/name".
    """

    device: torch.device
    tiny: bool
    scratch: Path
    data: Path = PREPARED
    short: bool = False
    trainings: Path | None = None
    found: dict[str, Mapping[str, Value]] = field(default_factory=dict)


class Job(NamedTuple):
    """One thing to be shown.

    Attributes:
        part: heading of the report under which it stands.
        name: of the job, unique in its part.
        run: does it; an AssertionError or any other exception is a failure, NotHere is none.
        seconds: after which it is stopped.
        short: whether it belongs to a short run.
    """

    part: str
    name: str
    run: Callable[[Site], Finding]
    seconds: float
    short: bool = False

    @property
    def key(self) -> str:
        """The job's place among all findings."""
        return f"{self.part}/{self.name}"


class Entry(NamedTuple):
    """What became of a job: in how many seconds, in words and as data."""

    part: str
    name: str
    status: Status
    seconds: float
    text: str
    data: Mapping[str, Value] = {}


def perform(job: Job, site: Site, left: float) -> Entry:
    """Run a job within its seconds, and within those that are left; whatever goes wrong is part of the entry."""
    start = time.perf_counter()

    def entry(status: Status, found: Finding) -> Entry:
        return Entry(job.part, job.name, status, time.perf_counter() - start, *found)

    seconds = min(job.seconds, left)
    if seconds <= 0:
        return entry("not run", Finding("the deadline was reached before"))
    try:
        with limit(seconds):
            return entry("ok", job.run(site))
    except NotHere as reason:
        return entry("skipped", Finding(str(reason)))
    except OutOfTime:
        return entry("failed", Finding(f"stopped after {seconds:.0f} s"))
    except Exception as error:  # the next job goes on
        return entry("failed", Finding(last_lines(error)))


def last_lines(error: BaseException) -> str:
    """Return the end of a traceback: where it was raised, and what it says."""
    lines = "".join(traceback.format_exception(error)).strip().splitlines()
    return "\n".join(line.strip() for line in lines[-LAST:])


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime between two Python instructions once the seconds are over; on the main thread.

    An outer limit goes on behind an inner one. It is raised again every few seconds, since a callback of a C library
    swallows what is raised in it.
    """

    def over(_number: int, _frame: FrameType | None) -> None:
        raise OutOfTime

    start, handler = time.monotonic(), signal.signal(signal.SIGALRM, over)
    outer, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    signal.setitimer(signal.ITIMER_REAL, min(seconds, outer or seconds), AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if outer:
            signal.setitimer(signal.ITIMER_REAL, max(outer - (time.monotonic() - start), 0.01), interval)
