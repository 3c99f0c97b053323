"""FGSM, BIM and PGD (in l1, SLIDE): steps along the steepest direction of a loss, confined to the ball and the box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from annotated_types import MinLen
from torch import Tensor, nn

from touchstone.attacks.balls import BALLS
from touchstone.attacks.climb import climb, lengths, random_points, sweep
from touchstone.attacks.contract import between, prepare
from touchstone.query import Query
from touchstone.ranges import Count, NotNegative, Share
from touchstone.registry import LossName
from touchstone.rng import SampleRng


def fgsm(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    loss: LossName = "ce",
) -> Tensor:
    """Return x after one step of length eps along the steepest direction of the loss, clipped to the box.

    Source: Goodfellow, Shlens, Szegedy (2015), section 4; for l2 the unit gradient replaces its sign. For l1 the
    steepest direction has one entry, which the box would cut short: here the entries of largest gradient go to
    the wall, one after the other, until eps is spent. For linf and l1 the result is the maximiser of the
    linearised loss inside ball and box. Nothing is drawn.
    """
    task = prepare(model, x, y, norm=norm, norms=BALLS, rng=rng, eps=eps, stop=stop)
    objective = task.query.loss(loss)
    return climb(task, task.x, task.everyone, norm=norm, stop=stop, steps=1, step_size=task.eps, loss=objective)[0]


def bim(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    steps: Count = 10,
    step_size: NotNegative = 0.05,
    relative: bool = False,
    sparsity: Share = 0.99,
    loss: LossName = "ce",
) -> Tensor:
    """Return the last iterate of PGD started at x itself.

    Source: Kurakin, Goodfellow, Bengio (2017), section 2.2; defaults and l2 order (box, then ball) of advertorch.
    Nothing is drawn.

    Options: those of `pgd`.
    """
    task = prepare(model, x, y, norm=norm, norms=BALLS, rng=rng, eps=eps, stop=stop)
    between(1, steps=steps)
    between(0, step_size=step_size)
    between(0, 1, sparsity=sparsity)
    ascent = {"norm": norm, "stop": stop, "steps": steps, "sparsity": sparsity, "loss": task.query.loss(loss)}
    return climb(task, task.x, task.everyone, step_size=lengths(task, step_size, relative), **ascent)[0]


def pgd(
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
    step_sizes: Annotated[Sequence[NotNegative], MinLen(1)] | None = None,
    relative: bool = False,
    sparsity: Share = 0.99,
    restarts: Count = 1,
    random_start: bool = True,
    loss: LossName = "ce",
) -> Tensor:
    """Return the last iterates of projected gradient ascent, restarted on what is not yet misclassified.

    Source: Madry et al. (2018), section 2.1; defaults of advertorch (LinfPGDAttack). For l1 SLIDE, Tramer and
    Boneh (2019), section 4, with the default of the authors' code for `sparsity`. Deviations from SLIDE: what the
    box does not let an entry take goes to the entry of next largest gradient, and ties are broken by position, so
    that a step has the length step_size however many entries are at the wall or have equal gradients.

    Options:
        steps: gradient steps per restart, >= 1.
        step_size: length of a step in the norm, >= 0: in the units of x, or of eps if `relative`.
        step_sizes: at least one, which replace step_size: every start is climbed with each of them in this order, again
            on the rows that are left. This is their union per row, not the one that is best on average.
        relative: read step_size and step_sizes as multiples of eps.
        sparsity: share of the entries that an l1 step leaves alone, in [0, 1]; at least one moves (and more where
            the box is in the way).
        restarts: number of starts, >= 1.
        random_start: start uniformly in the ball (then clipped to the box) instead of at x.
    """
    task = prepare(model, x, y, norm=norm, norms=BALLS, rng=rng, eps=eps, stop=stop)
    between(1, steps=steps, restarts=restarts)
    between(0, 1, sparsity=sparsity)
    sizes = (step_size,) if step_sizes is None else tuple(step_sizes)
    if not sizes:
        raise ValueError(f"step_sizes must hold one at least, got {step_sizes}")
    for size in sizes:
        between(0, step_size=size)
    ascent = {"norm": norm, "stop": stop, "steps": steps, "sparsity": sparsity, "loss": task.query.loss(loss)}

    def attempt(number: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        restart, size = number // len(sizes), sizes[number % len(sizes)]
        task.query.restarts[rows] = restart
        start = random_points(task, rows, norm, restart) if random_start else task.x[rows]
        return climb(task, start, rows, step_size=lengths(task, size, relative), **ascent)

    return sweep(task, restarts * len(sizes), attempt)
