"""PDGD and PDPGD: one player shortens the perturbation, the other sets the price of a correct classification.

Source: Matyasko (2020), alg. 2 and 3, and the author's code. `play` is both algorithms: they differ in line 5 only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from touchstone.attacks.adam import adam_
from touchstone.attacks.balls import in_ball
from touchstone.attacks.contract import Problem, between, choose, positive, prepare
from touchstone.attacks.rows import Best
from touchstone.losses import Loss, logistic, margin
from touchstone.norms import distance, rowwise
from touchstone.proximal import Prox, hard_pixels, level, soft, two_thirds_pixels
from touchstone.query import Query, tiles
from touchstone.ranges import Count, NotNegative, Positive, PrintedOrCoded
from touchstone.rng import SampleRng
from touchstone.types import Bounds, MinNorm

DUAL_RATE = 0.1  # of the price's player, in logarithms
MEMORY = 0.9  # decay of the running mean of the prices
LIMIT = math.log(1e6)  # of the logarithm of the ratio of the two prices
FINE = 0.01  # factor on both rates in the run that refines the best point
INNER_STEPS = 5  # per gradient step, of the operator in Adam's metric
STILL = 1e-2  # relative change below which a row takes no further inner step

OPERATORS: dict[str, Prox] = {"hard": hard_pixels, "two-thirds": two_thirds_pixels}  # for l0
PROXES: dict[str, Prox] = {"linf": level, "l1": soft}


def hinge(logits: Tensor, y: Tensor) -> Tensor:
    """Return how far the true class is ahead, in logits, or zero (B,)."""
    return (-margin(logits, y)).clamp_min(0)


def smooth_hinge(logits: Tensor, y: Tensor) -> Tensor:
    """Return a hinge without a corner (B,): 1 at the boundary."""
    return -logistic(logits, y)


class Variant(NamedTuple):
    """In what text and code differ: the loss g, the rates' fall from 1 over a run, the operator of algorithm 3."""

    surrogate: Loss
    primal: Callable[[float], float]
    last_dual: float  # the dual rate falls linearly to this
    metric: bool  # take Adam's step, and the operator in Adam's metric, instead of plain ones


VARIANTS = {
    "printed": Variant(hinge, lambda done: 1 - 0.99 * done, 1.0, metric=False),
    "coded": Variant(smooth_hinge, lambda done: 0.01**done, 0.1, metric=True),
}


class Game(NamedTuple):
    """What is the same in all runs of an attack; without an operator it is algorithm 2."""

    task: Problem
    norm: str
    variant: PrintedOrCoded
    prox: Prox | None
    steps: int
    lr: float
    unit: Tensor  # (B,) of the logits


def pdgd(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    variant: PrintedOrCoded = "coded",
    steps: Count = 500,
    lr: Positive = 0.1,
    restarts: Count = 1,
    start: NotNegative = 0.5,
    ratio: Positive = 0.1,
    finetune: bool = True,
    relative: bool = False,
) -> MinNorm:
    """Return the nearest misclassified iterate of Adam on a |r| + b g(x + r), while a / b follows the success.

    Source: Matyasko (2020), alg. 2, and the author's code. As printed: variant="printed", ratio=0.01,
    finetune=False. The sign of the hinge is turned round: as printed it is zero until the sample is misclassified.
    In both variants log(b / a) moves by the sign of the margin, as coded; the indicator of eq. 5.3 would never let b
    fall. Deviation: starting points are tested too.

    Options:
        variant: printed (hinge loss; Adam's rate falls linearly, the dual rate stays) or coded (logistic loss;
            Adam's rate falls exponentially, the dual rate linearly to a tenth).
        steps: gradient steps per restart, >= 1; as many again to finetune.
        lr: Adam's first step size, > 0, in the units of x; it falls to a hundredth. The author took the best of
            0.01 to 1.
        restarts: number of starts, >= 1; the nearest point of all counts.
        start: starts are uniform in x +- start, clipped to the box; >= 0, in the units of x. 0.5 for MNIST and
            0.25 for CIFAR-10 in the thesis.
        ratio: first a / b, > 0.
        finetune: run once more from the best point and its a / b, with rates a hundred times smaller.
        relative: measure logits in units of the margin at x, row by row. Not published; without it the result
            depends on the scale of the logits: where they are a thousand times as large, Adam remembers the first
            gradients for longer than the price takes to fall.
    """
    task = prepare(model, x, y, norm=norm, norms=("l2",), rng=rng)
    given = {"variant": variant, "steps": steps, "lr": lr, "ratio": ratio}
    return minimise(task, norm, None, **given, restarts=restarts, start=start, finetune=finetune, relative=relative)


