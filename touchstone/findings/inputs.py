"""What jobs left on disk, as values; tables are left there here."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from touchstone import records
from touchstone.cell import ModelId, ThreatSpec
from touchstone.files import DamagedError, read_sealed, sum_of, verified, write_bytes, write_sealed
from touchstone.findings.weights import read
from touchstone.models import FIRST_CONV
from touchstone.paths import ModelFiles, model_with, sums_beside
from touchstone.records import Attacked, Batch, Flag, Preflight


@dataclass(frozen=True)
class Run:
    """What run.json says of one training.

    Attributes:
        file: where it says so.
        model: that was trained.
        stand_in: dataset used in the place of the model's own, "" if none.
        status: ok or failed, for `reason`.
        epoch_failed: in which epoch, counted from 1; None if in none.
        epochs: how many were begun.
        seconds: that they took.
        flags: what has to be said beside the weights.
        model_sha256: of its weights.
        history_sha256: of its history.
    """

    file: Path
    model: ModelId
    stand_in: str
    status: str
    reason: str
    epoch_failed: int | None
    epochs: int
    seconds: float
    flags: tuple[Flag, ...]
    model_sha256: str
    history_sha256: str

    @property
    def files(self) -> ModelFiles:
        """All files of the training."""
        return model_with(self.file)

    def weights(self, key: str = FIRST_CONV) -> NDArray[np.float64]:
        """Return one tensor of its weights.

        Raises:
            DamagedError: if the file is not as the training left it.
            ValueError: if it has no such tensor.
        """
        return read(verified(self.files.weights, self.model_sha256, "train"), key)

    def history(self) -> pd.DataFrame:
        """Return a row per epoch; raises DamagedError if the file is not as the training left it."""
        return pd.read_csv(verified(self.files.history, self.history_sha256, "train"))


# what a Run holds as run.json has it
KEPT = ("status", "reason", "epoch_failed", "epochs", "seconds", "model_sha256", "history_sha256")


def read_run(file: Path) -> Run:
    """Read a run.json.

    Raises:
        DamagedError: if it is not as the training left it, or lacks something.
    """
    try:
        run = read_sealed(file, "train")
        cell = run["cell"]
        model = ModelId(*(cell[name] for name in ModelId._fields))
        facts = {name: run[name] for name in KEPT}
        flags = tuple({"flag": str(flag["flag"]), "detail": str(flag["detail"])} for flag in run["flags"])
        return Run(file, model, cell["stand_in"], **facts, flags=flags)
    except (KeyError, TypeError) as error:
        raise DamagedError(file, "train", f"expected what a training says, got {error!r}") from error


def write_tables(tables: Mapping[Path, pd.DataFrame]) -> None:
    """Write the tables of a folder as CSV, and their sums beside them, for `read_table`."""
    (beside,) = {sums_beside(path) for path in tables}
    sums = {}
    for path, table in tables.items():
        content = table.to_csv(index=False).encode()
        write_bytes(path, content)
        sums[path.name] = sum_of(content)
    write_sealed(beside, sums)


def read_table(path: Path, **options: Any) -> pd.DataFrame:
    """Read a table that `write_tables` was given; by default every value as text, digits as written.

    Args:
        path: of the CSV file.
        options: of pandas.read_csv, instead.

    Raises:
        DamagedError: if the table or its sum is missing or was changed.
    """
    beside = sums_beside(path)
    sums = read_sealed(beside, "tables")
    if path.name not in sums:
        raise DamagedError(beside, "tables", f"expected the sum of {path.name}")
    as_text = {"dtype": str, "keep_default_na": False}
    table: pd.DataFrame = pd.read_csv(verified(path, sums[path.name], "tables"), **(options or as_text))
    return table


def places(files: Iterable[Path]) -> dict[tuple[ModelId, str], Path]:
    """Say in which file of records each attack on each model is."""
    return {(header.model, header.attack): file for file in files for header in records.read_headers(file)}


def by_model(files: Iterable[Path]) -> Iterator[Batch]:
    """Read files of records, all of one model together and no other model at the same time.

    Yields:
        All attacks on a model, and the preflights of their threats, each once.
    """
    groups: dict[ModelId, list[Path]] = defaultdict(list)
    for (model, _), file in places(files).items():
        if file not in groups[model]:
            groups[model].append(file)
    for model in sorted(groups):
        attacks: list[Attacked] = []
        preflights: dict[ThreatSpec, Preflight] = {}
        for file in groups[model]:
            batch = records.read(file)
            attacks += batch.attacks
            preflights |= {one.threat: one for one in batch.preflights}
        yield Batch(attacks, list(preflights.values()))
