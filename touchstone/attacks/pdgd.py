"""PDGD: one player shortens the perturbation, the other sets the price of a correct classification."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from touchstone.attacks import ATTACKS
from touchstone.attacks.common import Best, Problem, between, choose, in_ball, positive, prepare
from touchstone.attacks.cw import adam_
from touchstone.losses import Loss, logistic, margin
from touchstone.norms import distance, rowwise
from touchstone.query import Query, tiles
from touchstone.rng import SampleRng
from touchstone.types import MinNorm

DUAL_RATE = 0.1  # of the price's player, in logarithms
MEMORY = 0.9  # decay of the running mean of the prices
LIMIT = math.log(1e6)  # of the logarithm of the ratio of the two prices
FINE = 0.01  # factor on both rates in the run that refines the best point

# (tile, offset from x (own), gradient of the loss (own), price of the norm, rate, step) -> new points of the tile
Move = Callable[[slice, Tensor, Tensor, Tensor, float, int], Tensor]


def hinge(logits: Tensor, y: Tensor) -> Tensor:
    """Return how far the true class is ahead, in logits, or zero (B,)."""
    return (-margin(logits, y)).clamp_min(0)


def smooth_hinge(logits: Tensor, y: Tensor) -> Tensor:
    """Return a hinge without a corner (B,): 1 at the boundary."""
    return -logistic(logits, y)


class Rules(NamedTuple):
    """In what text and code differ: the first player's loss, and how the rates fall from 1 over a run."""

    surrogate: Loss
    primal: Callable[[float], float]
    last_dual: float  # the dual rate falls linearly to this


VARIANTS = {
    "printed": Rules(hinge, lambda done: 1 - 0.99 * done, 1.0),
    "coded": Rules(smooth_hinge, lambda done: 0.01**done, 0.1),
}


class Game(NamedTuple):
    """What does not change between restarts; `begin` makes the first player's moves around images (K, *shape)."""

    task: Problem
    norm: str
    rules: Rules
    begin: Callable[[Tensor], Move]
    steps: int
    lr: float
    relative: bool


def pdgd(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    variant: str = "coded",
    steps: int = 500,
    lr: float = 0.1,
    restarts: int = 1,
    start: float = 0.5,
    ratio: float = 0.1,
    finetune: bool = True,
    relative: bool = False,
) -> MinNorm:
    """Return the nearest misclassified iterate of Adam on a |r| + b g(x + r), while a / b follows the success.

    Source: Matyasko (2020), alg. 2, and the author's code. As printed: variant="printed", ratio=0.01,
    finetune=False. The sign of the hinge is turned round: as printed it is zero until the sample is misclassified.
    In both variants log(b / a) moves by the sign of the margin, as coded; the indicator of eq. 5.3 would never let b
    fall. Deviation: starting points are tested too.

    Args:
        model: Module or Query, (B, *shape) -> logits (B, C).
        x: (B, *shape) float, inside the query's box.
        y: (B,) int64 true classes.
        norm: l2.
        rng: seed or SampleRng of the block; gives the starting points.
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

    Returns: x_adv (B, *shape), its l2 distance in the query's space, and where one was found.

    Raises:
        ValueError: an argument outside what is said above.
    """
    task = prepare(model, x, y, norm=norm, norms=ATTACKS["pdgd"].norms, rng=rng)
    check(variant=variant, steps=steps, lr=lr, restarts=restarts, start=start, ratio=ratio)

    def begin(x: Tensor) -> Move:
        m, v = torch.zeros_like(x), torch.zeros_like(x)

        def move(tile: slice, offset: Tensor, grad: Tensor, share: Tensor, rate: float, step: int) -> Tensor:
            size = distance(offset, "l2")
            shorten = torch.where(size > 0, share / size, 0.0)
            downhill = grad.mul_(rowwise(1 - share, grad)).addcmul_(offset, rowwise(shorten, offset))
            adam_(offset, m[tile], v[tile], downhill, rate, step)
            return task.bounds.clip(offset.add_(x[tile]))

        return move

    game = Game(task, norm, VARIANTS[variant], begin, steps, lr, relative)
    return minimise(game, restarts=restarts, start=start, ratio=ratio, finetune=finetune)


