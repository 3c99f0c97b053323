"""MIM: the basic iterative attack with momentum."""

from __future__ import annotations

from torch import Tensor, nn

from touchstone.attacks.balls import BALLS
from touchstone.attacks.climb import climb, lengths
from touchstone.attacks.contract import between, prepare
from touchstone.query import Query
from touchstone.ranges import Count, NotNegative, Share
from touchstone.registry import LossName
from touchstone.rng import SampleRng


def mim(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    steps: Count = 40,
    step_size: NotNegative = 0.01,
    relative: bool = False,
    decay: NotNegative = 1.0,
    sparsity: Share = 0.99,
    loss: LossName = "ce",
) -> Tensor:
    """Return the last iterate of steps along the steepest direction of an accumulated gradient.

    Source: Dong et al. (2018), alg. 1, and section 3.3 for l2; defaults of advertorch (MomentumIterativeAttack).
    The paper has no l1: there the step is that of `pgd`. Nothing is drawn.

    Options: those of `pgd`, and
        decay: factor on the old momentum, to which each gradient over its l1 norm is added, >= 0.
    """
    task = prepare(model, x, y, norm=norm, norms=BALLS, rng=rng, eps=eps, stop=stop)
    between(1, steps=steps)
    between(0, step_size=step_size, decay=decay)
    between(0, 1, sparsity=sparsity)
    ascent = {"norm": norm, "stop": stop, "steps": steps, "sparsity": sparsity, "loss": task.query.loss(loss)}
    return climb(task, task.x, task.everyone, step_size=lengths(task, step_size, relative), decay=decay, **ascent)[0]
