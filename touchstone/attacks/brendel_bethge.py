"""Brendel & Bethge: a walk along the decision boundary; a wrapper around Foolbox, which needs numba."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from touchstone.attacks.contract import Problem, between, positive, prepare, walls
from touchstone.attacks.rows import Best
from touchstone.attacks.wrapping import wrapped
from touchstone.conditions import Facts, hold
from touchstone.losses import misclassified
from touchstone.norms import distance
from touchstone.query import Query, tiles
from touchstone.ranges import Count, NotNegative, Positive, Share, Whole
from touchstone.rng import SampleRng
from touchstone.types import MinNorm

CLASSES = {norm: f"{name}BrendelBethgeAttack" for norm, name in zip(
    ("linf", "l2", "l1", "l0"), ("Linfinity", "L2", "L1", "L0"), strict=True
)}  # fmt: skip
LARGE = 1e9  # stands for infinite logits and gradients, with which Foolbox' solver would never return
ROUNDING = 1e-6  # share of the box: a value that moved less has come back to where it was


def brendel_bethge(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    steps: Count = 1000,
    lr: Positive = 1.0,
    lr_decay: Share = 0.5,
    lr_decays: Count = 20,
    momentum: Share = 0.8,
    overshoot: NotNegative = 1.1,
    starts: Whole = 100,
) -> MinNorm:
    """Return the nearest misclassified point of a walk along the decision boundary, from far to near.

    Source: Brendel et al. (2019), "Accurate, reliable and fast robustness evaluation", in Foolbox' code and with its
    defaults, but for lr. Deviations: the trust region belongs to a sample, whereas Foolbox multiplies it by the number
    of rows of the batch, so that its own lr of 0.001 is too short for one (l0 then stays where it starts); where its
    solver fails on a sample (a singular matrix, a division by zero, a step that is not finite) that sample stays
    where it is for the step, and the query gets the flag "solver_failed"; values that came back to x but for
    rounding are x. Foolbox works in float32. Nothing is drawn but the starting points: the first of some uniform
    random images that is misclassified, else the nearest sample of the block that the model gives to another class
    than y. That makes the rows of a block depend on one another; the walks do not. A randomised model may take a
    starting point for its true class the second time: it gets the flag "randomised" and no walk. In l0 Foolbox has
    the number of values to minimise; the distance counts pixels. A box that is not finite, or not the same for all
    values, is a ValueError.

    A pass is counted where Foolbox asks the model: a forward for each of its 10 bisections, both for each step.

    Options:
        steps: of the walk, >= 1.
        lr: radius of the trust region, > 0: a share of the width of the box times the number of values.
        lr_decay: what the radius is multiplied by at a decay, in [0, 1].
        lr_decays: how many decays there are, evenly spaced over the steps, >= 1. Matyasko (2020), chapter 5, prints a
            decay every 20 or 100 of 1000 steps, which is 50 or 10; the code has 20 or 100 decays.
        momentum: weight of earlier estimates of the boundary's normal, in [0, 1].
        overshoot: a step goes to the boundary (1) or beyond it (> 1), >= 0.
        starts: random images to try, >= 0.
    """
    task = prepare(model, x, y, norm=norm, norms=CLASSES, rng=rng)
    between(1, steps=steps, lr_decays=lr_decays)
    between(0, 1, lr_decay=lr_decay, momentum=momentum)
    between(0, overshoot=overshoot, starts=starts)
    positive(lr=lr)
    hold("touchstone.attacks.brendel_bethge:brendel_bethge", {}, Facts(walls=walls(task.bounds)))
    query, best = task.query, Best(task.x)
    logits = query.logits(task.x)
    rows, start = starting_points(task, best.settle(misclassified(logits, task.y)), logits, starts)
    best.offer(rows, start, distance(start - task.x[rows], norm), torch.ones_like(rows, dtype=torch.bool))
    options = {"steps": steps, "lr": lr, "lr_decay": lr_decay, "lr_num_decay": lr_decays}
    options |= {"momentum": momentum, "overshoot": overshoot}
    for tile in tiles(len(rows), query.batch_size):
        z, here = walk(task, rows[tile], start[tile], norm, options), rows[tile]
        still = (z - task.x[here]).abs() <= ROUNDING * (task.bounds.upper - task.bounds.lower)
        for point in (z, torch.where(still, task.x[here], z)):
            fooled = misclassified(query.logits(point, rows=here), task.y[here])
            best.offer(here, point, distance(point - task.x[here], norm), fooled)
    return best.result()


def starting_points(task: Problem, rows: Tensor, logits: Tensor, tries: int) -> tuple[Tensor, Tensor]:
    """Return those of rows (K,) that have a misclassified starting point, and these points.

    Args:
        task: the block.
        rows: (K,) int64.
        logits: (B, C) of the block.
        tries: how many random images each row tries before it takes another sample.
    """
    points, (lower, upper) = task.x[rows].clone(), task.bounds
    able = torch.zeros_like(rows, dtype=torch.bool)
    for number in range(tries):
        left = (~able).nonzero().squeeze(1)
        if not len(left):
            break
        u = task.rng.at(rows[left]).uniform(tuple(task.x.shape[1:]), restart=number, dtype=task.x.dtype)
        trial = lower + (upper - lower) * u
        hit = misclassified(task.query.logits(trial, rows=rows[left]), task.y[rows[left]])
        points[left[hit]], able[left[hit]] = trial[hit], True
    for place in (~able).nonzero().squeeze(1).tolist():
        row = rows[place]
        away = distance(task.x - task.x[row], "l2")
        away[~misclassified(logits, task.y[row].expand(len(logits)))] = torch.inf
        points[place], able[place] = task.x[away.argmin()], away.isfinite().any()
    return rows[able], points[able]


def walk(task: Problem, rows: Tensor, start: Tensor, norm: str, options: dict[str, Any]) -> Tensor:
    """Return the end points (K, *shape) of Foolbox' walks of rows (K,) from misclassified points (K, *shape)."""
    foolbox = wrapped("foolbox")
    wrapped("numba")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="At the first initialisation the optimizer needs to be compiled")
        attack = getattr(foolbox.attacks, CLASSES[norm])(**options)
    attack._optimizer = solver = Solver(attack._optimizer, len(rows))
    x, bounds = task.x[rows], tuple(float(wall) for wall in task.bounds)
    sight = foolbox.PyTorchModel(Sight(task.query, rows, x.dtype).eval(), bounds=bounds, device=x.device)
    criterion = foolbox.criteria.Misclassification(task.y[rows])
    origin = x.float()
    try:
        with torch.enable_grad():
            z = attack.run(sight, origin, criterion, starting_points=start.float())
    except AssertionError:  # Foolbox asks the starting points again, and one is not misclassified any more
        if torch.equal(task.query.logits(start, rows=rows), task.query.logits(start, rows=rows)):
            raise
        task.query.flags.add("randomised")
        return x
    if solver.failed:
        task.query.flags.add("solver_failed")
    return task.bounds.clip(torch.where(z == origin, x, z.to(x.dtype)))


