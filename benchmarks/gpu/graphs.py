"""What a CUDA graph, or the compiler, would give: a step of training, and a gradient in the images."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from benchmarks.gpu.images import synthetic
from benchmarks.gpu.job import Finding, Job, Site
from benchmarks.timing import interleave, ratio
from benchmarks.training import Pass, gradient, step
from touchstone.data import DATASETS
from touchstone.data.prepare import to_float
from touchstone.models.classifier import build

BATCH, PASSES, ROUNDS = 128, 100, 3
SHOWN = (("lenet5", "mnist"), ("vgg13", "cifar10"))
KINDS: dict[str, Pass] = {"training step": step, "gradient in the images": gradient}
WARM = 3  # passes on a side stream before a capture, as torch asks for


def measure(site: Site, model: str, dataset: str, kind: str) -> Finding:
    """Time one kind of pass of a model plainly, compiled, and replayed from a CUDA graph."""
    batch, passes = (4, 2) if site.tiny else (BATCH, PASSES)
    if site.tiny:
        model = "lenet5"
    data = synthetic(DATASETS[dataset].shape, batch, site.device)
    x, y = to_float(data.x), data.y
    net = build(model, DATASETS[dataset], seed=0).to(site.device).train()
    one, gpu = KINDS[kind], site.device.type == "cuda"
    torch.compiler.reset()
    backend = "aot_eager" if site.tiny else "inductor"
    ways = {"plain": _plain(one, net, x, y), f"compiled ({backend})": _plain(one, net, x, y, backend)}
    if gpu:
        ways["CUDA graph"] = _graph(one, net, x, y)
    systems = {name: partial(_repeat, run, passes) for name, run in ways.items()}
    for run in systems.values():
        run()
    timed = interleave(systems, 1 if site.tiny else ROUNDS)
    gains = {name: ratio(timed["plain"], spent) for name, spent in timed.items()}
    lines = [f"{model}, batches of {batch}, float32.", "", "| way | images/s | times the plain one |", "|---|---|---|"]
    lines += [f"| {name} | {batch * passes / spent.median:.0f} | {gains[name]:.2f} |" for name, spent in timed.items()]
    if not gpu:
        lines += ["", "- a CPU has no CUDA graphs"]
    return Finding("\n".join(lines), {"gains": dict(gains)})


def _repeat(run: Callable[[], None], passes: int) -> None:
    for _ in range(passes):
        run()


def _plain(one: Pass, net: nn.Module, x: Tensor, y: Tensor, backend: str | None = None) -> Callable[[], None]:
    """Return a pass of a copy of the net, compiled if there is a backend."""
    net, optimizer = _copied(net)
    if backend is not None:
        net.compile(backend=backend, dynamic=False)
    return partial(one, net, optimizer, x, y)


def _graph(one: Pass, net: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """Return the replay of a captured pass of a copy of the net."""
    net, optimizer = _copied(net)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM):
            one(net, optimizer, x, y)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        one(net, optimizer, x, y)
    return graph.replay


def _copied(net: nn.Module) -> tuple[nn.Module, Optimizer]:
    net = deepcopy(net)
    return net, Adam(net.parameters(), fused=True, capturable=next(net.parameters()).is_cuda)


GRAPHS = [
    Job("graphs and compiler", f"{model}, {kind}", partial(measure, model=model, dataset=dataset, kind=kind), 60)
    for model, dataset in SHOWN
    for kind in KINDS
]
