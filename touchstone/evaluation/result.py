"""What the evaluation is asked for and what it returns."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import pandas as pd
from torch import Tensor

from touchstone import records
from touchstone.attacks import ATTACKS, attack_spec
from touchstone.evaluation import flags
from touchstone.evaluation.block import Columns
from touchstone.evaluation.flags import Flag
from touchstone.records import Choice
from touchstone.registry import AttackSpec, is_own, nearest
from touchstone.threat import Threat

Progress = Callable[[int, int, str], None]  # stages done, stages in all, what was done and at what rate


@dataclass(frozen=True)
class Member:
    """One attack with its options, as it is called: what it starts from is a model, in the space of the threat."""

    slug: str
    fn: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> AttackSpec:
        """What the table, or its signature, says of it."""
        return attack_spec(self.fn)

    def check(self, threat: Threat | None) -> AttackSpec:
        """Return its spec.

        Raises:
            ValueError: if it is unknown, or cannot run under the threat.
        """
        if not is_own(self.fn) and self.fn not in ATTACKS:
            raise ValueError(f"unknown attack {self.fn!r}; {nearest(self.fn, ATTACKS)}")
        if self.spec.kind == "none":
            return self.spec
        if threat is None:
            raise ValueError(f"attack {self.fn!r} needs a threat, got None")
        if threat.norm not in self.spec.norms:
            raise ValueError(f"attack {self.fn!r} in norm {threat.norm!r}: {nearest(threat.norm, self.spec.norms)}")
        if self.spec.kind == "fixed" and not threat.epsilons:
            raise ValueError(f"attack {self.fn!r} has a fixed budget: expected epsilons, got none")
        return self.spec


@dataclass(frozen=True)
class Result:
    """What an attack, or a suite of them, did to a model.

    Attributes:
        records: a row per judged point, with the columns of records.COLUMNS.
        examples: name -> points (k, *shape) in pixels, on the CPU.
        flags: what has to be said beside the numbers.
        grid: what was tried of options to choose from.
        doubled_steps_gain: share of samples that twice the steps break more; None if not measured.
        status: "ok", or "failed": no rows, for `reason`.
    """

    records: pd.DataFrame
    examples: dict[str, Tensor]
    flags: list[Flag] = field(default_factory=list)
    grid: list[Choice] = field(default_factory=list)
    doubled_steps_gain: float | None = None
    status: Literal["ok", "failed"] = "ok"
    reason: str = ""


class Shelf(Protocol):
    """Keeps the blocks of images that a suite is done with, so that one that is interrupted goes on after them."""

    def load(self, block: int) -> Result | None:
        """Return what was kept of a block; None where nothing was."""

    def keep(self, block: int, found: Result) -> None:
        """Keep what was found on a block."""


def failed(reason: str) -> Result:
    """Return what stands for an attack on a model whose training failed: no rows, and why."""
    return Result(records.empty(), {}, status="failed", reason=reason)


def query_flags(names: Iterable[str]) -> list[Flag]:
    """Put what attacks left in Query.flags into sentences."""
    return [{"flag": name, "detail": flags.QUERY[name]} for name in sorted(names)]


def reporter(progress: Progress | None, total: int) -> Callable[[str, Columns], None]:
    """Return a function that tells what a stage broke and at what rate; stages done carry the time left."""
    done, start = 0, time.perf_counter()
    began = start

    def report(text: str, columns: Columns) -> None:
        nonlocal done, began
        done, now = done + 1, time.perf_counter()
        hit, count = int(columns["success"].sum()), len(columns["success"])
        rate, began = count / max(now - began, 1e-9), now
        left = f", about {(now - start) / done * (total - done):.0f} s left" if done < total else ""
        if progress is not None:
            progress(done, total, f"{text}: {hit} of {count} broken, {rate:.0f} samples/s{left}")

    return report
