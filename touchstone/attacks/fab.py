"""FAB: steps onto the linearised decision boundary inside the box, drawn back towards the original point."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from touchstone.attacks.boundary import nearest_boundary, onto_plane
from touchstone.attacks.contract import Problem, between, positive, prepare
from touchstone.attacks.rows import Best
from touchstone.losses import margin, margin_targeted, misclassified
from touchstone.norms import distance, rowwise, unit
from touchstone.query import Query, tiles
from touchstone.ranges import AtLeastOne, Count, Positive, Share, Whole
from touchstone.rng import SampleRng
from touchstone.types import MinNorm

START_RADIUS = {"linf": 0.3, "l2": 1.0, "l1": 5.0}  # the authors' start_radius
SLACK = 1e-5  # margin of the nearest point, in gaps of the three largest logits at x: at zero, rounding would decide
TINY = 1e-8  # keeps the ratio of two step lengths defined


def fab(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    steps: Count = 100,
    restarts: Count = 1,
    alpha_max: Share = 0.1,
    eta: AtLeastOne = 1.05,
    beta: Share = 0.9,
    last_search: Whole = 3,
    start_radius: Positive | None = None,
) -> MinNorm:
    """Return the nearest misclassified point of a walk along the boundary to the nearest linearised class.

    Source: Croce and Hein (2020), "Minimally distorted adversarial examples with a fast adaptive boundary attack",
    alg. 1 and section 2; defaults and random starts of the authors' code. Deviation: the last search follows the
    margin instead of the class reached first, and all boundaries are those of a small margin (SLACK), not of zero.
    The first start is x itself, further ones are drawn. As in Matyasko (2020), chapter 5: last_search=0, and a
    start_radius for each net; that its code mixes all rows of a batch as the first one needs, which makes it weaker,
    is not followed.

    Options:
        steps: linearisations per restart, >= 1.
        restarts: number of starts, >= 1; later ones lie half as far from x as the best point so far.
        alpha_max: largest share of the projection of x in a step, in [0, 1].
        eta: steps are stretched by this factor to get over the boundary, >= 1.
        beta: a misclassified iterate goes back to this share of its distance from x, in [0, 1].
        last_search: secant steps after each restart between x and its best point (section 2.4), >= 0; 0 for none.
        start_radius: later starts lie no further from x than half of this, > 0, in the units of x; None is 0.3 in linf,
            1 in l2 and 5 in l1.
    """
    task = prepare(model, x, y, norm=norm, norms=START_RADIUS, rng=rng)
    check(steps, restarts, alpha_max, eta, beta, last_search, start_radius)
    go = partial(walk, task, norm=norm, steps=steps, alpha_max=alpha_max, eta=eta, beta=beta)
    return search(task, go, [None], norm, restarts, last_search, start_radius or START_RADIUS[norm])


def fab_t(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    steps: Count = 100,
    restarts: Count = 1,
    targets: Count = 9,
    alpha_max: Share = 0.1,
    eta: AtLeastOne = 1.05,
    beta: Share = 0.9,
    last_search: Whole = 3,
    start_radius: Positive | None = None,
) -> MinNorm:
    """Return the nearest misclassified point of walks along the boundary to one likely class after another.

    Source: Croce and Hein (2020), AutoAttack's targeted version of `fab`: a step costs one gradient, whatever the
    number of classes. Any misclassification counts, not only the target.

    Options: those of `fab`, and
        steps: linearisations per start, >= 1.
        restarts: number of starts for each target, >= 1. Target k starts with restart k * restarts.
        targets: how many of the other classes are tried, those of largest logit at x first, >= 1; all of them if
            there are fewer.
    """
    task = prepare(model, x, y, norm=norm, norms=START_RADIUS, rng=rng)
    check(steps, restarts, alpha_max, eta, beta, last_search, start_radius)
    between(1, targets=targets)
    places = range(min(targets, (task.query.classes or 1) - 1))  # an empty block has no classes
    go = partial(walk, task, norm=norm, steps=steps, alpha_max=alpha_max, eta=eta, beta=beta)
    return search(task, go, places, norm, restarts, last_search, start_radius or START_RADIUS[norm])


def check(
    steps: int,
    restarts: int,
    alpha_max: float,
    eta: float,
    beta: float,
    last_search: int,
    start_radius: float | None,
) -> None:
    """Raise ValueError for an option of either variant that is out of range."""
    between(1, steps=steps, restarts=restarts, eta=eta)
    between(0, 1, alpha_max=alpha_max, beta=beta)
    between(0, last_search=last_search)
    if start_radius is not None:
        positive(start_radius=start_radius)


def search(
    task: Problem,
    go: Callable[..., None],
    places: Iterable[int | None],
    norm: str,
    restarts: int,
    last_search: int,
    start_radius: float,
) -> MinNorm:
    """Walk towards the classes at those places in the order of their logits at x; None is the nearest class."""
    best, logits = Best(task.x), task.query.logits(task.x)
    rows, clean = best.settle(misclassified(logits, task.y)), margin(logits, task.y)
    top = logits.topk(min(3, logits.shape[1]), dim=1).values  # a class that never wins has no say
    aim = (SLACK * (top[:, 0] - top[:, -1])).nan_to_num_(nan=0.0, posinf=0.0)
    likely = logits.scatter(1, task.y[:, None], -torch.inf)[rows].argsort(dim=1, descending=True, stable=True)
    for number, place in enumerate(places if len(rows) else ()):
        target = None if place is None else likely[:, place]
        for restart in range(number * restarts, (number + 1) * restarts):
            before = best.dist[rows]
            first, reach = restart == number * restarts, before.clamp_max(start_radius)
            start = task.x[rows] if first else random_start(task, rows, reach, norm, restart)
            go(best, rows, start, target, aim)
            nearer = rows[best.dist[rows] < before]
            task.query.restarts[nearer] = restart
            if last_search and len(nearer):
                look_between(task, best, nearer, clean, aim, norm, last_search)
    return best.result()


def random_start(task: Problem, rows: Tensor, reach: Tensor, norm: str, restart: int) -> Tensor:
    """Draw a point for each of rows (K,) at half of the distance reach (K,), then clip it to the box."""
    x, draws = task.x[rows], task.rng.at(rows)
    draw = draws.uniform if norm == "linf" else draws.normal
    noise = draw(tuple(x.shape[1:]), restart=restart, dtype=x.dtype)
    direction = unit(2 * noise - 1 if norm == "linf" else noise, norm)
    return task.bounds.clip(x + direction * rowwise(reach / 2, x))


def walk(
    task: Problem,
    best: Best,
    rows: Tensor,
    start: Tensor,
    target: Tensor | None,
    aim: Tensor,
    *,
    norm: str,
    steps: int,
    alpha_max: float,
    eta: float,
    beta: float,
) -> None:
    """Walk from start (K, *shape) for the rows (K,) of the block, and offer what is misclassified to `best`.

    Each step mixes the projections of the iterate and of x onto the boundary linearised at the iterate. Whoever gets
    across goes part of the way back to x. Misclassified is what has half of the margin aim (B,).
    """
    query, bounds, z = task.query, task.bounds, start.clone()
    for _ in range(steps):
        for tile in tiles(len(rows), query.batch_size):
            ids = rows[tile]
            x, y, here = task.x[ids], task.y[ids], z[tile]
            slope, gap = boundary(query, here, y, None if target is None else target[tile], ids, norm)
            gap = gap + aim[ids]  # as far beyond the boundary as counts as misclassified
            onto = onto_plane(here, slope, gap, bounds, norm)
            x_onto = onto_plane(x, slope, gap - (slope * (x - here)).flatten(1).sum(dim=1), bounds, norm)
            way, x_way = distance(onto, norm).clamp_min_(TINY), distance(x_onto, norm).clamp_min_(TINY)
            alpha = rowwise((way / (way + x_way)).clamp_max_(alpha_max), here)
            here = bounds.clip(torch.lerp(here + eta * onto, x + eta * x_onto, alpha))
            fooled = margin(query.logits(here, rows=ids), y) > aim[ids] / 2
            offset = here - x
            best.offer(ids, here, distance(offset, norm), fooled)
            here[fooled] = x[fooled] + beta * offset[fooled]
            z[tile] = here


def boundary(
    query: Query, z: Tensor, y: Tensor, target: Tensor | None, rows: Tensor, norm: str
) -> tuple[Tensor, Tensor]:
    """Return slope (B, *shape) and gap (B,) of the linearised boundary {z + d: <slope, d> = gap} to a class.

    The class is the target, or the one whose boundary is nearest (without the box). Both are zero where no
    boundary is found: a flat model, or NaN.
    """
    if target is None:
        _, lead, reach, slope = nearest_boundary(query, z, y, rows, norm)
        usable = reach.isfinite()
    else:
        pair = torch.stack([y, target], dim=1)
        _, lead, slope = query.grad(z, pair, lambda logits, p: margin_targeted(logits, p[:, 0], p[:, 1]), rows=rows)
        usable = lead.isfinite() & slope.isfinite().flatten(1).all(dim=1)
    slope[~usable] = 0.0
    return slope, torch.where(usable, -lead, 0.0)


def look_between(task: Problem, best: Best, rows: Tensor, clean: Tensor, aim: Tensor, norm: str, steps: int) -> None:
    """Look for nearer points between x and the best ones of rows (K,) (section 2.4).

    The margin is taken to be linear on the segment between the innermost misclassified point and the outermost
    one that is not; clean (B,) is that of x, aim (B,) that of the point looked for.
    """
    aim = aim[rows]
    out, near = best.x_adv[rows], task.x[rows]
    above, below = margin(task.query.logits(out, rows=rows), task.y[rows]), clean[rows]
    for _ in range(steps):
        share = (above - aim) / (above - below)  # of the way back
        share = torch.where((share > 0) & (share < 1), share, 0.5)
        trial = task.bounds.clip(torch.lerp(out, near, rowwise(share, out)))
        value = margin(task.query.logits(trial, rows=rows), task.y[rows])
        fooled = value > aim / 2
        best.offer(rows, trial, distance(trial - task.x[rows], norm), fooled)
        out[fooled], near[~fooled] = trial[fooled], trial[~fooled]
        above, below = torch.where(fooled, value, above), torch.where(fooled, below, value)
