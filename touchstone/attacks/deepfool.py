"""DeepFool: repeated steps to the nearest boundary of the linearised classifier."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from touchstone.attacks.boundary import boundary_step, nearest_boundary, rivals
from touchstone.attacks.contract import between, positive, prepare
from touchstone.attacks.rows import Best, compact
from touchstone.losses import misclassified
from touchstone.norms import distance
from touchstone.query import Query, tiles
from touchstone.ranges import MOST, Count, NotNegative, Positive
from touchstone.rng import SampleRng
from touchstone.types import MinNorm


def deepfool(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    steps: Count = 50,
    overshoot: NotNegative = 0.02,
    nudge: NotNegative = 1e-4,
    longest: Positive | None = None,
    candidates: Annotated[int, Ge(2), Le(MOST)] | None = None,
    stretched: bool = True,
    fixed_class: bool = False,
    keep_last: bool = False,
) -> MinNorm:
    """Return the first misclassified point on the way to the nearest linearised boundary over all classes.

    Source: Moosavi-Dezfooli, Fawzi, Frossard (2016), alg. 2 and section 3.3, and the authors' code. Deviations: the
    iterate is clipped to the box after each step, and where the box is active the point need not be close to optimal;
    the class to leave is y, where the authors leave the prediction at x. Nothing is drawn. As Matyasko (2020) ran it:
    longest=0.5, nudge=0, stretched=False in chapter 3; longest=0.1, stretched=False, fixed_class=True in chapter 4;
    with keep_last=True for what the code of chapter 3 counts, which is the perturbation of whoever was not broken too.

    Options:
        steps: linearisations, >= 1.
        overshoot: the summed steps are stretched by 1 + overshoot, >= 0.
        nudge: added to the length of each step, >= 0, in the units of x.
        longest: the way to the boundary is cut to this before that, > 0, in the units of x; None cuts none.
        candidates: how many classes of largest logit at x are looked at, y being one, >= 2 (Foolbox: 10); None is all.
        stretched: linearise at x + (1 + overshoot) r, where r is the sum of the steps, or else at x + r, where r is
            cut to what the box leaves of it.
        fixed_class: go to the boundary of the class that is nearest at x, or else of the one that is nearest then.
        keep_last: return the last iterate, not x, where none is misclassified; not found and at distance inf as ever.
    """
    task = prepare(model, x, y, norm=norm, norms=("linf", "l2"), rng=rng)
    between(1, steps=steps)
    between(0, overshoot=overshoot, nudge=nudge)
    if longest is not None:
        positive(longest=longest)
    if candidates is not None:
        between(2, candidates=candidates)
    query, best, logits = task.query, Best(task.x), task.query.logits(task.x)
    rows = best.settle(misclassified(logits, task.y))
    x, y, others = task.x[rows], task.y[rows], rivals(logits, task.y, candidates)[rows]
    if fixed_class and len(rows):
        parts = tiles(len(rows), query.batch_size)
        near = [nearest_boundary(query, x[part], y[part], rows[part], norm, others[part])[0] for part in parts]
        others = torch.cat(near)[:, None]
    z, r = x.clone(), torch.zeros_like(x)
    for _ in range(steps):
        if not len(rows):
            break
        for tile in tiles(len(rows), query.batch_size):
            here = z[tile] if stretched else x[tile] + r[tile]
            length = {"nudge": nudge, "longest": longest}
            r[tile] += boundary_step(query, here, y[tile], rows[tile], norm, others[tile], **length)
            z[tile] = task.bounds.clip(x[tile] + (1 + overshoot) * r[tile])
            if not stretched:
                r[tile] = (z[tile] - x[tile]) / (1 + overshoot)
        fooled = misclassified(query.logits(z, rows=rows), y)
        best.offer(rows, z, distance(z - x, norm), fooled)
        rows, z, x, y, others, r = compact(fooled, rows, z, x, y, others, r)
    if keep_last:
        best.x_adv[rows] = z
    return best.result()
