"""Everything that changes while a model is trained: what a checkpoint holds, and what is left at the end."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from touchstone.recipe import Phase
from touchstone.training.checkpoint import Saved
from touchstone.training.optimizers import Optimizers
from touchstone.training.watch import at_chance, near_chance

PATIENCE = 5  # epochs at chance after which a net is given up


@dataclass
class Fit:
    """What a training left behind.

    Attributes:
        status: ok, or failed for `reason`.
        epoch_failed: from 1, in which it went wrong.
        collapsed: whether it ended after its first epoch, at chance, for another initialisation to be drawn.
        flags: what has to be said beside the result, {flag, detail} each.
        history: a row per epoch: epoch, phase, means of the loss and of its terms, zero_gradients (see watch.py),
            train_accuracy, validation_accuracy where rows are held out, what a monitor measures in the epochs in which
            it does, lr and lr_<group>, seconds since the start.
        kept: per phase that was ended, the epoch whose weights it ended with.
    """

    status: Literal["ok", "failed"] = "ok"
    reason: str = ""
    epoch_failed: int | None = None
    collapsed: bool = False
    flags: list[dict[str, str]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)


class Best(NamedTuple):
    """The epoch of a phase with the highest validation accuracy so far, and its weights."""

    epoch: int
    accuracy: float
    weights: dict[str, Tensor]


class Run:
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
        if self.best and (over or not near_chance(history[self.best.epoch - 1], y)):
            history = history[: self.best.epoch]  # whatever came later, that epoch is kept
        since = at_chance(history, y)
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
