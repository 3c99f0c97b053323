"""A training killed without a warning after two epochs: `python -m benchmarks.gpu.killed DEVICE THREADS FILE`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from benchmarks.gpu.images import synthetic
from benchmarks.gpu.machine import set_up
from touchstone.data import DATASETS
from touchstone.defenses.ce import CrossEntropy
from touchstone.models.classifier import Classifier, build
from touchstone.training import Checkpoint, Fit, Phase, fit_redrawn

EPOCHS, KILLED = 4, 2


def net(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return a small net with batch norm and dropout, which have a state and draws of their own."""
    convs = (nn.Conv2d(shape[0], 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.2))
    return nn.Sequential(
        *convs, nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 7 * 7, classes)
    )


def train(device: torch.device, file: Path | None, *, kill: bool = False) -> tuple[Classifier, Fit]:
    """Train the net, on from what the checkpoint `file` holds; `kill` it on the way."""
    split = synthetic((3, 32, 32), 96, device)

    def on_epoch(line: str) -> None:
        if kill and line.startswith(f"epoch {KILLED + 1}/"):  # the checkpoint is of the epoch before
            os.kill(os.getpid(), signal.SIGKILL)

    return fit_redrawn(
        lambda seed: build("benchmarks.gpu.killed:net", DATASETS["cifar10"], seed=seed).to(device),
        CrossEntropy(),
        split.x,
        split.y,
        (Phase(epochs=EPOCHS, batch_size=32, lr=1e-3, collapse="finish"),),
        seed=3,
        redraws=0,
        checkpoint=None if file is None else Checkpoint(file, {}, epochs=1),
        on_epoch=on_epoch,
    )


if __name__ == "__main__":
    here = torch.device(sys.argv[1])
    torch.set_num_threads(int(sys.argv[2]))
    set_up(here)
    train(here, Path(sys.argv[3]), kill=True)
