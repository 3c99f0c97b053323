"""AutoAttack as its authors run it: a wrapper around the package pyautoattack."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from touchstone.attacks.balls import confine
from touchstone.attacks.contract import Problem, between, choose, prepare, walls
from touchstone.attacks.wrapping import Counted, share_out, wrapped
from touchstone.conditions import Facts, hold
from touchstone.losses import misclassified
from touchstone.query import Query
from touchstone.ranges import Count
from touchstone.rng import SampleRng

NAMES = {"linf": "Linf", "l2": "L2", "l1": "L1"}
VERSIONS = ("standard", "plus", "rand", "custom")
CLASSES = {"apgd-ce": 2, "apgd-dlr": 3, "fab": 2, "square": 2, "apgd-t": 4, "fab-t": 2}  # that each attack needs
SQUARE_SIDE = 5  # pixels: below, its first l2 and l1 tiles are empty


def autoattack(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    version: Literal["standard", "plus", "rand", "custom"] = "standard",
    attacks: Sequence[Literal["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"]] = (),
    steps: Count = 100,
    queries: Count = 5000,
) -> Tensor:
    """Return the first misclassified point that the attacks of AutoAttack find, one after another; else x.

    Source: Croce and Hein (2020), "Reliable evaluation of adversarial robustness with an ensemble of diverse
    parameter-free attacks", in the authors' code (pyautoattack). It works in float32; its points are brought back
    into ball and box, from which float32 leads it by rounding. Rows with the same eps share a run, since it takes one
    eps. It reseeds torch before each attack: here with a number drawn for the first sample, and the global
    generators are restored. An attack that targets classes tries as many as there are. A row is left alone once it is
    misclassified whatever `stop` says. A box that is not [0, 1], too few classes for the loss of an attack, and images
    too small for Square are a ValueError.

    What is counted: all passes, its own checks of the model included. AutoAttack does not say which rows it asks
    about, so the passes of one attack are shared out evenly over the rows that entered it; sums are exact.

    Options:
        version: standard, plus, rand (for randomised models), or custom, which runs `attacks` (APGD-CE, APGD-DLR and
            FAB with five restarts then, as pyautoattack has it).
        attacks: names in CLASSES, for version custom.
        steps: of APGD and FAB, >= 1.
        queries: of Square, >= 1.
    """
    task = prepare(model, x, y, norm=norm, norms=NAMES, rng=rng, eps=eps, stop=stop)
    between(1, steps=steps, queries=queries)
    choose("version", version, VERSIONS)
    for name in attacks:
        choose("attacks", name, CLASSES)
    together = {"version": version, "attacks": list(attacks)}
    hold("touchstone.attacks.autoattack:autoattack", together, Facts(walls=walls(task.bounds)))
    x_adv = task.x.clone()
    seed = int(task.rng.integers(1 << 31, ())[0]) if len(x) else 0
    for radius in task.eps[task.eps > 0].unique().tolist():
        rows = (task.eps == radius).nonzero().squeeze(1)
        part = Query(task.query.model, bounds=task.query.bounds, batch_size=task.query.batch_size)
        with silence():
            ensemble = build(part, task, norm, radius, seed, version, attacks, steps, queries)
            x_adv[rows] = cascade(ensemble, part, task, rows)
    return confine(x_adv, task.x, task.eps, norm, task.bounds)


def build(
    query: Query,
    task: Problem,
    norm: str,
    eps: float,
    seed: int,
    version: str,
    attacks: Sequence[str],
    steps: int,
    queries: int,
) -> Any:
    """Return pyautoattack's ensemble, with as many targets as there are.

    Raises:
        ValueError: if one of its attacks needs more classes.
        ModuleNotFoundError: if pyautoattack is not installed.
    """
    classes, side = task.query.classes, min(image(task.x).shape[2:])
    ensemble = wrapped("pyautoattack.autoattack").AutoAttack(
        Counted(query, task.x, task.x.dtype),
        attacks=list(attacks) or None,
        device=task.x.device,
        eps=eps,
        norm=NAMES[norm],
        seed=seed,
        version=version,
    )
    for name in ensemble.attacks_to_run:
        if classes < CLASSES[name]:
            raise ValueError(f"{name} of autoattack needs {CLASSES[name]} classes, got {classes}: use apgd-t and fab-t")
        if name == "square" and norm != "linf" and side < SQUARE_SIDE:
            raise ValueError(f"square of autoattack needs {SQUARE_SIDE} x {SQUARE_SIDE} pixels, got {side}: use square")
    ensemble.verbose = False
    ensemble.square.margin_and_loss = decided(ensemble.square.margin_and_loss)
    for part in (ensemble.apgd, ensemble.apgd_targeted):
        part.n_iter = part.n_iter_orig = steps
        part.n_iter_2, part.n_iter_min, part.size_decr = (max(1, int(share * steps)) for share in (0.22, 0.06, 0.03))
    for part in (ensemble.fab, ensemble.apgd_targeted):
        part.n_target_classes = min(part.n_target_classes, classes - 1)
    ensemble.fab.n_iter, ensemble.square.n_queries = steps, queries
    return ensemble


def decided(margin_and_loss: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Count a tie as solved, as Square does in its loop: it goes there with no rows left if a first point ties."""

    def decide(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        margin, loss = margin_and_loss(x, y)
        return margin.where(margin != 0, -torch.finfo(margin.dtype).tiny), loss

    return decide


def cascade(ensemble: Any, counts: Query, task: Problem, rows: Tensor) -> Tensor:
    """Run the attacks one by one, each on the rows (K,) that all before it left; return x_adv (K, *shape)."""
    query, x, y = task.query, task.x[rows], task.y[rows]
    x_adv, left = x.clone(), torch.arange(len(rows), device=rows.device)
    for name in list(ensemble.attacks_to_run):
        if not len(left):
            break
        ensemble.attacks_to_run = [name]
        points, _ = ensemble.run_standard_evaluation(image(x[left]).float(), y[left], batch_size=query.batch_size)
        for column in ("forwards", "backwards", "zero_grads"):
            share_out(getattr(counts, column), getattr(query, column), rows[left])
        points = points.to(x.dtype).view_as(x[left])
        fooled = misclassified(query.logits(points, rows=rows[left]), y[left])
        x_adv[left[fooled]] = points[fooled]
        left = left[~fooled]
    query.flags |= counts.flags
    return x_adv


def image(x: Tensor) -> Tensor:
    """Return x (B, *shape) as images (B, C, H, W)."""
    return x if x.ndim == 4 else x.flatten(1)[:, None, None]


@contextmanager
def silence() -> Iterator[None]:
    """Keep what pyautoattack does to the process inside: reseeding torch, logging, switching off tracing.

    It computes in the default type, which must be float32.
    """
    logger, trace = logging.getLogger("auto-attack"), sys.gettrace()
    disabled, logger.disabled = logger.disabled, True
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_default_dtype(default)
        logger.disabled = disabled
        sys.settrace(trace)
