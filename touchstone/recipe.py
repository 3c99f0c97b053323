"""How a model is trained, as values: what a recipe may say, its defaults, and what shortening does, in one place.

A study says parts of a recipe (the schema of study.yaml derives from the fields here), `merge` makes a phase of them,
and `touchstone.training` turns a phase into optimisers. Nothing here needs torch or pydantic.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Literal, Self

# what somebody says of a recipe: some fields of a Phase, with `groups` as {name: some fields of a OptimizerSettings}
Said = Mapping[str, Any]

LEAST_SHARE = 0.001  # of the training rows, where any are held out: of the smallest dataset that is one row
MODEL = "model"  # the group of parameters that the phase's own optimiser steps


def _field(doc: str, default: Any = MISSING, *, each: bool = False, kw_only: Any = MISSING, **bounds: float) -> Any:
    """A field with its description and bounds (gt, ge, lt, le), of each item if it holds several."""
    return field(default=default, kw_only=kw_only, metadata={"doc": doc, "bounds": bounds, "each": each})


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """An optimiser and its schedule. What an optimiser or a schedule does not read stays as it is by default."""

    lr: float = _field("learning rate of the first epoch", gt=0, le=10)
    optimizer: Literal["adam", "sgd"] = _field("a name in OPTIMIZERS", "adam")
    betas: tuple[float, float] = _field(
        "of Adam: decay of the first and the second moment", (0.9, 0.999), each=True, ge=0, lt=1
    )
    momentum: float = _field("of SGD", 0.0, ge=0, lt=1)
    nesterov: bool = _field("of SGD: look ahead along the momentum, which must be > 0", False)
    weight_decay: float = _field("times the weights, added to their gradient", 0.0, ge=0, le=1)
    schedule: Literal["constant", "multistep", "exponential", "linear"] = _field(
        "a name in SCHEDULES; the rate is constant within an epoch", "constant"
    )
    milestones: tuple[int, ...] = _field("of multistep: epochs of the phase, rising", (), each=True, ge=1)
    gamma: float = _field("of multistep and exponential: factor on the rate", 1.0, gt=0, le=1)

    def rate(self, done: int, epochs: int) -> float:
        """Return the learning rate after `done` of the phase's epochs."""
        return self.lr * SCHEDULES[self.schedule].factor(self, done, epochs)


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How training images vary, see `touchstone.training.augment.augmented`."""

    crop: int = _field("pad by this many pixels, and cut the image's size out of it", 0, ge=1)
    translate: float = _field("shift by up to this share of each side", 0.0, gt=0, lt=1)
    fill: Literal["zero", "edge", "reflect"] = _field("what comes in from outside, for crop and translate", "zero")
    flip: bool = _field("mirror left to right, every second image", False)
    rotate: float = _field("turn by up to this many degrees, each way", 0.0, gt=0, le=180)
    resized_crop: bool = _field("blow a box of 8 to 100 % of the area up to the image's size", False)
    probability: float = _field("of being changed at all, for each image", 1.0, gt=0, le=1)


CHANGES = ("crop", "translate", "flip", "rotate", "resized_crop")  # what varies an image; the rest says how


@dataclass(frozen=True)
class Phase(OptimizerSettings):
    """One stretch of training. What it says of optimiser and schedule is for the model.

    `groups` are other optimisers than the model's, by the group that a Step names; without `augment` images go in as
    they are. The rows of `validation_share` are the same in every phase of a training.
    """

    epochs: int = _field("passes over the training rows", ge=1, le=100_000)
    batch_size: int = _field(
        "rows per step; the last batch may be smaller, or larger by a row left alone", ge=1, le=1_000_000
    )
    init: str = _field(
        "fresh, continue (where the phase before ended), or a defense whose weights it begins with",
        "fresh",
        kw_only=True,
    )
    groups: Mapping[str, OptimizerSettings] = field(default_factory=dict, kw_only=True)
    augment: Augment | None = field(default=None, kw_only=True)
    validation_share: float = _field(
        "share of the training rows that are held out and not trained on", 0.0, kw_only=True, ge=0, le=0.5
    )
    keep: Literal["last", "best_val"] = _field(
        "which epoch's weights the phase ends with: the last, or the first of the best on held-out rows",
        "last",
        kw_only=True,
    )
    collapse: Literal["stop", "finish"] = _field(
        "give a net that stays at chance up, or train it to the end; it has failed either way", "stop", kw_only=True
    )

    def settings(self, group: str) -> OptimizerSettings:
        """Return the settings of a group.

        Raises:
            ValueError: if the phase has none of that name.
        """
        if group != MODEL and group not in self.groups:
            raise ValueError(f"the defense steps a group {group!r}, for which the phase has no settings (`groups`)")
        return self if group == MODEL else self.groups[group]

    def rates(self, done: int) -> dict[str, float]:
        """Return each group's rate after `done` epochs, as columns of the history: lr, lr_<group>."""
        rates = {"lr": self.rate(done, self.epochs)}
        return rates | {f"lr_{name}": one.rate(done, self.epochs) for name, one in self.groups.items()}

    def shrunk(self, epochs: int) -> Self:
        """Return the phase with fewer epochs, its schedules shrunk with them: every rate keeps its share of them."""
        share = epochs / self.epochs
        groups = {
            name: replace(one, **SCHEDULES[one.schedule].shorter(one, share)) for name, one in self.groups.items()
        }
        return replace(self, **SCHEDULES[self.schedule].shorter(self, share), epochs=epochs, groups=groups)


