"""The one training loop: what is not an objective lives here, from epochs to failures, redraws and resuming."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from touchstone.data.prepare import Split, to_float
from touchstone.defenses.base import Defense
from touchstone.recipe import Phase
from touchstone.rng import draw_seed
from touchstone.training.augment import augmented
from touchstone.training.checkpoint import Checkpoint, Saved
from touchstone.training.optimizers import Optimizers

log = logging.getLogger(__name__)

EVAL_BATCH = 128  # rows per forward pass: with 1000, smallcnn and lenet-512 took 1.7 times as long on a CPU (measured)
TRAIN_PROBE = 5000  # rows that the training accuracy of an epoch is measured on
CHANCE_FACTOR = 1.5  # a net below 1.5 times the share of the largest class has learned nothing worth the name
PATIENCE = 5  # epochs at chance after which a net is given up
LOOK = 100  # batches between two looks at whether the losses were finite: a look makes a GPU's queue run dry
DEFENSE, MODEL, AUGMENT = (), (1,), (2,)  # who draws: what is mixed into the seed of a batch


@dataclass
class Fit:
    """What a training left behind.

    Attributes:
        status: "ok", "collapsed" or "failed".
        reason: why it is not ok.
        epoch_failed: from 1, in which it went wrong.
        flags: what has to be said beside the result, {flag, detail} each.
        history: a row per epoch: epoch, phase, means of the loss and of its terms, zero_gradients (see _Watch),
            train_accuracy, validation_accuracy where rows are held out, lr and lr_<group>, seconds since the start.
        kept: per phase that was ended, the epoch whose weights it ended with.
    """

    status: str = "ok"
    reason: str = ""
    epoch_failed: int | None = None
    flags: list[dict[str, str]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)


class Best(NamedTuple):
    """The epoch of a phase with the highest validation accuracy so far, and its weights."""

    epoch: int
    accuracy: float
    weights: dict[str, Tensor]


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
    redraws: int, checkpoint: Checkpoint | None = None, **options: Any,
) -> tuple[nn.Module, Fit]:  # fmt: skip
    """Train `build(seed)`; where it has learned nothing in its first epoch, draw another initialisation.

    Some recipes kill all units of a net within an epoch for a share of the seeds, which nobody would have
    published. Only training accuracy decides, and every redraw is a flag of the result.

    Args:
        build: seed -> untrained model.
        defense: as in `fit`, as are x, y, phases and `options`.
        x: (N, C, H, W) uint8.
        y: (N,) int64.
        phases: in order.
        seed: of the first initialisation and of the order of the rows.
        redraws: how many more initialisations may be tried, >= 0; the last one is trained to its end.
        checkpoint: where to go on from, and to save to.
        options: of `fit`.
    """
    starts = [seed, *(draw_seed(seed, attempt) for attempt in range(1, redraws + 1))]
    saved = checkpoint.load() if checkpoint else None
    first = starts.index(saved.facts["seed"]) if saved else 0
    for attempt, start in enumerate(starts[first:], first):
        model = build(start)
        result = fit(
            model, defense, x, y, phases, seed=start, stop_collapsed=attempt < redraws, checkpoint=checkpoint,
            saved=saved if attempt == first else None, **options,
        )  # fmt: skip
        if result.status != "collapsed":
            break
        log.info("initialisation %d has learned nothing in its first epoch and is drawn again", start)
    if attempt:
        seen = f"initialisations {starts[:attempt]} learned nothing in their first epoch; {start} was used"
        result.flags.append({"flag": "redrawn", "detail": seen})
    return model, result


def fit(
    model: nn.Module,
    defense: Defense,
    x: Tensor,
    y: Tensor,
    phases: Iterable[Phase],
    *,
    seed: int,
    validation: Split | None = None,
    stop_collapsed: bool = False,
    bf16: bool = False,
    checkpoint: Checkpoint | None = None,
    saved: Saved | None = None,
    on_epoch: Callable[[str], None] = log.info,
) -> Fit:
    """Train `model` in place on x (N, C, H, W) uint8, y (N,) int64, both on the model's device.

    Everything random is a function of (seed, epoch, batch): the order of the rows, what the defense draws,
    augmentation, and what the model itself draws from torch's generator (dropout), which is left as it was. So a
    training that goes on from a checkpoint ends with the same bits as one that was never interrupted, at equal threads
    and device.

    A loss or a weight that is not finite ends the training as "failed" with the epoch; the model then holds its last
    finite weights at an epoch's end. So does a training accuracy that is at chance for PATIENCE epochs (but for a
    phase that says `finish`) or in the epoch that is kept at the end, from its first such epoch. With `stop_collapsed`
    a net that is at chance after its first epoch ends as "collapsed" at once.

    Args:
        model: trained in place.
        defense: the objective; its extra is made once and goes through all phases.
        x: (N, C, H, W) uint8.
        y: (N,) int64.
        phases: in order, each from the weights that the one before it ended with.
        seed: of everything that is drawn here.
        validation: rows that are not among x, for the history and for `keep: best_val`.
        stop_collapsed: see above.
        bf16: run the model's layers in bfloat16 where torch.autocast does so; weights, logits and losses stay float32.
        checkpoint: where to save to; the caller removes it.
        saved: what a checkpoint of this training held.
        on_epoch: receives a line of progress.

    Raises:
        ValueError: for `keep: best_val` without validation rows, or a step that no phase or checkpoint can serve.
    """
    phases = tuple(phases)
    if validation is None and any(p.keep == "best_val" for p in phases):
        raise ValueError("keep: best_val needs validation rows")
    model.to(memory_format=torch.channels_last)  # about twice as fast for small convolutions on a CPU (measured)
    run = _Run(model, defense.setup(model, seed), phases, seed)
    if saved:
        run.load(saved)
        on_epoch(f"going on after epoch {run.epoch} of {run.total}")
    started = time.monotonic() - run.seconds
    while run.in_phase():
        before = {k: v.clone() for k, v in model.state_dict().items()}
        with torch.autocast(x.device.type, torch.bfloat16, bf16, cache_enabled=False):
            row = _epoch(run, defense, x, y)
        # statistics of batch norm too; integers are finite
        if row is None or not all(value.isfinite().all() for value in model.state_dict().values()):
            model.load_state_dict(before)
            return run.failed(run.epoch + 1, f"loss or weights not finite in epoch {run.epoch + 1}", on_epoch)
        row["train_accuracy"] = accuracy(model, x[:TRAIN_PROBE], y[:TRAIN_PROBE])
        if validation is not None:
            row["validation_accuracy"] = accuracy(model, validation.x, validation.y)
        run.end_epoch(row, time.monotonic() - started)
        on_epoch(run.progress(len(x)))
        if stop_collapsed and run.epoch == 1 and _near_chance(row, y):
            run.result.status = "collapsed"
            return run.result
        if since := run.at_chance(y):
            return run.failed(since, f"training accuracy at chance from epoch {since} on", on_epoch)
        if checkpoint and run.epoch < run.total and checkpoint.due(run.epoch):
            checkpoint.save(run.epoch, run.state())
    return run.result


class _Run:
    """Everything that changes while a model is trained; what a checkpoint holds."""

    def __init__(self, model: nn.Module, extra: Any, phases: tuple[Phase, ...], seed: int) -> None:
        self.model, self.extra, self.phases, self.seed = model, extra, phases, seed
        self.parts = {"model": model} | ({"extra": extra} if isinstance(extra, nn.Module) else {})
        self.total = sum(p.epochs for p in phases)
        self.result = Fit()
        self._enter(0)

    @property
    def epoch(self) -> int:
        """Epochs that are over, of all phases."""
        return len(self.result.history)

    @property
    def seconds(self) -> float:
        """How long those took."""
        return self.result.history[-1]["seconds"] if self.result.history else 0.0

    def _enter(self, number: int) -> None:
        """Begin a phase, with new optimisers."""
        self.number, self.best = number, None
        names = {p: f"{part}.{name}" for part, module in self.parts.items() for name, p in module.named_parameters()}
        self.phase = self.phases[number] if number < len(self.phases) else Phase(0, 1, lr=1.0)
        self.optimizers = Optimizers(self.phase, names)

    def in_phase(self) -> bool:
        """Leave phases that are over, each with the weights it keeps; say whether there is one to go on with."""
        while self.number < len(self.phases) and self.optimizers.done == self.phase.epochs:
            if self.best is not None:
                self.model.load_state_dict(self.best.weights)
            self.result.kept.append(self.best.epoch if self.best else self.epoch)
            self._enter(self.number + 1)
        return self.number < len(self.phases)

    def end_epoch(self, row: dict[str, float], seconds: float) -> None:
        """Add an epoch to the history, note whether it is the best, and set the rates of the next."""
        rates = self.phase.rates(self.optimizers.done)
        row = {"epoch": self.epoch + 1, "phase": self.number, **row, **rates, "seconds": seconds}
        self.result.history.append(row)
        self.optimizers.schedule(self.optimizers.done + 1)
        if self.phase.keep == "best_val":
            found = row["validation_accuracy"]
            if self.best is None or found > self.best.accuracy:
                weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
                self.best = Best(self.epoch, found, weights)

    def at_chance(self, y: Tensor) -> int | None:
        """Return since when the net has been at chance, if for too long in this phase or in the epoch that is kept."""
        over, history = self.epoch == self.total, self.result.history
        if self.best and (over or not _near_chance(history[self.best.epoch - 1], y)):
            history = history[: self.best.epoch]  # whatever came later, that epoch is kept
        since = _at_chance(history, y)
        patience = 1 if over else PATIENCE if self.phase.collapse == "stop" else self.total
        begun = self.epoch - self.optimizers.done + 1
        return since if since and self.epoch - max(since, begun) + 1 >= patience else None

    def failed(self, epoch: int, reason: str, on_epoch: Callable[[str], None]) -> Fit:
        """Return the result, marked."""
        self.result.status, self.result.epoch_failed, self.result.reason = "failed", epoch, reason
        on_epoch(f"epoch {epoch}/{self.total}: {reason}")
        return self.result

    def progress(self, rows: int) -> str:
        """Return a line for the log."""
        row = self.result.history[-1]
        left = row["seconds"] / self.epoch * (self.total - self.epoch)
        return (
            f"epoch {self.epoch}/{self.total}: loss {row['loss']:.4f}, train accuracy {row['train_accuracy']:.4f}, "
            f"{rows * self.epoch / row['seconds']:.0f} images/s, {left:.0f} s left"
        )

    def state(self) -> Saved:
        """Return what `load` needs to go on from here."""
        groups = {name: module.state_dict() for name, module in self.parts.items()}
        groups |= {"optimizer": self.optimizers.state(), "best": self.best.weights if self.best else {}}
        facts = {
            "seed": self.seed,
            "phase": self.number,
            "done": self.optimizers.done,
            "history": self.result.history,
            "kept": self.result.kept,
            "best": [self.best.epoch, self.best.accuracy] if self.best else None,
        }
        return Saved({f"{group}.{name}": t for group, tensors in groups.items() for name, t in tensors.items()}, facts)

    def load(self, saved: Saved) -> None:
        """Go on from what `state` returned."""
        groups: dict[str, dict[str, Tensor]] = {name: {} for name in (*self.parts, "optimizer", "best")}
        for path, tensor in saved.tensors.items():
            group, _, name = path.partition(".")
            groups[group][name] = tensor
        for name, module in self.parts.items():
            module.load_state_dict(groups[name])
        self._enter(saved.facts["phase"])
        self.optimizers.load(groups["optimizer"], saved.facts["done"])
        self.result.history, self.result.kept = saved.facts["history"], saved.facts["kept"]
        if saved.facts["best"]:
            self.best = Best(*saved.facts["best"], groups["best"])


def _at_chance(history: list[dict[str, Any]], y: Tensor) -> int | None:
    """Return the first epoch of the stretch at chance that a history ends with, if it does."""
    since = None
    for row in reversed(history):
        if not _near_chance(row, y):
            break
        since = row["epoch"]
    return since


def _near_chance(row: dict[str, Any], y: Tensor) -> bool:
    """Say whether a net is no better than one that always names the largest class, or hardly."""
    largest = float(y.bincount().max()) / len(y)
    # with few classes, or one that prevails, half as much again would be asking too much
    return row["train_accuracy"] < min(CHANCE_FACTOR * largest, largest + (1 - largest) / 18)


def _epoch(run: _Run, defense: Defense, x: Tensor, y: Tensor) -> dict[str, float] | None:
    """Run one epoch; return the means of loss, terms and zero gradients, or None once a loss is not finite."""
    model, phase, seed, epoch = run.model, run.phase, run.seed, run.epoch + 1
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(draw_seed(seed, epoch))).to(x.device)
    batches = list(order.split(phase.batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:  # batch norm has no variance of one row
        batches[-2:] = [torch.cat(batches[-2:])]
    sums: dict[str, Tensor] = {}
    finite = torch.ones((), dtype=torch.bool, device=x.device)
    model.train()
    with _Watch(model, x.device) as watch, _own_generators(x.device) as generators:
        for number, rows in enumerate(batches):
            batch = (seed, epoch, number)
            xb, yb = to_float(x.index_select(0, rows)).contiguous(memory_format=torch.channels_last), y[rows]
            if phase.augment:
                xb = augmented(xb, draw_seed(*batch, *AUGMENT), **asdict(phase.augment))
            for generator in generators:
                generator.manual_seed(draw_seed(*batch, *MODEL))
            loss = torch.zeros((), device=x.device)
            for step in defense.steps(model, run.extra, xb, yb, rng=draw_seed(*batch, *DEFENSE), epoch=epoch):
                with watch.counting():
                    run.optimizers.step(step.parameters, step.loss, step.group)
                loss = loss + step.loss.detach()
                for name, term in step.terms.items():
                    sums[name] = sums.get(name, 0) + term.detach()
            finite &= loss.isfinite()
            sums["loss"] = sums.get("loss", 0) + loss
            if number % LOOK == 0 and not finite:
                break
    if not finite:
        return None
    return {name: float(total) / len(batches) for name, total in sums.items()} | {"zero_gradients": watch.share()}


@contextmanager
def _own_generators(device: torch.device) -> Iterator[list[torch.Generator]]:
    """Lend torch's own generators, for the CPU and for a GPU that is in use, and leave them as they were."""
    gpus = [] if device.type != "cuda" else [torch.cuda.current_device() if device.index is None else device.index]
    with torch.random.fork_rng(devices=gpus):
        # seeded directly: torch.manual_seed takes 0.14 ms, a fiftieth of a step (measured)
        yield [torch.default_generator, *(torch.cuda.default_generators[gpu] for gpu in gpus)]


