"""What must hold on one device: the same bits again, whatever stops it; bfloat16, compiled code, batched seeds."""

from __future__ import annotations

import copy
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import seeds
from benchmarks.gpu.agreement import chosen, gap, net_for, objective, trained
from benchmarks.gpu.images import synthetic
from benchmarks.gpu.job import CHECK, Finding, Job, Site
from benchmarks.gpu.killed import KILLED, train
from benchmarks.nets import dataset
from touchstone.attacks import ATTACKS
from touchstone.data import DATASETS
from touchstone.data.prepare import Split
from touchstone.defenses import DEFENSES
from touchstone.defenses.ce import CrossEntropy
from touchstone.losses import LOSSES
from touchstone.models.classifier import build
from touchstone.query import Query
from touchstone.registry import load
from touchstone.rng import SampleRng
from touchstone.training import Fit, OptimizerSettings, Phase, accuracy, fit

AGAIN = {"pgd": "linf", "apgd-t": "l2", "fab": "l1", "cw": "l2", "square": "linf", "pdpgd": "l0"}
ROOT = Path(__file__).parents[2]
BF16 = 0.03  # by which a net that was trained in bfloat16 may be less accurate
COMPILED = 1e-3  # of a weight by which compiled kernels may train another net
STACKED = 1e-9  # by which weights may differ that were trained as one and in turn, in float64


def attacks_repeat(site: Site) -> Finding:
    """Attack twice; the points have the same bits."""
    model, x, y = trained()
    model, x, y = copy.deepcopy(model).to(site.device), x[:16].to(site.device), y[:16].to(site.device)
    for name, norm in AGAIN.items():
        spec = ATTACKS[name]
        budget = {"eps": 0.1} if spec.kind == "fixed" else {}
        runs = [
            load(spec.fn)(Query(model), x, y, norm=norm, rng=0, **budget, **chosen(name, spec, tiny=site.tiny))
            for _ in range(2)
        ]
        first, second = (run.x_adv if spec.kind == "minimal" else run for run in runs)
        assert torch.equal(first, second), f"{name}: {gap(first, second):.1e} apart"
    return Finding(f"{', '.join(AGAIN)}: the same bits twice")


def training_repeats(site: Site) -> Finding:
    """Train twice; the weights have the same bits."""
    first, second = (train(site.device, None)[0].state_dict() for _ in range(2))
    _same_weights(first, second)
    return Finding("the same bits twice, with batch norm and dropout")


def resumes(site: Site) -> Finding:
    """Kill a training in a process of its own, go on from its checkpoint, and compare with one that was not killed."""
    file = site.scratch / "unfinished"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    about = (str(site.device), str(torch.get_num_threads()), str(file.absolute()))
    command = [sys.executable, "-m", "benchmarks.gpu.killed", *about]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, f"exit status {done.returncode}: {done.stderr[-500:]}"
    assert file.is_file(), "no checkpoint was left"
    (resumed, result), (whole, other) = train(site.device, file), train(site.device, None)
    _same_weights(resumed.state_dict(), whole.state_dict())
    assert [_timeless(row) for row in result.history] == [_timeless(row) for row in other.history]
    return Finding(f"killed after epoch {KILLED}, gone on to the same bits and history")


def _timeless(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "seconds"}


def _same_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), f"{name}: {gap(weight, second[name]):.1e} apart"


class Narrow(nn.Module):
    """A model that has no memory for more than so many rows: what a CPU shows in place of a GPU with a cap."""

    def __init__(self, model: nn.Module, rows: int) -> None:
        super().__init__()
        self.model, self.rows = model, rows

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's logits (B, classes)."""
        if len(x) > self.rows:
            raise torch.OutOfMemoryError(f"more than {self.rows} rows")
        return self.model(x)


def memory_halves(site: Site) -> Finding:
    """Ask for more rows than there is memory for: batches are halved until they fit, and the answer is the same."""
    model = build("vgg13", DATASETS["cifar10"], seed=0).to(site.device).eval()
    fits, rows = (4, 16) if site.tiny else (64, 4096)
    x = SampleRng(0, torch.arange(rows, device=site.device)).uniform((3, 32, 32))
    y = torch.zeros(rows, dtype=torch.int64, device=site.device)
    wanted = Query(model, batch_size=fits).grad(x, y, LOSSES["ce"])
    seen = model if site.device.type == "cuda" else Narrow(model, fits)
    query = Query(seen, batch_size=rows)
    with _capped(model, x[:fits], y[:fits], spare=4 * x.nbytes):
        found = query.grad(x, y, LOSSES["ce"])
    assert "out_of_memory_halved" in query.flags, "it fitted"
    assert query.batch_size < rows
    apart = gap(wanted[0], found[0])
    assert apart <= 1e-4 * float(wanted[0].abs().max()), f"logits {apart:.1e} apart"
    return Finding(
        f"{rows} rows in batches of {query.batch_size}; logits {apart:.1e} apart", {"rows": query.batch_size}
    )


