"""What run.json says of one training: its outcome, and the sums of what it left."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from touchstone.cell import ModelId
from touchstone.files import DamagedError, read_sealed, verified
from touchstone.paths import ModelFiles, model_with
from touchstone.records import Flag


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
        selected_options: of the objective, which a selection chose; None if it chose none.
        flags: what has to be said beside the weights.
        model_sha256: of its weights.
        history_sha256: of its history.
    """

    file: Path
    model: ModelId
    stand_in: str
    status: Literal["ok", "failed"]
    reason: str
    epoch_failed: int | None
    epochs: int
    seconds: float
    selected_options: dict[str, Any] | None
    flags: tuple[Flag, ...]
    model_sha256: str
    history_sha256: str

    @property
    def files(self) -> ModelFiles:
        """All files of the training."""
        return model_with(self.file)

    def checkpoint(self) -> Path:
        """Return the file of its weights; raises DamagedError if it is not as the training left it."""
        return verified(self.files.weights, self.model_sha256, "train")

    def history(self) -> pd.DataFrame:
        """Return a row per epoch; raises DamagedError if the file is not as the training left it."""
        return pd.read_csv(verified(self.files.history, self.history_sha256, "train"))


# what a Run holds as run.json has it
KEPT = ("status", "reason", "epoch_failed", "epochs", "seconds", "selected_options", "model_sha256", "history_sha256")


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
