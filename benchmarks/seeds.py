"""Several seeds of LeNet trained as one batched model, beside one after the other: does it pay on this device?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F
from torch.optim import Adam

from benchmarks.nets import dataset
from benchmarks.timing import Timed, goal, interleave, ratio
from touchstone.data import DATASETS
from touchstone.data.prepare import Split, to_float
from touchstone.models.classifier import build

SEEDS, STEPS, BATCH, LR = 10, 20, 128, 1e-3
WANTED = 3.0  # a batched training of all seeds may cost this many trainings of one

Weights = dict[str, Tensor]


def separate(models: list[nn.Module], x: Tensor, y: Tensor) -> list[Weights]:
    """Train one model after the other; x (S, N, B, C, H, W), y (S, N, B) hold the batches of each in its order."""
    for model, xs, ys in zip(models, x, y, strict=True):
        optimizer = Adam(model.parameters(), lr=LR)
        for xb, yb in zip(xs, ys, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(model(xb), yb).backward()
            optimizer.step()
    return [dict(model.named_parameters()) for model in models]


def batched(models: list[nn.Module], x: Tensor, y: Tensor) -> list[Weights]:
    """Train all models in one: the arguments and the result are those of `separate`."""
    weights, buffers = stack_module_state(models)
    optimizer = Adam(weights.values(), lr=LR)  # elementwise, so the models do not mix
    base = deepcopy(models[0]).to("meta")

    def loss(weights: Weights, buffers: Weights, xb: Tensor, yb: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(base, (weights, buffers), (xb,)), yb)

    for xb, yb in zip(x.unbind(1), y.unbind(1), strict=True):
        optimizer.zero_grad()
        vmap(loss)(weights, buffers, xb, yb).sum().backward()
        optimizer.step()
    return [{name: stack[s] for name, stack in weights.items()} for s in range(len(models))]


def batches(x: Tensor, y: Tensor, seeds: int, steps: int) -> tuple[Tensor, Tensor]:
    """Return `steps` batches for each seed in its own order: (S, N, B, C, H, W) in [0, 1], (S, N, B) int64."""
    wanted = torch.arange(steps * BATCH) % len(x)  # a small set is gone through again
    orders = [torch.randperm(len(x), generator=torch.Generator().manual_seed(s)) for s in range(seeds)]
    rows = torch.stack([order[wanted].view(steps, BATCH) for order in orders]).to(x.device)
    return to_float(x[rows]), y[rows]


class Found(NamedTuple):
    """What training all seeds as one took, beside one after the other and one alone.

    Attributes:
        timed: seconds of each round, by system.
        over: what all as one cost, in trainings of one.
        gain: what all in turn cost, in trainings of all as one.
        apart: largest difference between weights that were trained as one and in turn.
    """

    timed: Mapping[str, Timed]
    over: float
    gain: float
    apart: float


def measure(data: Split, dataset: str, rounds: int, seeds: int = SEEDS, steps: int = STEPS) -> Found:
    """Train lenets on images of a dataset, on the device on which they are."""
    device = data.x.device
    x, y = batches(data.x, data.y, seeds, steps)
    models = [build("lenet", DATASETS[dataset], seed=s).to(device) for s in range(seeds)]

    def run(train: Callable[..., list[Weights]], count: int) -> list[Weights]:
        return train([deepcopy(model) for model in models[:count]], x[:count], y[:count])

    batched_all, separate_all, alone = f"{seeds} as one", f"{seeds} in turn", "one"
    systems = {batched_all: partial(run, batched, seeds), separate_all: partial(run, separate, seeds)}
    timed = interleave(systems | {alone: partial(run, separate, 1)}, rounds)
    pairs = zip(timed[batched_all].result, timed[separate_all].result, strict=True)
    apart = max(float((a[name] - b[name]).detach().abs().max()) for a, b in pairs for name in a)
    over = ratio(timed[batched_all], timed[alone])
    return Found(timed, over, ratio(timed[separate_all], timed[batched_all]), apart)


def lines(found: Found) -> list[str]:
    """Say in words what was found."""
    return [
        *(f"- {name}: {spent.median:.3f} s (median)" for name, spent in found.timed.items()),
        f"- all as one cost {found.over:.2f}x one{goal(WANTED, found.over <= WANTED, '<=')}",
        f"- in turn over as one: {found.gain:.2f}x",
        f"- their weights differ by {found.apart:.1e} at most",
    ]


def table(rounds: int) -> tuple[dict[str, Any], str]:
    """Measure on a GPU if there is one; return the seconds of each round and the section of the report."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train = dataset("mnist").train
    found = measure(Split(train.x.to(device), train.y.to(device)), "mnist", rounds)
    heading = f"## seeds: {SEEDS} of lenet, {STEPS} steps of {BATCH} images each, on {device.type}"
    return {name: spent.seconds for name, spent in found.timed.items()}, "\n".join([heading, "", *lines(found), ""])
