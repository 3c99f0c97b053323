"""From the images a second of one training to the hours of a run, study by study: an estimate, of trainings alone.

A training costs the larger of two things. Arithmetic: its floating-point operations at the rate at which vgg13 was
trained in bfloat16. Launching: its layers and passes at the rate at which lenet5 was trained, whose layers are too
small to keep a GPU busy. What an objective adds to a step of cross-entropy is counted on a small net.
"""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.gpu.agreement import LATE, net_for, objective
from benchmarks.gpu.job import Finding, Job, NotHere, Site
from benchmarks.gpu.longest import LONGEST
from benchmarks.gpu.training import counted
from benchmarks.training import BATCH, step
from touchstone.data import DATASETS
from touchstone.defenses.base import Defense
from touchstone.defenses.ce import CrossEntropy
from touchstone.models.classifier import build
from touchstone.rng import SampleRng

WHENCE = "Each costs the larger of arithmetic (at the rate of vgg13) and launching (at the rate of lenet5)."
RATE = LONGEST.key
LAUNCHED = ("training/lenet5 bf16", "training/lenet5 float32")  # whichever was measured
ROWS = 8


class Cost(NamedTuple):
    """What a batch of an objective costs in units of a step of cross-entropy on the same net."""

    work: float
    passes: float


class Rates(NamedTuple):
    """What was measured: FLOP/s of vgg13, and seconds per layer and pass of lenet5 (None if that was not measured)."""

    flops: float
    layer: float | None


def estimate(site: Site) -> Finding:
    """Return the hours of each study's trainings, from the table that was brought along."""
    if site.trainings is None or not site.trainings.is_file():
        raise NotHere("no table of trainings: python -m benchmarks.gpu.trainings configs/paper.yaml FILE writes one")
    if RATE not in site.found:
        raise NotHere(f"{RATE} was not measured")
    rows = json.loads(site.trainings.read_text())
    speed, hours, unknown = rates(site), defaultdict[str, float](float), list[str]()
    nets, epochs = defaultdict[str, int](int), defaultdict[str, int](int)
    for row in rows:
        nets[row["study"]] += row["nets"]
        epochs[row["study"]] += row["nets"] * row["epochs"]
        try:
            hours[row["study"]] += row["nets"] * seconds(row, speed) / 3600
        except Exception as error:  # one net that cannot be built here leaves the others
            unknown.append(f"{row['study']}: {row['architecture']}, {row['objective']} not counted: {error}")
    lines = [
        "Hours of trainings in bfloat16 on this device, one after the other; without attacks. " + WHENCE,
        "",
        "| study | nets | epochs | hours |",
        "|---|---|---|---|",
        *(f"| {study} | {nets[study]} | {epochs[study]} | {hours[study]:.1f} |" for study in nets),
        f"| all | {sum(nets.values())} | {sum(epochs.values())} | {sum(hours.values()):.1f} |",
        "",
        *(f"- {text}" for text in unknown),
    ]
    return Finding("\n".join(lines).rstrip(), {"hours": dict(hours)})


def rates(site: Site) -> Rates:
    """Return what was measured as rates."""
    long = site.found[RATE]
    flops = float(long["images_per_second"]) * float(long["gflop_per_image"]) * 1e9
    measured = [site.found[key] for key in LAUNCHED if key in site.found]
    if not measured:
        return Rates(flops, None)
    net = build("lenet5", DATASETS["mnist"], seed=0)
    return Rates(flops, float(measured[0]["seconds_per_step"]) / layers(net))


def seconds(row: dict[str, Any], speed: Rates) -> float:
    """Return how long one training of a row of the table takes.

    Args:
        row: of `benchmarks.gpu.trainings.table`.
        speed: of this card.
    """
    operations, depth = size(row["architecture"], row["dataset"], json.dumps(row["options"], sort_keys=True))
    extra = cost(row["objective"], json.dumps(row["constants"], sort_keys=True))
    images = row["epochs"] * row["images"]
    launching = 0.0 if speed.layer is None else images / BATCH * extra.passes * depth * speed.layer
    return max(images * extra.work * operations / speed.flops, launching)


@cache
def size(architecture: str, dataset: str, given: str) -> tuple[float, int]:
    """Return the operations of one image in a step of cross-entropy, and the layers, of a net with options (JSON)."""
    spec = DATASETS[dataset]
    with torch.device("meta"):
        net = build(architecture, spec, seed=0, **json.loads(given))
    return counted(step, net, spec.shape), layers(net)


def layers(net: nn.Module) -> int:
    """Return how many modules compute something."""
    return sum(not list(module.children()) for module in net.modules())


@cache
def cost(name: str, constants: str) -> Cost:
    """Count what an objective with these constants (JSON) asks of a small net, beside cross-entropy."""
    defense = objective(name, json.loads(constants))
    (work, passes), (plain, once) = _spent(name, defense), _spent(name, CrossEntropy())
    return Cost(work / plain, passes / once)


def _spent(name: str, defense: Defense) -> tuple[float, int]:
    """Return the operations and the forward passes of one batch, on the CPU."""
    net, calls = net_for(name).train(), 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    net.logits.register_forward_hook(count)
    x, y = SampleRng(0, torch.arange(ROWS)).uniform((1, 28, 28)), torch.arange(ROWS) % 10
    extra = defense.setup(net, 0)
    with Operations() as counter:
        for one in defense.steps(net, extra, x, y, seed=0, epoch=LATE):
            parameters = [p for p in one.parameters if p.requires_grad]
            torch.autograd.grad(one.loss, parameters, allow_unused=True)
    return counter.total, calls


class Operations(TorchDispatchMode):
    """Counts floating-point operations as torch's FlopCounterMode does, which cannot watch gradients in the images."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


HOURS = Job("longest", "hours of scale paper", estimate, 60)
