"""The one training loop. Everything that is not an objective lives here: phases, optimisers, schedules, history."""

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR

from touchstone.data.prepare import to_float
from touchstone.defenses.base import Defense

log = logging.getLogger(__name__)

OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "sgd": torch.optim.SGD}
EVAL_BATCH = 1000
TRAIN_PROBE = 5000  # rows that the training accuracy of an epoch is measured on
CHANCE_FACTOR = 1.5  # a net below 1.5 / classes has learned nothing worth the name
PATIENCE = 5  # epochs at chance after which a net is given up


@dataclass(frozen=True)
class Phase:
    """One stretch of training with its own optimiser and schedule.

    Args:
        epochs: passes over the training rows, >= 0.
        batch_size: rows per step; the last batch of an epoch may be smaller.
        lr: learning rate at the first epoch.
        optimizer: a name in OPTIMIZERS.
        milestones: epochs (of this phase) after which the rate is multiplied by `gamma`.
        gamma: factor at each milestone.
    """

    epochs: int
    batch_size: int
    lr: float
    optimizer: str = "adam"
    milestones: tuple[int, ...] = ()
    gamma: float = 1.0


@dataclass
class Fit:
    """What a training left behind: status "ok", "collapsed" or "failed", why, in which epoch, and a row per epoch."""

    status: str = "ok"
    reason: str = ""
    epoch_failed: int | None = None
    flags: list[str] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


class _Optimizers:
    """One optimiser and schedule per set of parameters that the steps of a defense name."""

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.made: dict[tuple[int, ...], tuple[Optimizer, LRScheduler]] = {}

    def step(self, parameters: Iterable[nn.Parameter], loss: Tensor) -> None:
        parameters = [p for p in parameters if p.requires_grad]
        key = tuple(map(id, parameters))
        if key not in self.made:
            optimizer = OPTIMIZERS[self.phase.optimizer](parameters, lr=self.phase.lr)
            schedule = MultiStepLR(optimizer, milestones=list(self.phase.milestones), gamma=self.phase.gamma)
            self.made[key] = (optimizer, schedule)
        optimizer, _ = self.made[key]
        for parameter, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = grad
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    @property
    def lr(self) -> float:
        return next((o.param_groups[0]["lr"] for o, _ in self.made.values()), self.phase.lr)

    def end_epoch(self) -> None:
        for _, schedule in self.made.values():
            schedule.step()


