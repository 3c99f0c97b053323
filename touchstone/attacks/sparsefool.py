"""SparseFool: DeepFool finds the boundary, a linear program crosses it by changing few values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from touchstone.attacks.boundary import boundary_step, onto_plane
from touchstone.attacks.contract import Problem, between, prepare
from touchstone.attacks.rows import Best, compact
from touchstone.losses import margin, misclassified
from touchstone.norms import distance
from touchstone.query import Query, tiles
from touchstone.ranges import AtLeastOne, Count, NotNegative
from touchstone.rng import SampleRng
from touchstone.types import MinNorm


def sparsefool(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    steps: Count = 20,
    boundary_steps: Count = 50,
    reach: AtLeastOne = 3.0,
    overshoot: NotNegative = 0.02,
) -> MinNorm:
    """Return the first misclassified point on a path of sparse steps across the linearised boundary.

    Source: Modas, Moosavi-Dezfooli, Frossard (2019), alg. 1 and 2; defaults of the authors' code. The linear solver
    (alg. 1) takes the values of steepest slope, each to its wall, which is the l1 projection onto the plane inside
    the box. Deviations: DeepFool's iterates are clipped to the box, and the class to leave is y. The norm only says
    what is measured. Nothing is drawn.

    Options:
        steps: sparse steps, >= 1.
        boundary_steps: linearisations of DeepFool in each of them, >= 1.
        reach: the plane lies that many times as far away as the boundary DeepFool found, >= 1; the paper's lambda.
        overshoot: the summed steps are stretched by 1 + overshoot, >= 0.
    """
    task = prepare(model, x, y, norm=norm, norms=("l1", "l0"), rng=rng)
    between(1, steps=steps, boundary_steps=boundary_steps, reach=reach)
    between(0, overshoot=overshoot)
    query, best, rows = task.query, Best(task.x), task.everyone
    z, x, y = task.x.clone(), task.x.clone(), task.y.clone()
    for step in range(steps + 1):
        trial = task.bounds.clip(x + (1 + overshoot) * (z - x))
        fooled = misclassified(query.logits(trial, rows=rows), y)
        best.offer(rows, trial, distance(trial - x, norm), fooled)
        rows, z, x, y = compact(fooled, rows, z, x, y)
        if step == steps or not len(rows):
            break
        for tile in tiles(len(rows), query.batch_size):
            z[tile] += sparse_step(task, z[tile], y[tile], rows[tile], boundary_steps, reach)
    return best.result()


def sparse_step(task: Problem, z: Tensor, y: Tensor, rows: Tensor, boundary_steps: int, reach: float) -> Tensor:
    """Return the sparsest step (B, *shape), as measured by l1, to the plane behind the boundary near z."""
    beyond = across(task, z, y, rows, boundary_steps)
    _, _, slope = task.query.grad(beyond, y, margin, rows=rows)
    slope = slope.nan_to_num(nan=0.0)
    gap = reach * (slope * (beyond - z)).flatten(1).sum(dim=1)
    return onto_plane(z, slope, gap, task.bounds, "l1")


def across(task: Problem, z: Tensor, y: Tensor, rows: Tensor, steps: int) -> Tensor:
    """Return where l2 DeepFool, without overshoot, gets from z (B, *shape): as a rule just across the boundary."""
    ends, asked = torch.empty_like(task.x), rows
    rows, now, y = rows.clone(), z.clone(), y.clone()
    for _ in range(steps):
        now = task.bounds.clip(now + boundary_step(task.query, now, y, rows, "l2"))
        ends[rows] = now
        rows, now, y = compact(misclassified(task.query.logits(now, rows=rows), y), rows, now, y)
        if not len(rows):
            break
    return ends[asked]
