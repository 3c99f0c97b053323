"""Attacks of other libraries: run as they are, in fixed batches, on draws of their own, and judged by us."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from touchstone.attacks import WITHOUT_KEYWORD
from touchstone.attacks.balls import confine
from touchstone.attacks.contract import Problem, choose, prepare, walls
from touchstone.attacks.rows import Best
from touchstone.attacks.wrapping import Counted, share_out, wrapped
from touchstone.conditions import Facts, hold
from touchstone.losses import misclassified
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.records import TOLERANCE
from touchstone.registry import NORMS, load
from touchstone.rng import SampleRng
from touchstone.types import MinNorm

Target = Callable[..., Any]
Options = Mapping[str, Any]


def external(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    target: str,
    convention: Literal["adv_lib", "foolbox", "torchattacks", "call"],
    options: Mapping[str, Any] | None = None,
) -> MinNorm:
    """Return the points of a foreign attack that looks for the nearest one, as far as they are misclassified.

    Source: that of the attack; nothing of it is changed. It works in float32 and sees the whole block, so that rows may
    influence one another. Its points are clipped to the box before they are asked. Which norm it minimises is for its
    options to say; distances are measured in `norm`. A box that is not [0, 1] is a ValueError.

    What is counted: all passes, shared out evenly over the rows, since nobody says which row a pass was for.

    Options:
        target: "module:function", or "module:Class" of foolbox and torchattacks.
        convention: a name in CONVENTIONS, how it is called.
        options: its own keyword arguments.
    """
    task = prepare(model, x, y, norm=norm, norms=NORMS, rng=rng)
    best = Best(task.x)
    if not len(task.x):
        return best.result()
    points = foreign(task, task.everyone, target, convention, dict(options or {}), None)
    rows = best.settle(misclassified(task.query.logits(task.x), task.y))
    fooled = misclassified(task.query.logits(points[rows], rows=rows), task.y[rows])
    best.offer(rows, points[rows], distance(points[rows] - task.x[rows], norm), fooled)
    return best.result()


def external_fixed(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    target: str,
    convention: Literal["adv_lib", "foolbox", "torchattacks", "call"],
    radius: str = "eps",
    options: Mapping[str, Any] | None = None,
) -> Tensor:
    """Return the points of a foreign attack within a radius, as it returns them.

    Everything is as for `external`, and rows with the same eps share a run. A point outside the ball by more than
    rounding is brought back, and the query gets the flag "left_the_ball". The attack goes on to its end whatever `stop`
    says.

    Options:
        target: "module:function", or "module:Class" of foolbox and torchattacks.
        convention: a name in CONVENTIONS, how it is called.
        radius: the keyword that takes eps; foolbox is asked with `epsilons`.
        options: its own keyword arguments.
    """
    task = prepare(model, x, y, norm=norm, norms=NORMS, rng=rng, eps=eps, stop=stop)
    if convention not in WITHOUT_KEYWORD and radius in (options or {}):
        raise ValueError(f"options: {radius!r} takes the radius, which eps says")
    x_adv = task.x.clone()
    for length in task.eps[task.eps > 0].unique().tolist():
        rows = (task.eps == length).nonzero().squeeze(1)
        by_keyword = {} if convention in WITHOUT_KEYWORD else {radius: length}
        x_adv[rows] = foreign(task, rows, target, convention, {**(options or {}), **by_keyword}, length)
    if bool((distance(x_adv - task.x, norm) > task.eps + TOLERANCE).any()):
        task.query.flags.add("left_the_ball")
    return confine(x_adv, task.x, task.eps, norm, task.bounds)


def _foolbox(target: Target, model: nn.Module, x: Tensor, y: Tensor, options: Options, eps: float | None) -> Tensor:
    foolbox = wrapped("foolbox")
    sight = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device=x.device)
    points, _, _ = target(**options)(sight, x, foolbox.criteria.Misclassification(y), epsilons=eps)
    return points


# how a library calls its attacks: (target, model, x, y, options, eps or None) -> points
CONVENTIONS: dict[str, Callable[[Target, nn.Module, Tensor, Tensor, Options, float | None], Any]] = {
    "adv_lib": lambda target, model, x, y, options, _: target(model=model, inputs=x, labels=y, **options),
    "foolbox": _foolbox,
    "torchattacks": lambda target, model, x, y, options, _: target(model, **options)(x, y),
    "call": lambda target, model, x, y, options, _: target(model, x, y, **options),
}


def foreign(task: Problem, rows: Tensor, target: str, convention: str, options: Options, eps: float | None) -> Tensor:
    """Return the points (K, *shape) of a foreign attack on rows (K,), clipped to the box, in the type of x.

    Raises:
        ValueError: for another box than [0, 1], an unknown convention, or an answer that is no such block of points.
    """
    choose("convention", convention, CONVENTIONS)
    hold("touchstone.attacks.external:external", {}, Facts(walls=walls(task.bounds)))
    x, y = task.x[rows].float(), task.y[rows]
    counts = Query(task.query.model, bounds=task.query.bounds, batch_size=task.query.batch_size)
    seed = int(task.rng.at(rows).integers(1 << 31, ())[0])
    with _explained(target, task.query, task.x[rows], rows), own_draws(seed), torch.enable_grad():
        points = CONVENTIONS[convention](
            _load(target), Counted(counts, x, task.x.dtype), x.clone(), y.clone(), options, eps
        )
    for column in ("forwards", "backwards", "zero_grads"):
        share_out(getattr(counts, column), getattr(task.query, column), rows)
    task.query.flags |= counts.flags
    if not isinstance(points, Tensor) or points.shape != x.shape:
        got = tuple(points.shape) if isinstance(points, Tensor) else type(points).__name__
        raise ValueError(f"{target} called as {convention} must return points {tuple(x.shape)}, got {got}")
    return task.bounds.clip(points.detach().to(task.x.dtype))


@contextmanager
def _explained(target: str, query: Query, x: Tensor, rows: Tensor) -> Iterator[None]:
    """Note beside what a foreign attack raises, often without a word, whose it is and whether the model is randomised.

    Args:
        target: of the attack.
        query: the model.
        x: (K, *shape) samples.
        rows: (K,) which they are.
    """
    try:
        yield
    except Exception as error:
        error.add_note(f"raised by {target}")
        once, again = (query.logits(x, rows=rows).nan_to_num() for _ in range(2))
        if not torch.equal(once, again):
            error.add_note(
                "the model is randomised: asked twice it answers differently, and this attack may not bear it"
            )
        raise


# what libraries import and use for nothing here: an empty module stands in where it is not installed
UNUSED = ("visdom",)  # of adv-lib: a display, which does not build any more


def _load(target: str) -> Target:
    absent = [name for name in UNUSED if name not in sys.modules and find_spec(name) is None]
    sys.modules.update({name: ModuleType(name) for name in absent})
    try:
        with warnings.catch_warnings():  # of what the library imports: not ours to mend
            warnings.simplefilter("ignore", DeprecationWarning)
            return load(target)
    finally:
        for name in absent:
            del sys.modules[name]


@contextmanager
def own_draws(seed: int) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python, which foreign code draws from, and restore them."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - foreign code uses it
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
