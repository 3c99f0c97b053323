"""Where a training that was killed goes on: one safetensors file, JSON and sum in its header, and nothing unpickled."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from touchstone.files import write_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Saved:
    """The state of a training at an epoch's end: tensors by name, on the CPU, and plain values."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


@dataclass
class Checkpoint:
    """The file of one training, written every `epochs` epochs or `minutes` minutes, whichever comes first.

    Args:
        path: of the file. Snakemake deletes the outputs of a job that failed or was killed, so it must be none.
        identity: plain values that decide the weights. A file of another training, or of other code or data, is void.
        epochs: between two checkpoints, >= 1; None: only minutes count.
        minutes: between two checkpoints, >= 0; None: only epochs count.
    """

    path: Path
    identity: Mapping[str, Any]
    epochs: int | None = None
    minutes: float | None = None
    _epoch: int = field(default=0, init=False)
    _time: float = field(default_factory=lambda: time.monotonic(), init=False)

    def load(self) -> Saved | None:
        """Return what was saved, or None where nothing was, or where it is void; the log says why."""
        if not self.path.exists():
            return None
        try:
            with safetensors.safe_open(self.path, framework="pt") as file:
                told, wanted = (file.metadata()[key] for key in ("touchstone", "sha256"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if wanted != _sum(told, tensors):
                raise ValueError("it is not what was saved")
            header = json.loads(told)
            then, facts = header["identity"], header["facts"]
        except (OSError, safetensors.SafetensorError, TypeError, KeyError, ValueError) as error:
            log.warning("%s is void, training starts anew: it cannot be read (%s)", self.path.name, error)
            return None
        now = _plain(self.identity)
        other = sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key))
        if other:
            log.warning("%s is void, training starts anew: it was made with other %s", self.path.name, ", ".join(other))
            return None
        return Saved(tensors, facts)

    def due(self, epoch: int) -> bool:
        """Say whether it is time to save again, after `epoch` epochs."""
        by_epochs = self.epochs is not None and epoch - self._epoch >= self.epochs
        return by_epochs or (self.minutes is not None and time.monotonic() - self._time >= 60 * self.minutes)

    def save(self, epoch: int, saved: Saved) -> None:
        """Write the file, whole or not at all."""
        told = json.dumps({"identity": _plain(self.identity), "facts": saved.facts})
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in saved.tensors.items()}
        header = {"touchstone": told, "sha256": _sum(told, tensors)}
        write_bytes(self.path, safetensors.torch.save(tensors, header))
        self._epoch, self._time = epoch, time.monotonic()


def _sum(told: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of everything that is saved."""
    digest = hashlib.sha256(told.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as JSON gives them back: tuples are lists there."""
    return json.loads(json.dumps(dict(values)))
