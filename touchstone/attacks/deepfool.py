"""DeepFool: repeated steps to the nearest boundary of the linearised classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from touchstone.attacks import ATTACKS
from touchstone.attacks.common import Best, between, compact, prepare
from touchstone.losses import misclassified
from touchstone.norms import DUAL, distance, rowwise, steepest
from touchstone.query import Query, tiles
from touchstone.rng import SampleRng
from touchstone.types import MinNorm

NUDGE = 1e-4  # added to each step, as in the authors' code: a point exactly on the boundary has to leave it


def deepfool(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    steps: int = 50,
    overshoot: float = 0.02,
) -> MinNorm:
    """Return the first misclassified point on the way to the nearest linearised boundary over all classes.

    Source: Moosavi-Dezfooli, Fawzi, Frossard (2016), alg. 2 and section 3.3, and the authors' code. Deviation: the
    iterate is clipped to the box after each step. Where the box is active the point need not be close to optimal.

    Args:
        model: Module or Query, (B, *shape) -> logits (B, C).
        x: (B, *shape) float, inside the query's box.
        y: (B,) int64 classes to leave (the authors take the prediction at x).
        norm: linf or l2.
        rng: seed or SampleRng of the block; nothing is drawn.
        steps: linearisations, >= 1.
        overshoot: the summed steps are stretched by 1 + overshoot, >= 0.

    Returns: x_adv (B, *shape), its distance in the query's space, and where one was found.

    Raises:
        ValueError: an argument outside what is said above.
    """
    task = prepare(model, x, y, norm=norm, norms=ATTACKS["deepfool"].norms, rng=rng)
    between(1, steps=steps)
    between(0, overshoot=overshoot)
    query, best = task.query, Best(task.x)
    rows = torch.arange(len(task.x), device=task.x.device)
    z, x, y, total = task.x.clone(), task.x.clone(), task.y.clone(), torch.zeros_like(task.x)
    for step in range(steps + 1):
        fooled = misclassified(query.logits(z, rows=rows), y)
        best.offer(rows, z, distance(z - x, norm), fooled)
        rows, z, x, y, total = compact(fooled, rows, z, x, y, total)
        if step == steps or not len(rows):
            break
        for tile in tiles(len(rows), query.batch_size):
            total[tile] += boundary_step(query, z[tile], y[tile], rows[tile], norm)
            z[tile] = task.bounds.clip(x[tile] + (1 + overshoot) * total[tile])
    return best.result()


def boundary_step(query: Query, z: Tensor, y: Tensor, rows: Tensor, norm: str) -> Tensor:
    """Return the shortest step (B, *shape) to a boundary of the classifier linearised at z; zero where it is flat."""
    _, _, reach, slope = nearest_boundary(query, z, y, rows, norm)
    length = torch.where(reach.isfinite(), reach + NUDGE, 0.0)
    return steepest(slope, norm) * rowwise(length, z)


def nearest_boundary(
    query: Query, z: Tensor, y: Tensor, rows: Tensor, norm: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Linearise at z and find the class whose boundary to y is nearest.

    Returns: the class (B,), its logit less that of y (B,), the distance of the boundary (B,), inf where the model is
    flat or not finite, and the slope of that difference (B, *shape).
    """
    others = torch.arange(query.classes - 1, device=z.device).expand(len(z), -1)
    others = others + (others >= y[:, None])  # all but y
    logits, slope = query.jacobian(z, others, rows=rows, less=y)
    lead = logits.gather(1, others) - logits.gather(1, y[:, None])
    steepness = distance(slope.flatten(0, 1), DUAL[norm]).view_as(lead)
    away = torch.where(steepness > 0, lead.abs() / steepness, torch.inf)  # NaN logits: inf too
    one, nearest = torch.arange(len(z), device=z.device), away.argmin(dim=1)
    return others[one, nearest], lead[one, nearest], away[one, nearest], slope[one, nearest]