@contextmanager
def _capped(model: nn.Module, x: Tensor, y: Tensor, spare: int) -> Iterator[None]:
    """Leave a GPU's memory for twice what such a batch takes beside what is held already, and for `spare` bytes."""
    if x.device.type != "cuda":
        yield
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(x.device)
    held = torch.cuda.memory_reserved(x.device)
    Query(model).grad(x, y, LOSSES["ce"])
    needed = torch.cuda.max_memory_reserved(x.device) - held
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(x.device).total_memory
    room = torch.cuda.memory_reserved(x.device) + 2 * needed + spare
    torch.cuda.set_per_process_memory_fraction(min(1.0, room / total), x.device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, x.device)
        torch.cuda.empty_cache()


def bf16_trains(site: Site) -> Finding:
    """Train in float32 and in bfloat16; both get the same share of the test images right, within BF16."""
    data = dataset("digits")
    train_x, train_y, test_x, test_y = (
        part.to(site.device) for part in (data.train.x, data.train.y, data.test.x, data.test.y)
    )
    reached = {}
    for bf16 in (False, True):
        model = build("lenet", DATASETS["digits"], seed=0).to(site.device)
        phases = (Phase(epochs=2 if site.tiny else 8, batch_size=32, lr=2e-3),)
        fit(model, CrossEntropy(), train_x, train_y, phases, seed=0, bf16=bf16, on_epoch=lambda _: None)
        reached[bf16] = accuracy(model, test_x, test_y)
    text = f"accuracy {reached[False]:.3f} in float32, {reached[True]:.3f} in bfloat16 ({BF16:.2f} less is allowed)"
    assert reached[True] >= reached[False] - BF16, text
    return Finding(text, {"float32": reached[False], "bf16": reached[True]})


def compiles(site: Site, name: str) -> Finding:
    """Train with a compiled net: with the kernels of the compiler for `ce`, else with PyTorch's in its graphs."""
    backend = "inductor" if name == "ce" and not site.tiny else "aot_eager"
    torch.compiler.reset()
    (result, compiled), (other, plain) = _trained(site, name, backend), _trained(site, name, None)
    losses = [[row["loss"] for row in one.history] for one in (result, other)]
    for key, weight in plain.items():
        apart = gap(weight, compiled[key])
        assert apart <= COMPILED * (1e-2 + float(weight.abs().max())), f"{key}: {apart:.1e} apart"
    return Finding(f"{backend}: losses {losses[0][-1]:.6f} and {losses[1][-1]:.6f}", {"backend": backend})


def _trained(site: Site, name: str, backend: str | None) -> tuple[Fit, dict[str, Tensor]]:
    split, model = synthetic((1, 28, 28), 64, site.device), net_for(name).to(site.device)
    if backend is not None:
        model.net.compile(backend=backend, dynamic=False)
    once = Phase(epochs=1, batch_size=32, lr=1e-3, groups={"critic": OptimizerSettings(lr=1e-3)}, collapse="finish")
    result = fit(model, objective(name), split.x, split.y, (once,), seed=0, on_epoch=lambda _: None)
    return result, model.state_dict()


def seeds_agree(site: Site) -> Finding:
    """Train three seeds as one batched model and in turn, in float64: the weights are the same."""
    data = dataset("digits").train
    x, y = (part.to(site.device) for part in seeds.batches(data.x, data.y, seeds=3, steps=3))
    nets = [build("lenet", DATASETS["digits"], seed=seed).double().to(site.device) for seed in range(3)]
    one = seeds.batched([copy.deepcopy(net) for net in nets], x.double(), y)
    alone = seeds.separate([copy.deepcopy(net) for net in nets], x.double(), y)
    apart = max(gap(a[name].detach(), b[name].detach()) for a, b in zip(one, alone, strict=True) for name in a)
    assert apart <= STACKED, f"weights {apart:.1e} apart"
    return Finding(f"3 seeds, 3 steps in float64: weights {apart:.1e} apart", {"apart": apart})


def seeds_pay(site: Site) -> Finding:
    """Measure what ten seeds as one cost beside one: worth it below three times."""
    data = dataset("digits").train
    count, steps, rounds = (2, 2, 1) if site.tiny else (seeds.SEEDS, seeds.STEPS, 3)
    found = seeds.measure(Split(data.x.to(site.device), data.y.to(site.device)), "digits", rounds, count, steps)
    text = "\n".join([f"{count} seeds of lenet, {steps} steps of {seeds.BATCH} images each", "", *seeds.lines(found)])
    return Finding(text, {"over": found.over, "gain": found.gain, "apart": found.apart})


CORE = [
    Job(CHECK, "attacks repeat", attacks_repeat, 30, short=True),
    Job(CHECK, "training repeats", training_repeats, 30, short=True),
    Job(CHECK, "out of memory", memory_halves, 30, short=True),
    Job(CHECK, "resume after a kill", resumes, 60),
    Job(CHECK, "bf16 training", bf16_trains, 30),
    Job(CHECK, "compile ce", partial(compiles, name="ce"), 60),
    Job(CHECK, "seeds as one", seeds_agree, 30),
]
COMPILES = [
    Job(CHECK, f"compile {name}", partial(compiles, name=name), 30)
    for name, spec in DEFENSES.items()
    if spec.compiles and name != "ce"
]
SEEDS = Job("seeds", "ten as one", seeds_pay, 20)
