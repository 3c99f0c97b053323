"""Read what the plots draw: weights and loss histories of model runs, and tables.

A run that failed or was never trained is not left out: it becomes a sentence that the plot prints.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file

CONV1 = "net.conv1.weight"


@dataclass(frozen=True)
class Series:
    """What one label contributes: data by seed, and a reason for every seed without a finished model."""

    label: str
    runs: dict[str, Any] = field(default_factory=dict)
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


def weights(sources: dict[str, list[str]], parameter: str = CONV1) -> list[Series]:
    """Return, per label, the weight array (out, in, kernel, kernel) of each seed's finished model."""
    return [
        _series(label, paths, lambda run: _weight(run / "model.safetensors", parameter))
        for label, paths in sources.items()
    ]


def histories(sources: dict[str, list[str]]) -> list[Series]:
    """Return, per label, the history (a row per epoch) of each seed; of a failed run, the epochs before it failed."""
    return [_series(label, paths, _history, keep_failed=True) for label, paths in sources.items()]


def table(sources: dict[str, list[str]]) -> pd.DataFrame:
    """Read the one CSV file of the sources.

    Raises:
        ValueError: unless there is exactly one path.
    """
    paths = [path for group in sources.values() for path in group]
    if len(paths) != 1:
        raise ValueError(f"this plot reads one table, got {len(paths)} paths: {', '.join(map(str, paths))}")
    return pd.read_csv(paths[0])


def _series(label: str, paths: list[str], read: Any, *, keep_failed: bool = False) -> Series:
    series = Series(label)
    if not paths:
        series.missing["-"] = "not part of this run"
    for path in map(Path, paths):
        status = _status(path)
        if status:
            series.missing[path.name] = status
        if not status or (keep_failed and status.startswith("failed")):
            series.runs[path.name] = read(path)
    return series


def _status(run: Path) -> str:
    """Return "" for a finished model, else why there is none."""
    file = run / "run.json"
    if not file.exists():
        return "not trained"
    record = json.loads(file.read_text(encoding="utf-8"))
    if record["status"] == "ok":
        return ""
    epoch = record.get("epoch_failed")
    return f"failed in epoch {epoch}" if epoch is not None else f"failed: {record['reason']}"


def _weight(file: Path, parameter: str) -> np.ndarray:
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{file}: not a readable checkpoint ({error}); delete it and run snakemake again (rule train)"
        ) from error
    if parameter not in tensors:
        raise ValueError(f"{file}: no tensor {parameter!r}; it has {', '.join(sorted(tensors))}")
    return tensors[parameter].astype(np.float64)


def _history(run: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(run / "history.csv")
    except pd.errors.EmptyDataError:  # a run that failed in its first epoch has no row, hence no header
        return pd.DataFrame(columns=["epoch", "loss"])