def pdpgd(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    variant: PrintedOrCoded = "coded",
    operator: Literal["hard", "two-thirds"] = "two-thirds",
    steps: Count = 500,
    lr: Positive = 0.1,
    restarts: Count = 1,
    start: NotNegative = 0.5,
    ratio: Positive = 0.1,
    finetune: bool = True,
    relative: bool = False,
) -> MinNorm:
    """Return the nearest misclassified iterate of a gradient step on g(x + r) and the operator of (a / b) |r|.

    Source: Matyasko (2020), alg. 3, and the author's code; the operator in Adam's metric is that of Melchior et al.
    (2019), "Proximal Adam". As printed: variant="printed", operator="hard", ratio=0.01, finetune=False. What is
    said of the dual player and of starting points in `pdgd` holds here. Deviation: the author's linf operator drops
    the signs of a batch that lies in the l1 ball as a whole; here it does not.

    Options: those of `pdgd`, but for
        variant: printed (hinge loss, one plain gradient step and one operator, rate falling linearly) or coded
            (logistic loss, Adam, up to five operators in Adam's metric, rate falling exponentially); the dual rate
            as in `pdgd`.
        operator: for l0, hard (thresholds pixels) or two-thirds (that of sum |r|^(2/3); what the author ran).
        lr: first step size, > 0: Adam's, in the units of x, or the factor on the gradient; it falls to a hundredth.
    """
    task = prepare(model, x, y, norm=norm, norms=(*PROXES, "l0"), rng=rng)
    choose("operator", operator, OPERATORS)
    prox = OPERATORS[operator] if norm == "l0" else PROXES[norm]
    given = {"variant": variant, "steps": steps, "lr": lr, "ratio": ratio}
    return minimise(task, norm, prox, **given, restarts=restarts, start=start, finetune=finetune, relative=relative)


def minimise(
    task: Problem,
    norm: str,
    prox: Prox | None,
    *,
    variant: str,
    steps: int,
    lr: float,
    ratio: float,
    restarts: int,
    start: float,
    finetune: bool,
    relative: bool,
) -> MinNorm:
    """Play from random points around all that is classified correctly, then from the best point of each row."""
    choose("variant", variant, VARIANTS)
    between(1, steps=steps, restarts=restarts)
    between(0, start=start)
    positive(lr=lr, ratio=ratio)
    best, ahead = Best(task.x), -margin(task.query.logits(task.x), task.y)
    rows = best.settle(ahead < 0)
    unit = torch.where(ahead > 0, ahead, 1.0) if relative else torch.ones_like(ahead)
    game = Game(task, norm, VARIANTS[variant], prox, steps, lr, unit)
    best_price = torch.full_like(best.dist, ratio / (1 + ratio))  # a at the best point
    for restart in range(restarts if len(rows) else 0):
        before, first = best.dist[rows], torch.full_like(best.dist[rows], ratio / (1 + ratio))
        cube = {"norm": "linf", "eps": start, "bounds": task.bounds}
        points = in_ball(task.x[rows], **cube, rng=task.rng.at(rows), restart=restart)
        play(game, best, best_price, rows, points, first)
        task.query.restarts[rows[best.dist[rows] < before]] = restart
    rows = rows[best.dist[rows].isfinite()]
    if finetune and len(rows):
        play(game, best, best_price, rows, best.x_adv[rows], best_price[rows], factor=FINE)
    return best.result()


