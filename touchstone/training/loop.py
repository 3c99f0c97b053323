"""The one training loop: what is not an objective lives here, from epochs to failures, redraws and resuming."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from touchstone.data.prepare import Split, to_float
from touchstone.defenses.base import Defense
from touchstone.query import Query, mixed_precision
from touchstone.recipe import Phase
from touchstone.rng import draw_seed, own_generator
from touchstone.training.augment import augmented
from touchstone.training.checkpoint import Checkpoint, Saved
from touchstone.training.state import Fit, Run
from touchstone.training.watch import Watch, near_chance

log = logging.getLogger(__name__)

EVAL_BATCH = 128  # rows per forward pass: with 1000, smallcnn and lenet-512 took 1.7 times as long on a CPU (measured)
TRAIN_PROBE = 5000  # rows that the training accuracy of an epoch is measured on
LOOK = 100  # batches between two looks at whether the losses were finite: a look makes a GPU's queue run dry
DEFENSE, MODEL, AUGMENT = (), (1,), (2,)  # who draws: what is mixed into the seed of a batch


@dataclass(frozen=True)
class Monitor:
    """What is measured of a net while it is trained; it leaves the net, and torch's own generators, as they were.

    Attributes:
        measure: net -> what is added to the history, by column.
        every: after how many epochs; after the first and the last one too.
    """

    measure: Callable[[nn.Module], Mapping[str, float]]
    every: int

    def due(self, epoch: int, last: int) -> bool:
        """Say whether it is time, after `epoch` epochs of `last`."""
        return epoch in (1, last) or epoch % self.every == 0


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
        if not result.collapsed:
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
    monitor: Monitor | None = None,
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
    a net that is at chance after its first epoch ends at once, as `collapsed`.

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
        checkpoint: where to save to.
        saved: what a checkpoint of this training held.
        monitor: what is measured meanwhile; the seconds of the history are without it.
        on_epoch: receives a line of progress.

    Raises:
        ValueError: for `keep: best_val` without validation rows, or a step that no phase or checkpoint can serve.
    """
    phases = tuple(phases)
    if validation is None and any(p.keep == "best_val" for p in phases):
        raise ValueError("keep: best_val needs validation rows")
    with _laid_out(model, x, seed):
        run = Run(model, defense.setup(model, seed), phases, seed)
        if saved:
            run.load(saved)
            on_epoch(f"going on after epoch {run.epoch} of {run.total}")
        started = time.monotonic() - run.seconds
        while run.in_phase():
            before = {k: v.clone() for k, v in model.state_dict().items()}
            with mixed_precision(x.device, bf16):
                row = _epoch(run, defense, x, y)
            # statistics of batch norm too; integers are finite
            if row is None or not all(value.isfinite().all() for value in model.state_dict().values()):
                model.load_state_dict(before)
                return run.failed(run.epoch + 1, f"loss or weights not finite in epoch {run.epoch + 1}", on_epoch)
            row["train_accuracy"] = accuracy(model, x[:TRAIN_PROBE], y[:TRAIN_PROBE])
            if validation is not None:
                row["validation_accuracy"] = accuracy(model, validation.x, validation.y)
            if monitor is not None and monitor.due(run.epoch + 1, run.total):
                begun = time.monotonic()
                row |= monitor.measure(model)
                started += time.monotonic() - begun
            run.end_epoch(row, time.monotonic() - started)
            on_epoch(run.progress(len(x)))
            if stop_collapsed and run.epoch == 1 and near_chance(row, y):
                run.result.collapsed = True
                return run.result
            if since := run.at_chance(y):
                return run.failed(since, f"training accuracy at chance from epoch {since} on", on_epoch)
            if checkpoint and run.epoch < run.total and checkpoint.due(run.epoch):
                checkpoint.save(run.epoch, run.state())
        return run.result


@contextmanager
def _laid_out(model: nn.Module, x: Tensor, seed: int) -> Iterator[None]:
    """Train in channels_last memory, about twice as fast for small convolutions on a CPU (measured), where that works.

    A model that flattens with `view` gets contiguous images instead, wherever they enter its net.
    """
    query = Query(model)
    with own_generator(x.device, seed):
        query.probe(to_float(x[:1]))
    if query.memory_format == torch.channels_last:
        model.to(memory_format=torch.channels_last)
        yield
        return

    def rows(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(x.clone(memory_format=torch.contiguous_format) for x in inputs)

    net = getattr(model, "net", model)  # whose first layer is also that of its features
    hook = (net[0] if isinstance(net, nn.Sequential) else net).register_forward_pre_hook(rows)
    try:
        yield
    finally:
        hook.remove()


def _epoch(run: Run, defense: Defense, x: Tensor, y: Tensor) -> dict[str, float] | None:
    """Run one epoch; return the means of loss, terms and zero gradients, or None once a loss is not finite."""
    model, phase, seed, epoch = run.model, run.phase, run.seed, run.epoch + 1
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(draw_seed(seed, epoch))).to(x.device)
    batches = list(order.split(phase.batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:  # batch norm has no variance of one row
        batches[-2:] = [torch.cat(batches[-2:])]
    sums: dict[str, Tensor] = {}
    finite = torch.ones((), dtype=torch.bool, device=x.device)
    model.train()
    with Watch(model, x.device) as watch, _own_generators(x.device) as generators:
        for number, rows in enumerate(batches):
            batch = (seed, epoch, number)
            xb, yb = to_float(x.index_select(0, rows)).contiguous(memory_format=torch.channels_last), y[rows]
            if phase.augment:
                xb = augmented(xb, phase.augment, seed=draw_seed(*batch, *AUGMENT))
            for generator in generators:
                generator.manual_seed(draw_seed(*batch, *MODEL))
            loss = torch.zeros((), device=x.device)
            for step in defense.steps(model, run.extra, xb, yb, seed=draw_seed(*batch, *DEFENSE), epoch=epoch):
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