class Sight(nn.Module):
    """The model as Foolbox sees it: float32 in and out, never NaN, with a gradient that counts."""

    def __init__(self, query: Query, rows: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.query, self.rows, self.dtype = query, rows, dtype

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (K, C) of x (K, *shape); a row with NaN ties all classes, so it is not misclassified."""
        if x.requires_grad:
            x.register_hook(lambda grad: grad.nan_to_num(0.0, LARGE, -LARGE))
        logits = self.query.attached(x.to(self.dtype), rows=self.rows).to(x.dtype)
        return torch.where(logits.isnan().any(dim=1, keepdim=True), 0.0, logits.clamp(-LARGE, LARGE))


class Solver:
    """Foolbox' solver of one sample's trust-region problem, for a region that is the sample's, and made to survive.

    Attributes:
        failed: how often it had no answer.
    """

    def __init__(self, solver: Any, rows: int) -> None:
        self.solver, self.rows, self.failed = solver, rows, 0

    def solve(self, x0: np.ndarray, x: np.ndarray, *problem: Any) -> np.ndarray:
        """Return the step (D,) from x (D,), zero where there is none; the last of `problem` is the radius."""
        *others, radius = problem
        try:
            with np.errstate(all="ignore"):
                step = self.solver.solve(x0, x, *others, radius / self.rows)
        except (np.linalg.LinAlgError, ZeroDivisionError):
            step = np.full_like(x, np.nan)
        if np.isfinite(step).all():
            return step
        self.failed += 1
        return np.zeros_like(x)
