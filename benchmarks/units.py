"""What one image costs in one pass through each net of the studies, for the estimates of `touchstone plan`.

python -m benchmarks.units [--configfile F] measures the nets of a run, a user's own among them, on this machine, and
adds them to results/units.csv, which goes before the package's table; `python -m benchmarks units` writes that.

CPU time and not wall time, on one thread: other processes may run beside it. Each kind of pass is measured twice, at
the batch size of use (fewer images where a net is large), and the smaller number counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from touchstone.jobs.common import make_model
from touchstone.losses import ce
from touchstone.paths import own_units
from touchstone.plan.build import net
from touchstone.plan.command import config_file
from touchstone.plan.jobs import Net
from touchstone.plan.plan import Plan, make_plan
from touchstone.plan.units import UNITS, Key, Unit, read, write
from touchstone.provenance import machine, versions
from touchstone.query import Query
from touchstone.recipe import Phase
from touchstone.training.optimizers import Optimizers

ROOT = Path(__file__).parents[1]
ASKED, TRAINED = 512, 128  # images at a time: what a config gives an attack, what most recipes train on
LONGEST = 1.0  # seconds that one measurement may take
ROUNDS = 2


def nets(plan: Plan) -> dict[Key, tuple[Net, str]]:
    """Return every net of a plan with a dataset that it is used on."""
    found: dict[Key, tuple[Net, str]] = {}
    for model in plan.trained:
        one, data = net(plan, model), plan.data(model.dataset)
        found.setdefault(Key.of(one.fn, one.options, plan.dataset(data).shape), (one, data))
    return found


def measure(model: nn.Module, shape: Iterable[int]) -> Unit:
    """Measure the three kinds of passes of a model on random images (C, H, W)."""
    x = torch.rand(ASKED, *shape, generator=torch.Generator().manual_seed(0)).contiguous(
        memory_format=torch.channels_last
    )
    query = Query(model, batch_size=ASKED)
    y = torch.arange(ASKED) % query.logits(x[:2]).shape[1]
    x = x.contiguous(memory_format=query.memory_format)  # which a net that flattens with `view` has just refused
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizers = Optimizers(Phase(epochs=1, batch_size=TRAINED, lr=1e-4), {p: name for name, p in weights.items()})

    def step(count: int) -> None:
        model.train()
        optimizers.step(weights.values(), F.cross_entropy(model(x[:count]), y[:count]), "model")

    passes: dict[str, tuple[Callable[[int], Any], int]] = {
        "forward": (lambda count: query.logits(x[:count]), ASKED),
        "gradient": (lambda count: query.grad(x[:count], y[:count], ce), ASKED),
        "step": (step, TRAINED),
    }
    seconds = {name: per_image(run, most) for name, (run, most) in passes.items()}
    return Unit(sum(p.numel() for p in model.parameters()), **seconds)


def per_image(run: Callable[[int], Any], most: int) -> float:
    """Return the CPU time of an image where `run` gets up to `most` at a time."""
    spent(run, 2)  # what comes once
    count = max(2, min(most, int(LONGEST * 2 / spent(run, 2))))
    return min(spent(run, count) for _ in range(ROUNDS)) / count


def spent(run: Callable[[int], Any], count: int) -> float:
    """Return the CPU time of one call on `count` images."""
    start = time.process_time()
    run(count)
    return time.process_time() - start


def measured(say: Callable[[str], None], configs: Iterable[Path]) -> dict[Key, Unit]:
    """Measure every net of some runs that are started from the working folder."""
    torch.set_num_threads(1)
    wanted: dict[Key, tuple[Net, str]] = {}
    for config in configs:
        wanted |= nets(make_plan(Path(), config))
    found = {}
    for key, (one, data) in wanted.items():
        found[key] = measure(make_model(one, data, seed=0), key.shape)
        say(f"  {key}: {found[key]}")
    return found


def how(command: str) -> list[str]:
    """Return the lines above a table: how it was measured, and where."""
    return [
        f"Seconds of CPU time per image, one thread; the smaller of two measurements. python -m {command}",
        f"{machine()['cpu']}, {datetime.now(tz=UTC):%Y-%m-%d}, torch {versions()['torch']}",
    ]


def table(say: Callable[[str], None], configs: Iterable[str] = ("config.yaml", "configs/paper.yaml")) -> str:
    """Measure every net of some runs, write the package's table, and return where it is."""
    write(UNITS, measured(say, map(Path, configs)), how("benchmarks units"))
    return f"## Unit costs\nWritten to {UNITS.relative_to(ROOT)}.\n"


def own(say: Callable[[str], None], config: Path) -> Path:
    """Measure every net of a run, add them to this machine's table, and return where it is."""
    path = own_units()
    found = (read(path) if path.is_file() else {}) | measured(say, [config])
    path.parent.mkdir(exist_ok=True)
    write(path, found, how("benchmarks.units"))
    return path


def main() -> None:
    """Measure on this machine what a run asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.units", description=__doc__)
    parser.add_argument("--configfile", type=Path, help="of the run (default: config.yaml)")
    given = parser.parse_args().configfile
    print(f"written: {own(partial(print, flush=True), config_file(Path(), [given] if given else []))}")


if __name__ == "__main__":
    main()
