"""Read what the plots draw: weights and loss histories of model runs, and tables.

A training that failed is not left out: it becomes a sentence that the plot prints.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from touchstone.findings.inputs import read_table
from touchstone.findings.weights import read
from touchstone.models import FIRST_CONV
from touchstone.paths import model_files
from touchstone.runs import Run, read_run

T = TypeVar("T")
Sources = Mapping[str, Sequence[Path]]  # label -> folders of trained models, or one CSV file
Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Series(Generic[T]):
    """What one label contributes: data by seed, and a reason for every seed without a finished model."""

    label: str
    runs: dict[str, T] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def gaps(self) -> list[str]:
        """Say which seeds are missing and why, an entry per reason: "seed 1 failed in epoch 3"."""
        reasons: dict[str, list[str]] = {}
        for seed, reason in self.missing.items():
            reasons.setdefault(reason, []).append(seed)
        return [f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)} {reason}" for reason, seeds in reasons.items()]

    @property
    def notes(self) -> list[str]:
        """As `gaps`, with the label; one sentence "std+l1: failed in epoch 3" where all seeds share the reason."""
        reasons = set(self.missing.values())
        if len(reasons) == 1 and set(self.runs) <= set(self.missing):
            return [f"{self.label}: {reason}" for reason in reasons]
        return [f"{self.label}: {gap}" for gap in self.gaps]


def weights(sources: Sources, parameter: str = FIRST_CONV) -> list[Series[Weights]]:
    """Return, per label, the weight array (out, in, kernel, kernel) of each seed's finished model."""

    def layer(run: Run) -> Weights:
        return read(run.checkpoint(), parameter)

    return [_series(label, folders, layer) for label, folders in sources.items()]


def histories(sources: Sources) -> list[Series[pd.DataFrame]]:
    """Return, per label, the history (a row per epoch) of each seed; of a failed run, the epochs before it failed."""
    return [_series(label, folders, Run.history, keep_failed=True) for label, folders in sources.items()]


def table(sources: Sources) -> pd.DataFrame:
    """Read the one CSV file of the sources.

    Raises:
        ValueError: unless there is exactly one path.
    """
    paths = [path for group in sources.values() for path in group]
    if len(paths) != 1:
        raise ValueError(f"this plot reads one table, got {len(paths)} paths: {', '.join(map(str, paths))}")
    # an empty `stand_in` is text, no missing number
    return read_table(paths[0], dtype={"stand_in": str}).fillna({"stand_in": ""})


def _series(label: str, folders: Sequence[Path], read: Callable[[Run], T], *, keep_failed: bool = False) -> Series[T]:
    series = Series[T](label)
    if not folders:
        series.missing["-"] = "not part of this run"
    for folder in folders:
        run = read_run(model_files(folder).run)
        seed = str(run.model.seed)
        if run.status != "ok":
            failed = f" in epoch {run.epoch_failed}" if run.epoch_failed is not None else f": {run.reason}"
            series.missing[seed] = f"failed{failed}"
        if run.status == "ok" or keep_failed:
            series.runs[seed] = read(run)
    return series
