"""How weights are stepped: phases, and one optimiser with its schedule per phase and group of parameters."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from touchstone.types import MODEL

# name -> the optimiser of some parameters under a rule. One kernel for all of them: three times as fast on a small net
# as one operation after the other (measured), and as deterministic, since elements do not mix
OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], "Rule"], Optimizer]] = {
    "adam": lambda parameters, rule: Adam(
        parameters, lr=rule.lr, betas=rule.betas, weight_decay=rule.weight_decay, fused=True
    ),
    "sgd": lambda parameters, rule: SGD(
        parameters, lr=rule.lr, momentum=rule.momentum, nesterov=rule.nesterov, weight_decay=rule.weight_decay,
        fused=True,
    ),
}  # fmt: skip
# name -> factor on the rate, from the rule, the epochs that are done and those of the phase
SCHEDULES: dict[str, Callable[["Rule", int, int], float]] = {
    "constant": lambda _, __, ___: 1.0,
    "multistep": lambda rule, done, _: rule.gamma ** sum(m <= done for m in rule.milestones),
    "exponential": lambda rule, done, _: rule.gamma**done,
    "linear": lambda _, done, epochs: 1 - done / epochs,
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """An optimiser and its schedule.

    Args:
        lr: learning rate of the first epoch, > 0.
        optimizer: a name in OPTIMIZERS.
        betas: of Adam: decay of the first and the second moment, in [0, 1).
        momentum: of SGD, >= 0.
        nesterov: of SGD: look ahead along the momentum, which must be > 0.
        weight_decay: times the weights, added to their gradient, >= 0.
        schedule: a name in SCHEDULES, constant within an epoch: "multistep" multiplies the rate by `gamma` after each
            milestone, "exponential" after every epoch; "linear" falls in equal steps, and would reach 0 after the last.
        milestones: epochs of the phase.
        gamma: factor, > 0.
    """

    lr: float
    optimizer: str = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: str = "constant"
    milestones: tuple[int, ...] = ()
    gamma: float = 1.0

    def rate(self, done: int, epochs: int) -> float:
        """Return the learning rate after `done` of the phase's epochs."""
        return self.lr * SCHEDULES[self.schedule](self, done, epochs)


@dataclass(frozen=True)
class Phase(Rule):
    """One stretch of training. What it says of optimiser and schedule is for the model.

    Args:
        epochs: passes over the training rows, >= 0.
        batch_size: rows per step; the last batch of an epoch may be smaller, or larger by a row that was left alone.
        groups: other optimisers than the model's, by the group that a Step names.
        augment: options of `touchstone.training.augment.augmented`; none: images as they are.
        validation_share: share of the training rows that are not trained on, in [0, 1), which whoever calls
            `training.fit` splits off; the same in every phase of a training.
        keep: "last" or "best_val": which epoch's weights the phase ends with, by accuracy on the validation rows (the
            first of equals).
        collapse: "stop" gives a net up that stays at chance, "finish" trains it to the end.
    """

    epochs: int
    batch_size: int
    groups: Mapping[str, Rule] = field(default_factory=dict, kw_only=True)
    augment: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    validation_share: float = field(default=0.0, kw_only=True)
    keep: str = field(default="last", kw_only=True)
    collapse: str = field(default="stop", kw_only=True)

    def rule(self, group: str) -> Rule:
        """Return the rule of a group.

        Raises:
            ValueError: if the phase has none of that name.
        """
        if group != MODEL and group not in self.groups:
            raise ValueError(f"the defense steps a group {group!r}, for which the phase has no settings (`groups`)")
        return self if group == MODEL else self.groups[group]

    def rates(self, done: int) -> dict[str, float]:
        """Return each group's rate after `done` epochs, as columns of the history: lr, lr_<group>."""
        rates = {"lr": self.rate(done, self.epochs)}
        return rates | {f"lr_{name}": rule.rate(done, self.epochs) for name, rule in self.groups.items()}


class Optimizers:
    """The optimisers of one phase, one per group, each made when its group is first stepped.

    Args:
        phase: whose rules they follow.
        names: every parameter that may be stepped -> its name in a checkpoint.

    Attributes:
        done: epochs of the phase that are over, which decide the rates.
    """

    def __init__(self, phase: Phase, names: Mapping[nn.Parameter, str]) -> None:
        self.phase, self.names, self.done = phase, names, 0
        self.made: dict[str, Optimizer] = {}
        self._known: dict[str, set[nn.Parameter]] = {}

    def step(self, parameters: Iterable[nn.Parameter], loss: Tensor, group: str) -> None:
        """Step parameters that are not frozen down the gradient of a scalar loss; no others are touched.

        Raises:
            ValueError: for a parameter that is neither the model's nor the extra's: no checkpoint would hold it; for a
                loss that depends on none of the parameters.
        """
        parameters = [p for p in parameters if p.requires_grad]
        optimizer = self._optimizer(group, parameters)
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)  # a layer may be idle in this step
        if all(grad is None for grad in grads):
            raise ValueError(f"the loss of group {group!r} depends on none of its parameters that are not frozen")
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = None if grad is None else _laid_out(grad, parameter)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def _optimizer(self, group: str, parameters: list[nn.Parameter]) -> Optimizer:
        """Return the group's optimiser, with these parameters added to those it has."""
        known = self._known.setdefault(group, set())
        new = [p for p in parameters if p not in known]
        if new:
            if any(p not in self.names for p in new):
                raise ValueError(f"group {group!r} has parameters that neither the model nor the defense's extra holds")
            known.update(new)
            rule = self.phase.rule(group)
            if group in self.made:
                self.made[group].add_param_group({"params": new})
            else:
                self.made[group] = OPTIMIZERS[rule.optimizer](new, rule)
            self.schedule(self.done)
        return self.made[group]

    def schedule(self, done: int) -> None:
        """Set the rates after `done` epochs of the phase."""
        self.done = done
        for group, optimizer in self.made.items():
            for part in optimizer.param_groups:
                part["lr"] = self.phase.rule(group).rate(done, self.phase.epochs)

    def state(self) -> dict[str, Tensor]:
        """Return what the optimisers remember: <group>.<key>.<parameter> -> tensor."""
        return {
            f"{group}.{key}.{self.names[parameter]}": value
            for group, optimizer in self.made.items()
            for parameter, remembered in optimizer.state.items()
            for key, value in remembered.items()
            if value is not None  # the momentum of SGD without any
        }

    def load(self, state: Mapping[str, Tensor], done: int) -> None:
        """Remember what `state` returned after `done` epochs."""
        by_name = {name: parameter for parameter, name in self.names.items()}
        split = {path: path.split(".", 2) for path in state}
        for group in dict.fromkeys(group for group, _, _ in split.values()):
            names = dict.fromkeys(name for other, _, name in split.values() if other == group)
            self._optimizer(group, [by_name[name] for name in names])
        for path, (group, key, name) in split.items():
            parameter = by_name[name]
            value = state[path].to(parameter.device)
            self.made[group].state[parameter][key] = value if key == "step" else _laid_out(value, parameter)
        self.schedule(done)


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a tensor in the memory layout of its parameter, which fused kernels read both in."""
    return value if value.stride() == parameter.stride() else torch.empty_like(parameter).copy_(value)
