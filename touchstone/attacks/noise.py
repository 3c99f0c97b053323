"""Noise: uniform random points of the ball, the floor under every attack."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from touchstone.attacks.balls import in_ball
from touchstone.attacks.climb import sweep
from touchstone.attacks.contract import between, prepare
from touchstone.query import Query
from touchstone.ranges import Count
from touchstone.registry import NORMS
from touchstone.rng import SampleRng

STREAM = 1000  # apart from the streams of the other attacks: their random starts are not these points


def noise(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    restarts: Count = 10,
) -> Tensor:
    """Return the first misclassified one of some random points, else the last.

    Source: none; an attack that is worth its passes breaks more than this. Points are uniform in the ball, then
    clipped to the box; in l0, eps random pixels get random colours, for which the box has to be finite. A row is left
    alone once it is misclassified whatever `stop` says.

    Options:
        restarts: how many points, >= 1; the last one costs no forward pass, since nothing follows from it.
    """
    task = prepare(model, x, y, norm=norm, norms=NORMS, rng=rng, eps=eps, stop=stop)
    between(1, restarts=restarts)

    def attempt(restart: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        task.query.restarts[rows] = restart
        ball = {"norm": norm, "eps": task.eps[rows], "bounds": task.bounds, "rng": task.rng.at(rows)}
        return in_ball(task.x[rows], **ball, restart=restart, stream=STREAM), torch.zeros_like(rows, dtype=torch.bool)

    return sweep(task, restarts, attempt)
