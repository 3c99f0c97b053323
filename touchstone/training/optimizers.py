"""How weights are stepped: one optimiser with its schedule per phase and group of parameters."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from touchstone.recipe import OptimizerSettings, Phase

# name -> the optimiser of some parameters. One kernel for all of them: three times as fast on a small net as one
# operation after the other (measured), and as deterministic, since elements do not mix
OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], OptimizerSettings], Optimizer]] = {
    "adam": lambda parameters, settings: Adam(
        parameters, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
    ),
    "sgd": lambda parameters, settings: SGD(
        parameters,
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        fused=True,
    ),
}  # fmt: skip


class Optimizers:
    """The optimisers of one phase, one per group, each made when its group is first stepped.

    Args:
        phase: whose settings they follow.
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
            settings = self.phase.settings(group)
            if group in self.made:
                self.made[group].add_param_group({"params": new})
            else:
                self.made[group] = OPTIMIZERS[settings.optimizer](new, settings)
            self.schedule(self.done)
        return self.made[group]

    def schedule(self, done: int) -> None:
        """Set the rates after `done` epochs of the phase."""
        self.done = done
        for group, optimizer in self.made.items():
            for part in optimizer.param_groups:
                part["lr"] = self.phase.settings(group).rate(done, self.phase.epochs)

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
