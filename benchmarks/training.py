"""Speed of training: `training.fit` beside loops written by hand on the same images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST, VisionDataset
from torchvision.transforms import ToTensor

from benchmarks.nets import dataset
from benchmarks.timing import Timed, goal, interleave, ratio
from touchstone.data import DATASETS
from touchstone.data.prepare import Split, to_float
from touchstone.defenses.at import Adversarial
from touchstone.defenses.base import Defense
from touchstone.defenses.ce import CrossEntropy
from touchstone.defenses.margin import MarginMaximization
from touchstone.defenses.trades import Trades
from touchstone.models.classifier import build
from touchstone.training import Phase, fit

BATCH, LR = 128, 1e-3
WORKERS = (0, 2)
FORMATS = {"PyTorch's ordinary format": torch.contiguous_format, "channels_last": torch.channels_last}
OVERHEAD = 1 / 0.9  # what a training may cost over its passes through the bare model

Pass = Callable[[nn.Module, Optimizer, Tensor, Tensor], Any]


def step(model: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor) -> None:
    """Take one step of cross-entropy."""
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def gradient(model: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor) -> None:  # noqa: ARG001
    """Take the gradient of cross-entropy in the images alone."""
    x = x.detach().requires_grad_()
    model.requires_grad_(False)
    torch.autograd.grad(F.cross_entropy(model(x), y), x)
    model.requires_grad_(True)


@torch.no_grad()
def forward(model: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor) -> None:  # noqa: ARG001
    """Ask for the logits."""
    model(x)


def jacobian_step(model: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor) -> None:
    """Take the passes of margin maximisation and nothing else.

    That is one vector-Jacobian product for each wrong class, one with a graph for the class that was found, and
    the step through that graph; which class it is does not matter here.
    """
    x = x.detach().requires_grad_()
    logits = model(x)
    for k in range(1, logits.shape[1]):
        torch.autograd.grad(logits[:, k].sum(), x, retain_graph=True)
    (slope,) = torch.autograd.grad(logits[:, 0].sum(), x, create_graph=True)
    loss = F.cross_entropy(logits, y) + slope.square().sum() / len(x)
    optimizer.zero_grad()
    loss.backward(inputs=list(model.parameters()))
    optimizer.step()


class Training(NamedTuple):
    """One comparison on the first `rows` images of a training set.

    A training costs its passes: `passes` says what one image costs in each kind of pass that Tally tells apart.
    `largest` is the largest ratio to them that is wanted, `plain` that to steps of cross-entropy on as many images
    (without the forward passes, which must all be those of the epoch's training accuracy but one row that shows the
    memory format), and `loader` the least ratio to ours of the time of a DataLoader that has no more cores; None stands
    for no such comparison.
    """

    model: str
    dataset: str
    rows: int
    defense: Defense
    text: str
    largest: float = OVERHEAD
    plain: float | None = None
    loader: float | None = None
    passes: Mapping[str, Pass] = {"step": step, "forward": forward}
    batch: int = BATCH


_PGD = {"norm": "linf", "eps": 0.3, "attack_steps": 10, "step_size": 0.05}
_ATTACKED = {"step": step, "gradient": gradient, "forward": forward}
TRAINING: dict[str, Training] = {
    "train-lenet5": Training("lenet5", "mnist", 60_000, CrossEntropy(), "An epoch of cross-entropy.", loader=2.0),
    "train-vgg13": Training("vgg13", "digits-rgb", 512, CrossEntropy(), "Four steps on images of CIFAR-10's size."),
    "train-at": Training(
        "lenet5", "mnist", 640, Adversarial(**_PGD), "Five steps of AT with PGD-10.", passes=_ATTACKED
    ),
    "train-trades": Training(
        "lenet5", "mnist", 640, Trades(**_PGD, beta=1.0), "Five steps of TRADES with PGD-10.", passes=_ATTACKED
    ),
    "train-margin": Training(
        "lenet-512",
        "mnist",
        512,
        MarginMaximization(variant="coded", norm="l2", c=0.01),
        "Four steps of margin maximisation in l2, 10 classes.",
        largest=1.2,
        plain=8.0,
        passes={"step": jacobian_step, "forward": forward},
    ),
}


class Tally(nn.Module):
    """Counts the images that go through a model, by what the pass is for: a step, an input gradient, or logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.images = model, Counter[str]()

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's logits (B, classes)."""
        trains = any(parameter.requires_grad for parameter in self.model.parameters())
        wanted = "forward" if not torch.is_grad_enabled() else "step" if trains else "gradient"
        self.images[wanted] += len(x)
        return self.model(x)


