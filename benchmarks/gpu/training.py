"""Trainings beside their own passes through the bare model, in images/s and as a share of what the card could do."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Adam
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.images import synthetic
from benchmarks.gpu.job import Finding, Job, Site
from benchmarks.gpu.machine import peak
from benchmarks.training import Pass, Training, forward, gradient, measure_training, step
from touchstone.data import DATASETS
from touchstone.defenses.at import Adversarial
from touchstone.defenses.ce import CrossEntropy
from touchstone.defenses.trades import Trades
from touchstone.models.classifier import build

ROUNDS = 3
COUNTED = 2  # images whose FLOPs are counted
_PGD = {"norm": "linf", "eps": 8 / 255, "attack_steps": 10, "step_size": 2 / 255}
_ATTACKED: Mapping[str, Pass] = {"step": step, "gradient": gradient, "forward": forward}

TRAINING: dict[str, Training] = {
    "vgg13": Training("vgg13", "cifar10", 5_120, CrossEntropy(), "Cross-entropy."),
    "lenet5": Training("lenet5", "mnist", 20_480, CrossEntropy(), "Cross-entropy."),
    "wrn-34-10": Training("wrn-34-10", "cifar10", 512, CrossEntropy(), "Cross-entropy."),
    "smallcnn-cifar": Training("smallcnn", "cifar10", 5_120, CrossEntropy(), "Cross-entropy."),
    "at": Training("smallcnn", "cifar10", 2_560, Adversarial(**_PGD), "AT with PGD-10 at 8/255.", passes=_ATTACKED),
    "trades": Training(
        "smallcnn", "cifar10", 2_560, Trades(**_PGD, beta=6.0), "TRADES with PGD-10 at 8/255.", passes=_ATTACKED
    ),
}


def trainings(site: Site, name: str, *, bf16: bool) -> Finding:
    """Train an epoch on synthetic images, in turn with its passes bare."""
    case = TRAINING[name]
    if site.tiny:
        model = {"vgg13": "cnn3", "wrn-34-10": "resnet32"}.get(case.model, case.model)
        case = case._replace(model=model, rows=8, batch=4)
    data = synthetic(DATASETS[case.dataset].shape, case.rows, site.device)
    found = measure_training(case, 1 if site.tiny else ROUNDS, lambda _: None, data, bf16=bf16)
    by_name = {row["system"]: row for row in found["rows"]}
    mine = by_name["ours"]
    rate = case.rows / mine["median"]
    taken = {kind: count / case.rows for kind, count in mine["images"].items()}
    work = sum(share * flops(case, kind) for kind, share in taken.items())
    bare = sum(share * by_name[f"bare {kind}"]["median"] for kind, share in taken.items())
    top, speed = peak(site.device), rate * work / 1e12
    share = None if top is None else speed / (top.bf16 if bf16 else top.fp32)
    said = "no datasheet of this card is known" if share is None else f"{share:.1%} of the datasheet's"
    number = "bfloat16" if bf16 else "float32"
    lines = [
        f"{case.model}, {case.rows} images of {case.dataset}'s size, batches of {case.batch}, {number}. {case.text}",
        "",
        f"- {rate:.0f} images/s; its passes bare: {case.rows / bare:.0f} images/s",
        *(f"- {text}" for text in found["verdicts"]),
        f"- {work / 1e9:.3f} GFLOP per image, {speed:.2f} TFLOP/s: {said}",
    ]
    data = {"images_per_second": rate, "bare": case.rows / bare, "seconds_per_step": case.batch / rate}
    data |= {"gflop_per_image": work / 1e9, "share_of_peak": share}
    return Finding("\n".join(lines), data)


def flops(case: Training, kind: str) -> float:
    """Return the floating-point operations of one image in one kind of pass, as torch counts them."""
    spec = DATASETS[case.dataset]
    if kind == "gradient":  # as much again as forwards: none in the weights
        return 2 * counted(forward, build(case.model, spec, seed=0), spec.shape)
    return counted(case.passes[kind], build(case.model, spec, seed=0), spec.shape)


def counted(one: Pass, model: nn.Module, shape: tuple[int, int, int]) -> float:
    """Count the operations of one image in a pass of a model; nothing is computed, shapes are enough."""
    model = model.to("meta")
    x, y = torch.zeros(COUNTED, *shape, device="meta"), torch.zeros(COUNTED, dtype=torch.int64, device="meta")
    optimizer = Adam(model.parameters())
    with FlopCounterMode(display=False) as counter:
        one(model, optimizer, x, y)
    return counter.get_total_flops() / COUNTED


def job(name: str, *, bf16: bool) -> Job:
    """Return the measurement of a training in float32 or bfloat16."""
    run: Any = partial(trainings, name=name, bf16=bf16)
    return Job("training", f"{name} {'bf16' if bf16 else 'float32'}", run, 30)


RATES = [job(name, bf16=bf16) for name in TRAINING for bf16 in (False, True)]