class _Watch:
    """Watches the logits of a model: at what share of the rows has the loss that is stepped no gradient in them?

    That is exactly 0 for every logit: such a row teaches nothing. It is read where the gradient passes anyway, in
    training mode and during the steps alone; nan for a defense that never asks for logits.
    The logits are handed on as float32, also where the layers were not.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.model, self.rows, self.on = model, 0, False
        self.zeros = torch.zeros((), dtype=torch.int64, device=device)

    def __enter__(self) -> "_Watch":
        # a Classifier's logits pass there in every space
        self.handle = getattr(self.model, "logits", self.model).register_forward_hook(self._forward)
        return self

    def __exit__(self, *exception: object) -> None:
        self.handle.remove()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the gradients that pass meanwhile."""
        self.on = True
        try:
            yield
        finally:
            self.on = False

    def _forward(self, model: nn.Module, inputs: Any, logits: Tensor) -> Tensor:  # noqa: ARG002
        logits = logits.float() if logits.dtype == torch.bfloat16 else logits
        if model.training and logits.requires_grad:
            logits.register_hook(self._backward)
        return logits

    def _backward(self, grad: Tensor) -> None:
        if self.on:
            self.rows += len(grad)
            self.zeros += (grad == 0).all(dim=1).sum()

    def share(self) -> float:
        """Return the share so far."""
        return float(self.zeros) / self.rows if self.rows else math.nan
