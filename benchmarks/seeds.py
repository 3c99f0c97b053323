"""Several seeds of LeNet trained as one batched model, beside one after the other: does it pay on this device?"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F
from torch.optim import Adam

from benchmarks.nets import dataset
from benchmarks.timing import goal, interleave, ratio
from touchstone.data import DATASETS
from touchstone.data.prepare import to_float
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
    orders = [torch.randperm(len(x), generator=torch.Generator().manual_seed(s)) for s in range(seeds)]
    rows = torch.stack([order[: steps * BATCH].view(steps, BATCH) for order in orders])
    return to_float(x[rows]), y[rows]


def table(rounds: int) -> tuple[dict[str, Any], str]:
    """Measure on a GPU if there is one; return the seconds of each round and the section of the report."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train = dataset("mnist").train
    x, y = (part.to(device) for part in batches(train.x, train.y, SEEDS, STEPS))
    models = [build("lenet", DATASETS["mnist"], seed=s).to(device) for s in range(SEEDS)]

    def run(train: Callable[..., list[Weights]], seeds: int) -> list[Weights]:
        made = train([deepcopy(model) for model in models[:seeds]], x[:seeds], y[:seeds])
        if device.type == "cuda":
            torch.cuda.synchronize()
        return made

    batched_all, separate_all, alone = f"{SEEDS} as one", f"{SEEDS} in turn", "one"
    systems = {batched_all: partial(run, batched, SEEDS), separate_all: partial(run, separate, SEEDS)}
    timed = interleave(systems | {alone: partial(run, separate, 1)}, rounds)
    pairs = zip(timed[batched_all].result, timed[separate_all].result, strict=True)
    apart = max(float((a[name] - b[name]).detach().abs().max()) for a, b in pairs for name in a)
    over = ratio(timed[batched_all], timed[alone])
    lines = [f"## seeds: {SEEDS} of lenet, {STEPS} steps of {BATCH} images each, on {device.type}", ""]
    lines += [f"{name}: {spent.median:.3f} s (median)  " for name, spent in timed.items()]
    lines += [
        "",
        f"- {batched_all} cost {over:.2f}x one{goal(WANTED, over <= WANTED, '<=')}",
        f"- in turn over as one: {ratio(timed[separate_all], timed[batched_all]):.2f}x",
        f"- their weights differ by {apart:.1e} at most",
        "",
    ]
    return {name: spent.seconds for name, spent in timed.items()}, "\n".join(lines)