@dataclass(frozen=True)
class Schedule:
    """How a rate falls.

    Attributes:
        reads: fields of the settings that it must be told.
        factor: on the rate, from the settings, the epochs that are done and those of the phase.
        shorter: what changes in the settings where only a share of the epochs is run.
    """

    factor: Callable[[OptimizerSettings, int, int], float]
    reads: tuple[str, ...] = ()
    shorter: Callable[[OptimizerSettings, float], Said] = lambda _, __: {}


# optimiser -> fields of the settings that it reads besides the rate
OPTIMIZERS: dict[str, tuple[str, ...]] = {
    "adam": ("betas", "weight_decay"),
    "sgd": ("momentum", "nesterov", "weight_decay"),
}
SCHEDULES: dict[str, Schedule] = {
    "constant": Schedule(lambda _, __, ___: 1.0),
    "multistep": Schedule(
        lambda settings, done, _: settings.gamma ** sum(m <= done for m in settings.milestones),
        ("milestones", "gamma"),
        lambda settings, share: {"milestones": tuple(sorted({max(1, round(m * share)) for m in settings.milestones}))},
    ),
    "exponential": Schedule(
        lambda settings, done, _: settings.gamma**done,
        ("gamma",),
        lambda settings, share: {"gamma": settings.gamma ** (1 / share)},
    ),
    "linear": Schedule(lambda _, done, epochs: 1 - done / epochs),
}
SETTINGS = tuple(f.name for f in fields(OptimizerSettings))


def settings_of(*parts: Said) -> Said:
    """Return what parts say of an optimiser and its schedule, later ones before earlier ones, as far as it is read."""
    said = {k: v for part in parts for k, v in part.items() if k in SETTINGS}
    read = {"lr", "optimizer", "schedule", *OPTIMIZERS[said.get("optimizer", "adam")]}
    read |= set(SCHEDULES[said.get("schedule", "constant")].reads)
    return {k: tuple(v) if isinstance(v, list) else v for k, v in said.items() if k in read}


def merge(*parts: Said) -> Phase:
    """Make a phase of what several parts say, later ones before earlier ones; a group takes from all what it lacks."""
    plain = {f.name for f in fields(Phase)} - set(SETTINGS) - {"groups", "augment"}
    said = {k: v for part in parts for k, v in part.items() if k in plain}
    augment = next((part["augment"] for part in reversed(parts) if "augment" in part), None)
    names = dict.fromkeys(name for part in parts for name in part.get("groups", {}))
    said_of = {n: [p["groups"][n] for p in parts if n in p.get("groups", {})] for n in names}
    groups = {n: OptimizerSettings(**settings_of(*parts, *own)) for n, own in said_of.items()}
    return Phase(**settings_of(*parts), **said, groups=groups, augment=Augment(**augment) if augment else None)
