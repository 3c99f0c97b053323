"""One pixel: differential evolution over the places and colours of a few pixels; it uses logits only."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from touchstone.attacks.balls import walled
from touchstone.attacks.contract import Problem, between, prepare
from touchstone.attacks.rows import compact
from touchstone.losses import Loss, misclassified
from touchstone.query import Query, tiles
from touchstone.ranges import MOST, Count, NotNegative
from touchstone.registry import LossName
from touchstone.rng import SampleRng

GENES = 1 << 26  # numbers that populations may hold at a time


def onepixel(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    steps: Count = 100,
    population: Annotated[int, Ge(4), Le(MOST)] = 400,
    weight: NotNegative = 0.5,
    loss: LossName = "ce64",
) -> Tensor:
    """Return x with the pixels of the fittest candidate that differential evolution has bred.

    Source: Su, Vargas, Sakurai (2019), "One pixel attack for fooling deep neural networks", section III-C: DE/rand/1
    without crossover, a child replaces its own parent if it is fitter. The paper lowers the probability of the true
    class; the default loss puts candidates in the same order, and does so where float32 rounds that probability
    to 1. A row is left alone once a candidate is misclassified whatever `stop` says. Coordinates and colours that
    leave their range are clipped. Of a fractional eps the whole part counts. A box without walls is a ValueError, for
    colours are drawn from it.

    Options:
        steps: generations, >= 1; each costs `population` forward passes, and so do the first candidates.
        population: candidates per sample, >= 4.
        weight: of the difference of two candidates that is added to a third, >= 0; the paper's F.
    """
    task = prepare(model, x, y, norm=norm, norms=("l0",), rng=rng, eps=eps, stop=stop)
    between(1, steps=steps)
    between(4, population=population)
    between(0, weight=weight)
    objective = task.query.loss(loss)
    walled(task.bounds)
    ends, pixels = task.x.clone(), task.eps.floor().long()
    able = (pixels > 0).nonzero().squeeze(1)
    able = able[~misclassified(task.query.logits(task.x[able], rows=able), task.y[able])] if len(able) else able
    genes = population * (2 + channels(x)) * int(pixels.max()) if len(able) else 1
    for part in tiles(len(able), max(1, GENES // genes)):
        rows = able[part]
        ends[rows] = evolve(task, rows, pixels[rows], objective, steps, population, weight)
    return ends


def evolve(
    task: Problem, rows: Tensor, pixels: Tensor, loss: Loss, steps: int, population: int, weight: float
) -> Tensor:
    """Breed candidates for rows (K,), with pixels (K,) >= 1 each; return the fittest as images (K, *shape).

    A candidate is (slots, 2 + channels) numbers in [0, 1]: row, column and colour of each pixel. The slots come
    first, so that a draw does not depend on how many a neighbour has.
    """
    query, slots, asked = task.query, int(pixels.max()), rows
    ends, x, y, rows, pixels = torch.empty_like(task.x), task.x[rows], task.y[rows], rows.clone(), pixels.clone()
    genes = first_generation(task.rng.at(rows), slots, population, channels(x), x.dtype)
    fitness = torch.full((len(rows), population), -torch.inf, dtype=torch.float64, device=rows.device)
    for step in range(steps + 1):
        for tile in tiles(len(rows), max(1, query.batch_size // population)):
            trial = offspring(genes[tile], task.rng.at(rows[tile]), step, weight) if step else genes[tile]
            images = paint(x[tile], trial, pixels[tile], task).flatten(0, 1)
            labels, ids = (column[tile].repeat_interleave(population) for column in (y, rows))
            logits = query.logits(images, rows=ids)
            value = loss(logits, labels).double().masked_fill_(misclassified(logits, labels), torch.inf)
            fitter = value.view(-1, population) > fitness[tile]  # never true for NaN
            genes[tile] = torch.where(fitter[:, None, :, None], trial, genes[tile])
            fitness[tile] = torch.where(fitter, value.view(-1, population), fitness[tile])
        most, place = fitness.max(dim=1)
        done = (most == torch.inf) | (step == steps)
        fittest = genes[done].gather(2, place[done, None, None, None].expand(-1, slots, 1, genes.shape[3]))
        ends[rows[done]] = paint(x[done], fittest, pixels[done], task)[:, 0]
        rows, x, y, pixels, genes, fitness = compact(done, rows, x, y, pixels, genes, fitness)
        if not len(rows):
            break
    return ends[asked]


def channels(x: Tensor) -> int:
    """Return how many values a pixel of x (B, *shape) has."""
    return x.shape[1] if x.ndim == 4 else 1


def first_generation(rng: SampleRng, slots: int, population: int, colours: int, dtype: torch.dtype) -> Tensor:
    """Draw candidates (B, slots, population, 2 + colours): uniform places, colours normal around the middle."""
    place = rng.uniform((slots, population, 2), dtype=dtype)
    colour = rng.normal((slots, population, colours), stream=1, dtype=dtype).mul_(0.5).add_(0.5)
    return torch.cat([place, colour], dim=3).clamp_(0, 1)


def offspring(genes: Tensor, rng: SampleRng, step: int, weight: float) -> Tensor:
    """Return a child r1 + weight (r2 - r3) for each candidate of genes (B, slots, population, G).

    The three are different from one another and from the child's parent.
    """
    population = genes.shape[2]
    first, second, third = (
        rng.integers(population - 1 - k, (population,), step=step, stream=2 + k) for k in range(3)
    )  # places after the parent, less those already taken
    second += second >= first
    third += third >= torch.minimum(first, second)
    third += third >= torch.maximum(first, second)
    parent = torch.arange(population, device=genes.device)
    one, two, three = (
        genes.gather(2, ((parent + 1 + after) % population)[:, None, :, None].expand_as(genes))
        for after in (first, second, third)
    )
    return two.sub_(three).mul_(weight).add_(one).clamp_(0, 1)


def paint(x: Tensor, genes: Tensor, pixels: Tensor, task: Problem) -> Tensor:
    """Return x (B, *shape) with the pixels of each candidate, as (B, population, *shape)."""
    count, population, colours = genes.shape[0], genes.shape[2], channels(x)
    height, width = x.shape[2:] if x.ndim == 4 else (1, math.prod(x.shape[1:]))
    images = x.reshape(count, 1, colours, height * width).repeat(1, population, 1, 1)
    lower, upper = (wall.expand(1, *x.shape[1:]).reshape(1, 1, colours, -1).expand_as(images) for wall in task.bounds)
    for slot in range(genes.shape[1]):
        used = torch.minimum(torch.full_like(pixels, slot), pixels - 1)  # a spare slot paints the last pixel again
        gene = genes[torch.arange(count, device=x.device), used]
        down, across = ((gene[:, :, k] * size).long().clamp_(max=size - 1) for k, size in ((0, height), (1, width)))
        spot = (down * width + across)[:, :, None, None].expand(-1, -1, colours, 1)
        low, high = lower.gather(3, spot), upper.gather(3, spot)
        images.scatter_(3, spot, torch.lerp(low, high, gene[:, :, 2:, None]))
    return images.view(count, population, *x.shape[1:])
