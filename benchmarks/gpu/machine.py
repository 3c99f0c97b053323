"""The machine: how it is set up, what it is called, and what its maker promises."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from touchstone.provenance import revision


class Peak(NamedTuple):
    """Dense TFLOP/s: fp32 outside tensor cores, bf16 inside."""

    fp32: float
    bf16: float


# a part of the name that the driver gives a card -> its datasheet, without sparsity; the first that fits
PEAKS = {
    "H100 PCIe": Peak(51, 756),
    "H100 NVL": Peak(60, 835),
    "H100": Peak(67, 989),
    "H200": Peak(67, 989),
    "A100": Peak(19.5, 312),
    "L40S": Peak(91.6, 362),
    "L4": Peak(30.3, 121),
    "A10": Peak(31.2, 125),
}


def set_up(device: torch.device) -> None:
    """Fix what could make two runs differ, as every job of the pipeline does: no TF32, deterministic algorithms.

    Raises:
        RuntimeError: if the device is a GPU and torch sees none.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the first product on the GPU
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("torch sees no GPU here: give --device cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)  # sizes for a CPU are tiny: more threads only wait for one another
    torch.set_flush_denormal(True)
    tf32(False)
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False


def tf32(on: bool) -> None:
    """Allow or forbid TF32 in products and convolutions."""
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on


@contextmanager
def under_test(device: torch.device) -> Iterator[None]:
    """Compute as the device under test does; a CPU that stands for a GPU uses its other kernels, which round otherwise.

    Without that a comparison of a CPU with itself could not fail.
    """
    before = torch.backends.mkldnn.set_flags(device.type != "cpu")
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(before[0])


def facts(device: torch.device) -> dict[str, str]:
    """Return what a reader must know of the machine."""
    about = {
        "torch": torch.__version__,
        "CPU": f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "Python, numpy": f"{platform.python_version()}, {np.__version__}",
        "code": revision(Path(__file__).parents[2]),
    }
    if device.type == "cpu":
        return {"card": "none (CPU)", **about}
    here = torch.cuda.get_device_properties(device)
    return {
        "card": f"{here.name}, {here.total_memory / 2**30:.0f} GiB, {here.multi_processor_count} multiprocessors",
        "driver": _driver(),
        "CUDA, cuDNN": f"{torch.version.cuda}, {torch.backends.cudnn.version()}",
        **about,
    }


def _driver() -> str:
    if shutil.which("nvidia-smi") is None:
        return "not known: no nvidia-smi"
    ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    return done.stdout.strip() or f"not known: nvidia-smi says {done.stderr.strip()}"


def peak(device: torch.device) -> Peak | None:
    """Return the datasheet of a card, None if there is none here."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((found for part, found in PEAKS.items() if part in name), None)
