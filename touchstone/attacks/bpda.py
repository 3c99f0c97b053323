"""BPDA: another attack on a model whose saturating activations hand back the slope of a wider one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from touchstone.attacks.apgd import apgd
from touchstone.attacks.balls import BALLS
from touchstone.attacks.contract import between, choose, prepare
from touchstone.attacks.pgd import pgd
from touchstone.attacks.wrapping import extra
from touchstone.query import Query
from touchstone.ranges import AtLeastOne, Count
from touchstone.registry import LossName
from touchstone.rng import SampleRng

CLIMBS: dict[str, Callable[..., Tensor]] = {"pgd": pgd, "apgd": apgd}
GIVEN = ("norm", "eps", "rng", "stop", "steps", "restarts", "loss")  # what bpda passes on itself
SATURATING = (nn.Tanh, nn.Sigmoid, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid)


def bpda(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    attack: str = "pgd",
    temperature: AtLeastOne = 1000.0,
    steps: Count = 100,
    restarts: Count = 1,
    loss: LossName = "margin",
    options: Mapping[str, Any] | None = None,
) -> Tensor:
    """Return what a gradient attack finds when saturated activations let gradients through.

    Source: Athalye, Carlini, Wagner (2018), section 4.1, backward pass differentiable approximation. A saturating
    activation s keeps its value in the forward pass, bit for bit, so what the attack sees as misclassified is; in the
    backward pass it has the slope of t s(z / t), which is that of s at zero but t times as wide. Where tanh is +-1 in
    float32 (beyond 9) its own slope is zero, and no loss and no step size finds a way.

    The activations are modules of the classes in SATURATING; a model without one is a ValueError, and functions called
    in `forward`, such as torch.tanh, are not seen.

    Options:
        attack: a name in CLIMBS.
        temperature: t above, >= 1; 1 changes nothing. Best is a few times the usual |z|; a much larger one, which
            makes the activation look linear, loses little, a smaller one loses what the attack is for.
        steps: gradient steps per restart, >= 1.
        restarts: number of starts, >= 1.
        options: further keyword arguments of the attack.
    """
    task = prepare(model, x, y, norm=norm, norms=BALLS, rng=rng, eps=eps, stop=stop)
    choose("attack", attack, CLIMBS)
    between(1, temperature=temperature, steps=steps, restarts=restarts)
    more = extra(CLIMBS[attack], options, GIVEN)
    with widened(task.query.model, temperature):
        arguments = {"norm": norm, "eps": task.eps, "rng": task.rng, "stop": stop, "loss": loss}
        return CLIMBS[attack](task.query, task.x, task.y, **arguments, steps=steps, restarts=restarts, **more)


@contextmanager
def widened(model: nn.Module, temperature: float) -> Iterator[None]:
    """Give the saturating activations of a model, while inside, the slope they have at 1 / temperature of their input.

    Raises:
        ValueError: if the model has none.
    """
    layers = [module for module in model.modules() if isinstance(module, SATURATING)]
    if not layers:
        names = ", ".join(kind.__name__ for kind in SATURATING)
        raise ValueError(f"bpda needs a model with a module of nn.{{{names}}}, got {type(model).__name__}; use pgd")

    def replace_slope(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not torch.is_grad_enabled():
            return None
        wide = temperature * type(layer).forward(layer, inputs[0] / temperature)
        return output.detach() + (wide - wide.detach())  # the bracket is zero, but has a slope

    inplace = [layer for layer in layers if getattr(layer, "inplace", False)]  # would overwrite what the hook reads
    handles = [layer.register_forward_hook(replace_slope) for layer in layers]
    try:
        for layer in inplace:
            layer.inplace = False
        yield
    finally:
        for layer in inplace:
            layer.inplace = True
        for handle in handles:
            handle.remove()
