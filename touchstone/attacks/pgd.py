"""FGSM, BIM and PGD: steps along the steepest direction of a loss, confined to the ball and the box."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from touchstone.attacks import ATTACKS
from touchstone.attacks.common import Problem, between, compact, confine, in_unit_ball, prepare
from touchstone.losses import Loss, misclassified, pick
from touchstone.norms import rowwise, steepest, unit
from touchstone.query import Query, tiles
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
    loss: str = "ce",
) -> Tensor:
    """Return x after one step of length eps along the steepest direction of the loss, clipped to the box.

    Source: Goodfellow, Shlens, Szegedy (2015), section 4; for l2 the unit gradient replaces its sign.

    Arguments, result and errors are those of `pgd`. Nothing is drawn from rng.
    """
    task = prepare(model, x, y, norm=norm, norms=ATTACKS["fgsm"].norms, rng=rng, eps=eps, stop=stop)
    rows = torch.arange(len(task.x), device=task.x.device)
    return climb(task, task.x, rows, norm=norm, stop=stop, steps=1, step_size=task.eps, loss=pick(loss))[0]


def bim(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    steps: int = 10,
    step_size: float = 0.05,
    relative: bool = False,
    loss: str = "ce",
) -> Tensor:
    """Return the last iterate of PGD started at x itself.

    Source: Kurakin, Goodfellow, Bengio (2017), section 2.2; defaults and l2 order (box, then ball) of advertorch.

    Arguments, result and errors are those of `pgd`. Nothing is drawn from rng.
    """
    task = prepare(model, x, y, norm=norm, norms=ATTACKS["bim"].norms, rng=rng, eps=eps, stop=stop)
    between(1, steps=steps)
    between(0, step_size=step_size)
    rows, length = torch.arange(len(task.x), device=task.x.device), lengths(task, step_size, relative)
    return climb(task, task.x, rows, norm=norm, stop=stop, steps=steps, step_size=length, loss=pick(loss))[0]


def pgd(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    steps: int = 40,
    step_size: float = 0.01,
    relative: bool = False,
    restarts: int = 1,
    random_start: bool = True,
    loss: str = "ce",
) -> Tensor:
    """Return adversarial candidates by projected gradient ascent, restarted on what is not yet misclassified.

    Source: Madry et al. (2018), section 2.1; defaults of advertorch (LinfPGDAttack).

    Args:
        model: Module or Query, (B, *shape) -> logits (B, C).
        x: (B, *shape) float, inside the query's box.
        y: (B,) int64 true classes.
        norm: linf or l2.
        eps: radius in the units of x, >= 0, float or (B,).
        rng: seed or SampleRng of the block; used for the random starts.
        stop: "never" runs all steps and returns the last iterate; "first" leaves a row alone as soon as an
            iterate is misclassified. In both modes restarts skip rows whose end point is misclassified.
        steps: gradient steps per restart, >= 1.
        step_size: length of a step in the norm, >= 0: in the units of x, or of eps if `relative`.
        relative: read step_size as a multiple of eps.
        restarts: number of starts, >= 1.
        random_start: start uniformly in the ball (then clipped to the box) instead of at x.
        loss: a name of touchstone.losses.LOSSES, maximised.

    Returns: (B, *shape), within eps of x and inside the box.

    Raises:
        ValueError: an argument outside what is said above.
    """
    task = prepare(model, x, y, norm=norm, norms=ATTACKS["pgd"].norms, rng=rng, eps=eps, stop=stop)
    between(1, steps=steps, restarts=restarts)
    between(0, step_size=step_size)
    climber = partial(
        climb,
        task,
        norm=norm,
        stop=stop,
        steps=steps,
        step_size=lengths(task, step_size, relative),
        loss=pick(loss),
    )
    x_adv = task.x.clone()
    left = torch.arange(len(x), device=x.device)
    for restart in range(restarts):
        task.query.restarts[left] = restart
        start = random_points(task, left, norm, restart) if random_start else task.x[left]
        ends, solved = climber(start, left)
        x_adv[left] = ends
        if restart + 1 == restarts:
            break
        open_ = ~solved
        last = task.query.logits(ends[open_], rows=left[open_])
        solved[open_] = misclassified(last, task.y[left[open_]])
        left = left[~solved]
        if not len(left):
            break
    return x_adv


def lengths(task: Problem, step_size: float, relative: bool) -> Tensor:
    """Return the step length of each row (B,)."""
    return task.eps * step_size if relative else torch.full_like(task.eps, step_size)


def random_points(task: Problem, rows: Tensor, norm: str, restart: int) -> Tensor:
    """Draw one point of the eps-ball around each of x[rows], uniform in the ball, then clipped to the box."""
    x = task.x[rows]
    offset = in_unit_ball(task.rng.at(rows), x, norm, restart=restart).mul_(rowwise(task.eps[rows], x))
    return task.bounds.clip(x + offset)


def climb(
    task: Problem,
    start: Tensor,
    rows: Tensor,
    *,
    norm: str,
    stop: str,
    steps: int,
    step_size: Tensor,
    loss: Loss,
    decay: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Take the same number of steps on every row, with momentum if `decay` is not zero.

    Args:
        task: the block.
        start: (K, *shape) starting points of rows.
        rows: (K,) int64, the part of the block to work on.
        norm: of the ball, and of the steepest direction.
        stop: never or first; rows solved under "first" leave the block.
        steps: gradient steps.
        step_size: (B,) length of a step in the norm.
        loss: maximised.
        decay: factor on the old momentum, to which the gradient over its l1 norm is added (Dong et al. 2018,
            eq. 6).

    Returns: the end points (K, *shape), and which of them (K,) are known to be misclassified. Last iterates are
    not checked; with stop="never" none is.
    """
    query = task.query
    ends, solved = start.clone(), torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    at = torch.arange(len(rows), device=rows.device)  # place in `ends` of each row still in the block
    z, x, y, eps, step = start.clone(), task.x[rows], task.y[rows], task.eps[rows], step_size[rows]
    momentum = torch.zeros_like(z) if decay else z.new_empty(len(z), 0)
    for _ in range(steps):
        fooled = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        for tile in tiles(len(z), query.batch_size):
            logits, _, grad = query.grad(z[tile], y[tile], loss, rows=rows[at[tile]])
            if stop == "first":
                fooled[tile] = misclassified(logits, y[tile])
                ends[at[tile][fooled[tile]]] = z[tile][fooled[tile]]
            if decay:
                grad = momentum[tile].mul_(decay).add_(unit(grad.nan_to_num(nan=0.0), "l1"))
            moved = torch.addcmul(z[tile], steepest(grad, norm), rowwise(step[tile], grad))
            z[tile] = confine(moved, x[tile], eps[tile], norm, task.bounds)
        if fooled.any():
            solved[at[fooled]] = True
            z, x, y, eps, step, at, momentum = compact(fooled, z, x, y, eps, step, at, momentum)
        if not len(z):
            break
    ends[at] = z
    return ends, solved
