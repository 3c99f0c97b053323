"""JSMA: two values at a time go up or down, the pair that pulls most towards a target class."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from touchstone.attacks.contract import Problem, between, choose, positive, prepare
from touchstone.attacks.rows import Best, compact
from touchstone.losses import misclassified
from touchstone.norms import distance, unit
from touchstone.query import Query, tiles
from touchstone.ranges import Count, Positive, Share
from touchstone.rng import SampleRng
from touchstone.types import MinNorm

DIRECTIONS = {"up": (1,), "down": (-1,), "both": (1, -1)}
SCORES = 1 << 22  # pair scores that are held at a time


def jsma(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    theta: Positive = 1.0,
    gamma: Share = 1.0,
    targets: Count = 9,
    direction: Literal["up", "down", "both"] = "both",
) -> MinNorm:
    """Return the misclassified point of fewest pixels that saliency maps of pairs find, over targets and directions.

    Source: Papernot et al. (2016), "The limitations of deep learning in adversarial settings", alg. 2 and 3 and the
    decreasing map of section IV-C; gradients are those of logits, as there. The best of all pairs is found, not
    an approximation. As in the paper the values of an image are changed one by one, each channel on its own, whereas
    the distance counts pixels. Any misclassification counts, not only the target. A search ends where no pair has
    both signs right, and where it cannot beat the nearest point so far. Nothing is drawn. Matyasko (2020), chapter 5,
    ran another library's, and took the target of fewest changes whether or not it was fooled.

    Options:
        theta: how far a value moves, in the units of x, > 0; a value at its wall is not chosen again.
        gamma: largest share of the values that may change, in [0, 1]: a search has gamma D / 2 steps.
        targets: how many of the other classes are tried, those of largest logit at x first, >= 1; all of them if
            there are fewer.
        direction: up raises values, down lowers them, both tries one after the other.
    """
    task = prepare(model, x, y, norm=norm, norms=("l0",), rng=rng)
    positive(theta=theta)
    between(0, 1, gamma=gamma)
    between(1, targets=targets)
    choose("direction", direction, DIRECTIONS)
    best, logits = Best(task.x), task.query.logits(task.x)
    rows = best.settle(misclassified(logits, task.y))
    likely = logits.scatter(1, task.y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
    steps = int(gamma * task.x[0].numel()) // 2 if len(rows) else 0
    for place in range(min(targets, logits.shape[1] - 1) if len(rows) else 0):
        for sign in DIRECTIONS[direction]:
            approach(task, best, rows, likely[rows, place], sign * theta, steps)
    return best.result()


def approach(task: Problem, best: Best, rows: Tensor, target: Tensor, step: float, steps: int) -> None:
    """Move pairs of values of rows (K,) by `step` towards target (K,); offer what is misclassified."""
    query, x, y = task.query, task.x[rows], task.y[rows]
    rows, z, target = rows.clone(), x.clone(), target.clone()
    for count in range(steps + 1):
        logits, _, towards = query.grad(z, target, own_logit, rows=rows)
        dist = distance(z - x, "l0")
        fooled = misclassified(logits, y)
        best.offer(rows, z, dist, fooled)
        over = fooled | (dist >= best.dist[rows])  # pixels are never given back
        rows, z, x, y, target, towards = compact(over, rows, z, x, y, target, towards)
        if count == steps or not len(rows):
            break
        _, _, away = query.grad(z, target, other_logits, rows=rows)
        wall = task.bounds.clip(torch.full_like(z, torch.inf if step > 0 else -torch.inf))
        sign = 1 if step > 0 else -1
        slopes = (sign * unit(slope, "linf") for slope in (towards, -away))  # of size 1: products must not underflow
        gain, cost = (slope.masked_fill_(z == wall, -torch.inf).flatten(1) for slope in slopes)
        pair, found = best_pairs(gain, cost)
        chosen = torch.zeros_like(gain, dtype=torch.bool).scatter_(1, pair, found[:, None].expand(-1, 2))
        z = torch.where(chosen.view_as(z), task.bounds.clip(z + step), z)
        rows, z, x, y, target = compact(~found, rows, z, x, y, target)


def own_logit(logits: Tensor, target: Tensor) -> Tensor:
    """Return the logits (B,) of target (B,)."""
    return logits.gather(1, target[:, None]).squeeze(1)


def other_logits(logits: Tensor, target: Tensor) -> Tensor:
    """Return the sums (B,) of the logits of all classes but target (B,)."""
    return logits.scatter(1, target[:, None], 0.0).sum(dim=1)


def best_pairs(gain: Tensor, cost: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for each row, the pair p != q that maximises (gain_p + gain_q)(cost_p + cost_q), both sums > 0.

    If i has no smaller gain and cost than q, then (p, i) is no worse than (p, q). So only values to which at most
    one other, the partner, is superior can be in the best pair: a few dozen of thousands.

    Args:
        gain: (B, D), -inf where a value must not be chosen; NaN counts as that.
        cost: (B, D), likewise.

    Returns: places (B, 2) int64, and whether there is such a pair (B,).
    """
    gain, cost = (values.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf) for values in (gain, cost))
    gain, order = gain.sort(dim=1, descending=True, stable=True)
    cost = cost.gather(1, order)
    first = cost.cummax(dim=1).values
    second = torch.minimum(cost[:, 1:], first[:, :-1]).cummax(dim=1).values  # second largest of the first 2, 3, ...
    rivals = torch.nn.functional.pad(second, (2, 0), value=-torch.inf)[:, : cost.shape[1]]  # of those before each
    able = (cost > rivals) & (gain > -torch.inf)
    width = int(able.sum(dim=1).max()) if len(able) else 0
    pair, found = order.new_zeros(len(order), 2), torch.zeros(len(order), dtype=torch.bool, device=order.device)
    if width < 2:
        return pair, found
    place = able.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :width]
    for tile in tiles(len(order), max(1, SCORES // width**2)):
        here = place[tile]
        absent = ~able[tile].gather(1, here)
        a, c = (values[tile].gather(1, here).masked_fill_(absent, -torch.inf) for values in (gain, cost))
        both = a[:, :, None] + a[:, None]
        score = torch.where(both > 0, both * (c[:, :, None] + c[:, None]), -torch.inf)  # not positive: the other is not
        score.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
        top, at = score.flatten(1).max(dim=1)
        members = torch.stack([at // width, at % width], dim=1)
        pair[tile] = order[tile].gather(1, here.gather(1, members))
        found[tile] = top > 0
    return pair, found