class Loaded(MNIST):
    """torchvision's dataset on images x (N, 1, H, W) uint8 and labels y (N,) that have been read already."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        VisionDataset.__init__(self, "", transform=ToTensor())
        self.data, self.targets = x[:, 0], y


def measure_training(
    case: Training, rounds: int, say: Callable[[str], None], train: Split | None = None, *, bf16: bool = False
) -> dict[str, Any]:
    """Train with every system in turn; describe what was spent and which targets are met.

    Args:
        case: what is trained.
        rounds: how often each system runs.
        say: receives a line about each bare pass.
        train: images on the device on which to train; those of the case's dataset, on the CPU, if not given.
        bf16: run the layers of all systems in bfloat16.
    """
    train = train or dataset(case.dataset).train
    x, y = train.x[: case.rows], train.y[: case.rows]
    model = build(case.model, DATASETS[case.dataset], seed=0).to(x.device)
    ours = Tally(deepcopy(model))
    systems = {"ours": partial(_fit, ours, case, x, y, bf16)}
    passes = dict(case.passes) | ({"plain step": step} if case.plain else {})
    formats = {}
    for name, one in passes.items():
        formats[name], systems[f"bare {name}"] = _bare(one, deepcopy(model), x, y, case.batch, bf16)
        say(f"  bare {name}: {formats[name]}")
    if case.loader:
        systems |= {f"DataLoader, {n} workers": partial(_loader, deepcopy(model), Loaded(x, y), n) for n in WORKERS}
    timed = interleave(systems, rounds)
    images = timed["ours"].result
    rows = [
        {"system": name, "seconds": spent.seconds, "median": spent.median, "images": images if name == "ours" else {}}
        for name, spent in timed.items()
    ]
    return {"rows": rows, "formats": formats, "verdicts": _verdicts(case, timed, images)}


def _fit(model: Tally, case: Training, x: Tensor, y: Tensor, bf16: bool) -> dict[str, int]:
    """Train one epoch; return the passes that it took."""
    model.images.clear()
    phase = Phase(epochs=1, batch_size=case.batch, lr=LR)
    fit(model, case.defense, x, y, (phase,), seed=0, bf16=bf16, on_epoch=lambda _: None)
    return dict(model.images)


def _bare(one: Pass, model: nn.Module, x: Tensor, y: Tensor, batch: int, bf16: bool) -> tuple[str, Callable[[], None]]:
    """Return the memory format that is faster for a pass, and the loop over all images in it."""

    def loop(form: torch.memory_format, rows: int) -> Callable[[], None]:
        return bare_loop(one, deepcopy(model), x[:rows], y[:rows], form, batch, bf16=bf16)

    few = {name: loop(form, batch) for name, form in FORMATS.items()}
    spent = interleave(few, 4)
    best = min(few, key=lambda name: min(spent[name].seconds))
    return best, loop(FORMATS[best], len(x))


def bare_loop(
    one: Pass, model: nn.Module, x: Tensor, y: Tensor, form: torch.memory_format, batch: int, *, bf16: bool = False
) -> Callable[[], None]:
    """Return a loop over batches that lie ready as floats in one memory format, in their order."""
    model.train().to(memory_format=form)
    optimizer = Adam(model.parameters(), lr=LR, fused=True)
    images = torch.empty(x.shape, device=x.device, memory_format=form).copy_(to_float(x))

    def run() -> None:
        with torch.autocast(x.device.type, torch.bfloat16, bf16, cache_enabled=False):
            for xb, yb in zip(images.split(batch), y.split(batch), strict=True):
                one(model, optimizer, xb, yb)

    return run


def _loader(model: nn.Module, images: Loaded, workers: int) -> None:
    """Train one epoch as a tutorial would."""
    optimizer = Adam(model.parameters(), lr=LR)
    for xb, yb in DataLoader(images, batch_size=BATCH, shuffle=True, num_workers=workers):
        step(model, optimizer, xb, yb)


def _verdicts(case: Training, timed: Mapping[str, Timed], images: Mapping[str, int]) -> list[str]:
    """Compare ours with its passes, plain steps and loaders, and say which targets are met."""
    ours, said = timed["ours"], []
    # every bare loop passes `rows` images, so ours is to take so many of each
    shares = {name: count / case.rows for name, count in images.items()}
    bare = {name: timed[f"bare {name}"].seconds for name in shares}
    alone = [sum(shares[name] * bare[name][r] for name in shares) for r in range(len(ours.seconds))]
    over = median(a / b for a, b in zip(ours.seconds, alone, strict=True))
    said.append(f"{over:.3f} of its passes bare{goal(case.largest, over <= case.largest, '<=')}")
    if case.plain:
        # the epoch's training accuracy is no step; with few images it would be a tenth of the time
        probe = [shares.get("forward", 0.0) * s for s in bare.get("forward", [0.0] * len(ours.seconds))]
        taken = [s - other for s, other in zip(ours.seconds, probe, strict=True)]
        over = median(a / b for a, b in zip(taken, timed["bare plain step"].seconds, strict=True))
        said.append(f"{over:.2f}x the steps of cross-entropy{goal(case.plain, over <= case.plain, '<=')}")
    for workers in WORKERS if case.loader else ():
        times = ratio(timed[f"DataLoader, {workers} workers"], ours)
        fair = workers <= torch.get_num_threads()  # workers are cores of their own
        wanted = goal(case.loader, times >= case.loader, ">=") if fair else " (on more cores than ours)"
        said.append(f"a DataLoader with {workers} workers takes {times:.2f}x the time{wanted}")
    return said


def training_section(name: str, case: Training, found: Mapping[str, Any]) -> str:
    """Return one case as a section of the report."""
    lines = [f"## {name}: {case.model}, {case.rows} images of {case.dataset}", case.text, ""]
    header = ("system", "s (median)", "s (range)", "images/s", "passes per image")
    lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in found["rows"]:
        span = f"{min(row['seconds']):.2f} to {max(row['seconds']):.2f}"
        taken = ", ".join(f"{count / case.rows:.2f} {kind}" for kind, count in row["images"].items())
        cells = (row["system"], f"{row['median']:.2f}", span, f"{case.rows / row['median']:.0f}", taken)
        lines.append("| " + " | ".join(cells) + " |")
    forms = ", ".join(f"{name} in {form}" for name, form in found["formats"].items())
    return "\n".join([*lines, "", f"Bare passes: {forms}.", *(f"- ours: {text}" for text in found["verdicts"]), ""])