def check(*, variant: str, steps: int, lr: float, restarts: int, start: float, ratio: float) -> None:
    """Raise ValueError unless the options that PDGD and PDPGD share are as their docstrings say."""
    choose("variant", variant, tuple(VARIANTS))
    between(1, steps=steps, restarts=restarts)
    between(0, start=start)
    positive(lr=lr, ratio=ratio)


def minimise(game: Game, *, restarts: int, start: float, ratio: float, finetune: bool) -> MinNorm:
    """Play from random points around all that is classified correctly, then from the best point of each row."""
    task, query, best = game.task, game.task.query, Best(game.task.x)
    everyone = torch.arange(len(task.x), device=task.x.device)
    ahead = -margin(query.logits(task.x), task.y)
    best.offer(everyone, task.x, torch.zeros_like(best.dist), ahead < 0)
    rows = everyone[best.dist > 0]
    unit = torch.where(ahead > 0, ahead, 1.0) if game.relative else torch.ones_like(ahead)
    goal = torch.stack([task.y.double(), unit.double()], dim=1)
    shares = torch.full_like(best.dist, ratio / (1 + ratio))  # the norm's price at the best point
    for restart in range(restarts if len(rows) else 0):
        before = best.dist[rows]
        first = torch.full_like(before, ratio / (1 + ratio))
        cube = {"norm": "linf", "eps": start, "bounds": task.bounds}
        points = in_ball(task.x[rows], **cube, rng=task.rng.at(rows), restart=restart)
        play(game, best, shares, rows, goal[rows], points, first)
        query.restarts[rows[best.dist[rows] < before]] = restart
    rows = rows[best.dist[rows].isfinite()]
    if finetune and len(rows):
        play(game, best, shares, rows, goal[rows], best.x_adv[rows], shares[rows], factor=FINE)
    return best.result()


def play(
    game: Game,
    best: Best,
    shares: Tensor,
    rows: Tensor,
    goal: Tensor,
    z: Tensor,
    share: Tensor,
    factor: float = 1.0,
) -> None:
    """Move the points and the prices in turn, each in view of where the other was.

    Args:
        game: what is played.
        best: of the block; gets every point.
        shares: (B,) the price that belongs to each row's best point; kept up to date.
        rows: (K,) int64, the part of the block to work on.
        goal: (K, 2) float64, true class and unit of the logits.
        z: (K, *shape) starting points, changed.
        share: (K,) first price a of the norm; the loss pays b = 1 - a. Changed: it becomes the running mean, which
            is what the first player sees.
        factor: on the rates of both players.
    """
    query, steps, rules = game.task.query, game.steps, game.rules
    x, y = game.task.x[rows], game.task.y[rows]
    move, logit = game.begin(x), share.logit()

    def loss(logits: Tensor, goal: Tensor) -> Tensor:
        return rules.surrogate(logits / goal[:, 1:].to(logits.dtype), goal[:, 0].long())

    def keep(tile: slice, size: Tensor, gap: Tensor) -> None:
        ids, fooled = rows[tile], gap > 0
        nearer = fooled & (size < best.dist[ids])
        shares[ids[nearer]] = share[tile][nearer]
        best.offer(ids, z[tile], size, fooled)

    for step in range(steps):
        rate = factor * game.lr * rules.primal(step / steps)
        dual_rate = factor * DUAL_RATE * (1 - (1 - rules.last_dual) * step / steps)
        for tile in tiles(len(z), query.batch_size):
            offset = z[tile] - x[tile]
            logits, _, grad = query.grad(z[tile], goal[tile], loss, rows=rows[tile])
            gap = margin(logits, y[tile])
            keep(tile, distance(offset, game.norm), gap)
            grad = grad.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
            z[tile] = move(tile, offset, grad, share[tile], rate, step)
            logit[tile] = (logit[tile] + dual_rate * gap.sign().nan_to_num_(nan=0.0)).clamp_(-LIMIT, LIMIT)
            share[tile] = share[tile].lerp(logit[tile].sigmoid(), 1 - MEMORY)
    for tile in tiles(len(z), query.batch_size):
        gap = margin(query.logits(z[tile], rows=rows[tile]), y[tile])
        keep(tile, distance(z[tile] - x[tile], game.norm), gap)