def play(
    game: Game, best: Best, best_price: Tensor, rows: Tensor, z: Tensor, price: Tensor, factor: float = 1.0
) -> None:
    """Move the points and the prices in turn, each in view of where the other was.

    The comments name the lines of algorithms 2 and 3.

    Args:
        game: what is played.
        best: of the block; gets every point.
        best_price: (B,) the price that belongs to each row's best point; kept up to date.
        rows: (K,) int64, the part of the block to work on.
        z: (K, *shape) starting points x + r, changed.
        price: (K,) first price a of the norm; the loss pays b = 1 - a. Changed: it becomes the running mean, which
            is what the first player sees.
        factor: on the rates of both players.
    """
    task, query, norm, variant, prox = game.task, game.task.query, game.norm, game.variant, game.prox
    x, y, unit = task.x[rows], task.y[rows], game.unit[rows]
    labels, loss = torch.stack([y.double(), unit.double()], dim=1), partial(in_units, surrogate=variant.surrogate)
    m, v, logit = torch.zeros_like(x), torch.zeros_like(x), price.logit()  # of Adam; log(a / b)
    for step in range(game.steps):  # 2
        rate = factor * game.lr * variant.primal(step / game.steps)
        dual_rate = factor * DUAL_RATE * (1 - (1 - variant.last_dual) * step / game.steps)
        for tile in tiles(len(rows), query.batch_size):
            r, a = z[tile] - x[tile], price[tile]
            logits, _, grad = query.grad(z[tile], labels[tile], loss, rows=rows[tile])  # 3
            grad.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
            gap = margin(logits, y[tile])  # 4: its sign
            nearer = best.offer(rows[tile], z[tile], distance(r, norm), gap > 0)  # 7 to 9
            best_price[rows[tile][nearer]] = a[nearer]
            if prox is None:  # 5 of algorithm 2
                size = distance(r, "l2")
                shorten = torch.where(size > 0, a / size, 0.0)
                downhill = grad.mul_(rowwise(1 - a, grad)).addcmul_(r, rowwise(shorten, r))
                adam_(r, m[tile], v[tile], downhill, rate, step)
            elif variant.metric:  # 5 of algorithm 3, as coded
                spread = adam_(r, m[tile], v[tile], grad, rate, step)
                r = in_metric(prox, r, spread, rate, a, x[tile], task.bounds)
            else:  # 5 of algorithm 3, as printed
                r = prox(r.sub_(grad, alpha=rate), rate * a / (1 - a))
            z[tile] = task.bounds.clip(r.add_(x[tile]))
            logit[tile] = (logit[tile] + dual_rate * gap.sign().nan_to_num_(nan=0.0)).clamp_(-LIMIT, LIMIT)  # 6
            price[tile] = a.lerp(logit[tile].sigmoid(), 1 - MEMORY)
    for tile in tiles(len(rows), query.batch_size):
        gap = margin(query.logits(z[tile], rows=rows[tile]), y[tile])
        nearer = best.offer(rows[tile], z[tile], distance(z[tile] - x[tile], norm), gap > 0)
        best_price[rows[tile][nearer]] = price[tile][nearer]


def in_units(logits: Tensor, labels: Tensor, *, surrogate: Loss) -> Tensor:
    """Return the surrogate loss (K,) of logits (K, C) over their unit; labels (K, 2) are class and unit."""
    return surrogate(logits / labels[:, 1:].to(logits.dtype), labels[:, 0].long())


def in_metric(prox: Prox, r: Tensor, metric: Tensor, rate: float, price: Tensor, x: Tensor, bounds: Bounds) -> Tensor:
    """Apply the operator of (a / b) |r| in a metric, and in the box, by proximal gradient steps on it.

    Source: Melchior et al. (2019), "Proximal Adam: robust adaptive update scheme for constrained optimization".

    Args:
        prox: the operator in the Euclidean metric.
        r: (K, *shape), a perturbation of x.
        metric: (K, *shape), > 0; changed.
        rate: of the gradient step that led to r.
        price: (K,) a; b = 1 - a.
        x: (K, *shape).
        bounds: box that x + r has to be in.
    """
    steepest = distance(metric, "linf")
    metric /= rowwise(steepest, metric)
    weight = rate / steepest * price / (1 - price)
    near, moving = r, torch.ones_like(price, dtype=torch.bool)
    for _ in range(INNER_STEPS):
        pulled = torch.addcmul(near, metric, near - r, value=-1)
        nearer = bounds.clip(prox(pulled, weight).add_(x)).sub_(x)
        nearer[~moving] = near[~moving]
        moving &= distance(nearer - near, "l2") > STILL * distance(nearer, "l2")
        near = nearer
        if not bool(moving.any()):
            break
    return near
