"""FGSM, BIM and PGD (in l1, SLIDE): steps along the steepest direction of a loss, confined to the ball and the box."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from touchstone.attacks import ATTACKS
from touchstone.attacks.common import Problem, between, compact, confine, in_ball, prepare
from touchstone.losses import Loss, misclassified
from touchstone.norms import rowwise, steepest, unit
from touchstone.query import Query, tiles
from touchstone.rng import SampleRng
from touchstone.types import Bounds


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

    Source: Goodfellow, Shlens, Szegedy (2015), section 4; for l2 the unit gradient replaces its sign. For l1 the
    steepest direction has one entry, which the box would cut short: here the entries of largest gradient go to
    the wall, one after the other, until eps is spent. For linf and l1 the result is the maximiser of the
    linearised loss inside ball and box.

    Arguments, result and errors are those of `pgd`. Nothing is drawn from rng.
    """
    task = prepare(model, x, y, norm=norm, norms=ATTACKS["fgsm"].norms, rng=rng, eps=eps, stop=stop)
    rows = torch.arange(len(task.x), device=task.x.device)
    return climb(task, task.x, rows, norm=norm, stop=stop, steps=1, step_size=task.eps, loss=task.query.loss(loss))[0]


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
    sparsity: float = 0.99,
    loss: str = "ce",
) -> Tensor:
    """Return the last iterate of PGD started at x itself.

    Source: Kurakin, Goodfellow, Bengio (2017), section 2.2; defaults and l2 order (box, then ball) of advertorch.

    Arguments, result and errors are those of `pgd`. Nothing is drawn from rng.
    """
    task = prepare(model, x, y, norm=norm, norms=ATTACKS["bim"].norms, rng=rng, eps=eps, stop=stop)
    between(1, steps=steps)
    between(0, step_size=step_size)
    between(0, 1, sparsity=sparsity)
    rows, length = torch.arange(len(task.x), device=task.x.device), lengths(task, step_size, relative)
    more = {"step_size": length, "sparsity": sparsity, "loss": task.query.loss(loss)}
    return climb(task, task.x, rows, norm=norm, stop=stop, steps=steps, **more)[0]


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
    step_sizes: Sequence[float] = (),
    relative: bool = False,
    sparsity: float = 0.99,
    restarts: int = 1,
    random_start: bool = True,
    loss: str = "ce",
) -> Tensor:
    """Return adversarial candidates by projected gradient ascent, restarted on what is not yet misclassified.

    Source: Madry et al. (2018), section 2.1; defaults of advertorch (LinfPGDAttack). For l1 SLIDE, Tramer and
    Boneh (2019), section 4, with the default of the authors' code for `sparsity`. Deviations from SLIDE: what the
    box does not let an entry take goes to the entry of next largest gradient, and ties are broken by position, so
    that a step has the length step_size however many entries are at the wall or have equal gradients.

    Args:
        model: Module or Query, (B, *shape) -> logits (B, C).
        x: (B, *shape) float, inside the query's box.
        y: (B,) int64 true classes.
        norm: linf, l2 or l1.
        eps: radius in the units of x, >= 0, float or (B,).
        rng: seed or SampleRng of the block; used for the random starts.
        stop: "never" runs all steps and returns the last iterate; "first" leaves a row alone as soon as an
            iterate is misclassified. In both modes restarts skip rows whose end point is misclassified.
        steps: gradient steps per restart, >= 1.
        step_size: length of a step in the norm, >= 0: in the units of x, or of eps if `relative`.
        step_sizes: if any, they replace step_size: every start is climbed with each of them in this order, again
            on the rows that are left. This is their union per row, not the one that is best on average.
        relative: read step_size and step_sizes as multiples of eps.
        sparsity: share of the entries that an l1 step leaves alone, in [0, 1]; at least one moves (and more where
            the box is in the way).
        restarts: number of starts, >= 1.
        random_start: start uniformly in the ball (then clipped to the box) instead of at x.
        loss: a name of touchstone.registry.LOSSES, maximised.

    Returns: (B, *shape), within eps of x and inside the box.

    Raises:
        ValueError: an argument outside what is said above.
    """
    task = prepare(model, x, y, norm=norm, norms=ATTACKS["pgd"].norms, rng=rng, eps=eps, stop=stop)
    between(1, steps=steps, restarts=restarts)
    between(0, 1, sparsity=sparsity)
    sizes = tuple(step_sizes) or (step_size,)
    for size in sizes:
        between(0, step_size=size)
    ascent = {"norm": norm, "stop": stop, "steps": steps, "sparsity": sparsity, "loss": task.query.loss(loss)}

    def attempt(number: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        restart, size = number // len(sizes), sizes[number % len(sizes)]
        task.query.restarts[rows] = restart
        start = random_points(task, rows, norm, restart) if random_start else task.x[rows]
        return climb(task, start, rows, step_size=lengths(task, size, relative), **ascent)

    return sweep(task, restarts * len(sizes), attempt)


def sweep(task: Problem, attempts: int, attempt: Callable[[int, Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    """Make attempts one after another, each on the rows that all before it left correctly classified.

    Args:
        task: the block.
        attempts: how many, >= 1.
        attempt: (number, rows (K,) int64) -> end points (K, *shape), and which of them (K,) are known to be
            misclassified; the others are looked at before the next attempt, never after the last.

    Returns: (B, *shape), the end point of each row's last attempt.
    """
    x_adv = task.x.clone()
    left = torch.arange(len(x_adv), device=x_adv.device)
    for number in range(attempts):
        ends, solved = attempt(number, left)
        x_adv[left] = ends
        if number + 1 == attempts:
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
    rng = task.rng.at(rows)
    return in_ball(task.x[rows], norm=norm, eps=task.eps[rows], bounds=task.bounds, rng=rng, restart=restart)


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
    sparsity: float = 1.0,
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
        sparsity: see `ascend`.
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
            moved = ascend(z[tile], grad, step[tile], norm, sparsity, task.bounds)
            z[tile] = confine(moved, x[tile], eps[tile], norm, task.bounds)
        if fooled.any():
            solved[at[fooled]] = True
            z, x, y, eps, step, at, momentum = compact(fooled, z, x, y, eps, step, at, momentum)
        if not len(z):
            break
    ends[at] = z
    return ends, solved


def ascend(z: Tensor, grad: Tensor, step: Tensor, norm: str, sparsity: float, bounds: Bounds) -> Tensor:
    """Return z (B, *shape) moved by `step` (B,) along the steepest direction of grad (B, *shape) in the norm.

    In l1 that is a single entry, too few for one step. There the share 1 - sparsity of the entries, those of
    largest gradient, moves by equal parts of `step`, and what the wall does not let an entry take goes to the
    next one.
    """
    if norm != "l1":
        return torch.addcmul(z, steepest(grad, norm), rowwise(step, z))
    sign = grad.nan_to_num(nan=0.0).sign()
    room = torch.where(sign > 0, bounds.upper - z, torch.where(sign < 0, z - bounds.lower, 0.0)).flatten(1)
    entries = max(1, round((1 - sparsity) * room.shape[1]))
    largest = grad.flatten(1).abs().argsort(dim=1, descending=True, stable=True)
    parts = torch.minimum(room, step[:, None] / entries).gather(1, largest)
    before = parts.cumsum(dim=1).sub_(parts)
    moves = torch.minimum(parts, step[:, None] - before).clamp_min_(0)
    return z + torch.zeros_like(room).scatter_(1, largest, moves).view_as(z).mul_(sign)
