"""The longest training that fits: vgg13 by cross-entropy in bfloat16, on images of CIFAR-10's size."""

from __future__ import annotations

import time
from contextlib import suppress

from torch import Tensor, nn

from benchmarks.gpu.images import synthetic
from benchmarks.gpu.job import Finding, Job, Site
from benchmarks.gpu.machine import peak
from benchmarks.gpu.training import counted
from benchmarks.training import step
from touchstone.data import DATASETS
from touchstone.defenses.ce import CrossEntropy
from touchstone.models.classifier import build
from touchstone.training import Phase, fit

MODEL, DATASET, BATCH = "vgg13", "cifar10", 128
ROWS, SECONDS, SHORT_SECONDS = 50_000, 40.0, 15.0
MOST = 1000  # epochs, which no machine gets to


class Enough(Exception):
    """The seconds are over."""


def train(site: Site) -> Finding:
    """Train epoch after epoch until the seconds are over; the first, in which kernels are chosen, does not count."""
    rows = 32 if site.tiny else ROWS
    allowed = 1.0 if site.tiny else SHORT_SECONDS if site.short else SECONDS
    data = synthetic(DATASETS[DATASET].shape, rows, site.device)
    model = build(MODEL, DATASETS[DATASET], seed=0).to(site.device)
    done = _epochs(model, data.x, data.y, allowed)
    per_epoch = (done[-1] - done[0]) / (len(done) - 1)
    rate = rows / per_epoch
    work = counted(step, build(MODEL, DATASETS[DATASET], seed=0), DATASETS[DATASET].shape)
    top, speed = peak(site.device), rate * work / 1e12
    share = None if top is None else speed / top.bf16
    said = "no datasheet of this card is known" if share is None else f"{share:.1%} of the datasheet's"
    lines = [
        f"{MODEL}, {rows} synthetic images, batches of {BATCH}, bfloat16, {len(done)} epochs in {done[-1]:.1f} s.",
        "",
        f"- {rate:.0f} images/s, {per_epoch:.2f} s per epoch, the training accuracy of each epoch included",
        f"- {speed:.2f} TFLOP/s: {said}",
    ]
    return Finding("\n".join(lines), {"images_per_second": rate, "gflop_per_image": work / 1e9, "epochs": len(done)})


def _epochs(model: nn.Module, x: Tensor, y: Tensor, allowed: float) -> list[float]:
    """Return the seconds at the end of each epoch, at least two, until those allowed are over."""
    start, ends = time.perf_counter(), list[float]()

    def on_epoch(_: str) -> None:
        ends.append(time.perf_counter() - start)
        if len(ends) > 1 and ends[-1] > allowed:
            raise Enough

    phase = Phase(MOST, BATCH, lr=1e-3, collapse="finish")
    with suppress(Enough):
        fit(model, CrossEntropy(), x, y, (phase,), seed=0, bf16=True, on_epoch=on_epoch)
    return ends


LONGEST = Job("longest", f"{MODEL} in bf16", train, 2 * SECONDS, short=True)