def draw_seed(*parts: int) -> int:
    """Mix a run's seed with epoch and batch numbers into one seed below 2^31 (SplitMix64 finaliser per part)."""
    mask = (1 << 64) - 1
    state = 0
    for part in parts:
        state = (state + part + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state >> 33


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of uint8 images x (N, C, H, W) whose largest logit is y (N,); nan for no rows."""
    model.eval()
    if not len(x):
        return math.nan
    hits = [
        (model(to_float(xb)).argmax(1) == yb).sum()
        for xb, yb in zip(x.split(EVAL_BATCH), y.split(EVAL_BATCH), strict=True)
    ]
    return float(torch.stack(hits).sum()) / len(x)


def fit_redrawn(
    build: Callable[[int], nn.Module], defense: Defense, x: Tensor, y: Tensor, phases: Iterable[Phase], *, seed: int,
    redraws: int, on_epoch: Callable[[str], None] = log.info,
) -> tuple[nn.Module, Fit]:  # fmt: skip
    """Train `build(seed)`; where it has learned nothing in its first epoch, draw another initialisation.

    Some recipes kill all units of a net within an epoch for a share of the seeds, which nobody would have
    published. Only training accuracy decides, and every redraw is a flag of the result.

    Args:
        build: seed -> untrained model.
        defense: as in `fit`, as are x, y, phases, seed and on_epoch.
        x: (N, C, H, W) uint8.
        y: (N,) int64.
        phases: in order.
        seed: of the first initialisation and of the order of the rows.
        on_epoch: receives a line of progress.
        redraws: how many more initialisations may be tried, >= 0; the last one is trained to its end.
    """
    phases, dead = tuple(phases), []
    for attempt in range(redraws + 1):
        start = draw_seed(seed, attempt) if attempt else seed
        model = build(start)
        last = attempt == redraws
        result = fit(model, defense, x, y, phases, seed=start, stop_collapsed=not last, on_epoch=on_epoch)
        if result.status != "collapsed":
            break
        dead.append(start)
        on_epoch(f"initialisation {start} has learned nothing in its first epoch and is drawn again")
    if dead:
        result.flags.append(f"redrawn: initialisations {dead} learned nothing in their first epoch; {start} was used")
    return model, result


def fit(
    model: nn.Module,
    defense: Defense,
    x: Tensor,
    y: Tensor,
    phases: Iterable[Phase],
    *,
    seed: int,
    x_val: Tensor | None = None,
    y_val: Tensor | None = None,
    stop_collapsed: bool = False,
    on_epoch: Callable[[str], None] = log.info,
) -> Fit:
    """Train `model` in place on x (N, C, H, W) uint8, y (N,) int64, both on the model's device.

    The order of the rows is a function of (seed, epoch) alone. A loss or a weight that is not finite ends the
    training as "failed" with the epoch; the model then holds its last finite weights at an epoch's end. So does a
    training accuracy that is at chance for PATIENCE epochs or at the end, from its first such epoch. With
    `stop_collapsed` a net that is at chance after its first epoch ends as "collapsed" at once.
    """
    result, epoch = Fit(), 0
    model.to(memory_format=torch.channels_last)  # about twice as fast for small convolutions on a CPU (measured)
    started = time.monotonic()
    phases = tuple(phases)
    total = sum(p.epochs for p in phases)
    for number, phase in enumerate(phases):
        extra = defense.setup(model, seed)
        optimizers = _Optimizers(phase)
        for _ in range(phase.epochs):
            epoch += 1
            before = {k: v.clone() for k, v in model.state_dict().items()}
            row = _epoch(model, defense, extra, optimizers, x, y, seed=seed, epoch=epoch)
            if row is None or not all(p.isfinite().all() for p in model.parameters()):
                model.load_state_dict(before)
                result.status, result.epoch_failed = "failed", epoch
                result.reason = f"loss or weights not finite in epoch {epoch}"
                on_epoch(f"epoch {epoch}/{total}: {result.reason}")
                return result
            row = {"epoch": epoch, "phase": number, **row, "lr": optimizers.lr}
            if x_val is not None and y_val is not None:
                row["validation_accuracy"] = accuracy(model, x_val, y_val)
            row["seconds"] = time.monotonic() - started
            optimizers.end_epoch()
            result.history.append(row)
            left = row["seconds"] / epoch * (total - epoch)
            on_epoch(
                f"epoch {epoch}/{total}: loss {row['loss']:.4f}, train accuracy {row['train_accuracy']:.4f}, "
                f"{len(x) * epoch / row['seconds']:.0f} images/s, {left:.0f} s left"
            )
            if stop_collapsed and epoch == 1 and _near_chance(row, y):
                result.status = "collapsed"
                return result
            if _collapsed(result, y, last=epoch == total):
                on_epoch(f"epoch {epoch}/{total}: {result.reason}")
                return result
    return result


def _collapsed(result: Fit, y: Tensor, *, last: bool) -> bool:
    """Mark a training that has stayed at chance as failed, from the first epoch of its last stretch there."""
    stretch = 0
    for row in reversed(result.history):
        if not _near_chance(row, y):
            break
        stretch += 1
    if not stretch or (stretch < PATIENCE and not last):
        return False
    result.status, result.epoch_failed = "failed", len(result.history) - stretch + 1
    result.reason = f"training accuracy at chance from epoch {result.epoch_failed} on"
    return True


def _near_chance(row: dict[str, Any], y: Tensor) -> bool:
    return row["train_accuracy"] < CHANCE_FACTOR / (int(y.max()) + 1)


def _epoch(
    model: nn.Module,
    defense: Defense,
    extra: Any,
    optimizers: _Optimizers,
    x: Tensor,
    y: Tensor,
    *,
    seed: int,
    epoch: int,
) -> dict[str, float] | None:
    """Run one epoch; return mean loss, mean of each term and running accuracy, or None once a loss is not finite."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(draw_seed(seed, epoch))).to(x.device)
    sums: dict[str, Tensor] = {}
    batches = order.split(optimizers.phase.batch_size)
    for number, rows in enumerate(batches):
        xb, yb = to_float(x[rows]).contiguous(memory_format=torch.channels_last), y[rows]
        model.train()
        loss = torch.zeros((), device=x.device)
        for step in defense.steps(model, extra, xb, yb, rng=draw_seed(seed, epoch, number), epoch=epoch):
            if not step.loss.isfinite():
                return None
            optimizers.step(step.parameters, step.loss)
            loss = loss + step.loss.detach()
            for name, term in step.terms.items():
                sums[name] = sums.get(name, 0) + term.detach()
        sums["loss"] = sums.get("loss", 0) + loss
    means = {name: float(total) / len(batches) for name, total in sums.items()}
    return {**means, "train_accuracy": accuracy(model, x[:TRAIN_PROBE], y[:TRAIN_PROBE])}
