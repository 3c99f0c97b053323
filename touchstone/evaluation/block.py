"""One attack on one block of samples, and the rows that come out of it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from touchstone import records
from touchstone.attacks.contract import SLACK, below, class_numbers, floats, within
from touchstone.evaluation.judge import judge, logits
from touchstone.losses import Loss
from touchstone.query import Query, plain
from touchstone.registry import AttackSpec, load
from touchstone.rng import SampleRng
from touchstone.threat import Threat, View, in_space
from touchstone.types import UNIT

Columns = dict[str, Tensor]

_DTYPES = {"int": "int64", "float": "float64", "bool": "bool", "text": "str"}
COSTS = ("forwards", "backwards", "zero_grad_steps")
_COUNTS = ("restart", *COSTS)


@dataclass(frozen=True)
class Block:
    """The samples under attack, in the space of the threat.

    Args:
        view: the model in that space.
        threat: norm, epsilons, space and box.
        x: (n, *shape) samples.
        pixels: (n, *shape) the same samples as images.
        y: (n,) true classes.
        index: (n,) places in the test set.
        clean: (n, classes) logits of x, on the CPU.
        seed: of the attacks' draws.
        batch_size: rows per call of the model.
        goal: (n,) log-odds that a point must reach to count, see `judge`, on the CPU; None if there is no such goal.
        own_loss: the loss that the model was trained with, for attacks that climb it.
    """

    view: View
    threat: Threat
    x: Tensor
    pixels: Tensor
    y: Tensor
    index: Tensor
    clean: Tensor
    seed: int
    batch_size: int
    goal: Tensor | None = None
    own_loss: Loss | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def rows(self) -> Tensor:
        """Number the samples: 0..n-1 on their device."""
        return torch.arange(len(self), device=self.x.device)

    def at(self, rows: Tensor) -> "Block":
        """Return the part with those rows (k,) int64; what a sample meets does not depend on who is left."""
        here = rows.cpu()
        goal = None if self.goal is None else self.goal[here]
        moved = {name: getattr(self, name)[rows] for name in ("x", "pixels", "y", "index")}
        return replace(self, **moved, clean=self.clean[here], goal=goal)

    def judge(self, points: Tensor, eps: float = math.inf) -> Columns:
        """Judge one point per sample."""
        known = {"images": self.pixels, "clean": self.clean, "goal": self.goal}
        return judge(self.view, self.x, self.y, points, self.threat, eps, **known)

    def images(self, points: Tensor, count: int) -> Tensor:
        """Return the first points as pixels, on the CPU."""
        return self.view.to_pixels(points[:count], self.pixels[:count]).cpu().clone()  # in pixels they are the points


@dataclass(frozen=True)
class Proposal:
    """What an attack returned for n samples, and what each of them cost.

    Args:
        points: (n, *shape), not judged yet.
        found: (n,) the attack's own word; None from an attack with a fixed budget, which gives none.
        forwards: (n,) passes through the model.
        backwards: (n,) gradients.
        zero_grad_steps: (n,) steps that met a zero gradient.
        restart: (n,) the restart that the point comes from.
        flags: of the query.
    """

    points: Tensor
    found: Tensor | None
    forwards: Tensor
    backwards: Tensor
    zero_grad_steps: Tensor
    restart: Tensor
    flags: frozenset[str] = frozenset()

    def again(self, rows: Tensor) -> "Proposal":
        """Return what is known of those rows (k,): reading it a second time costs nothing."""
        nothing = torch.zeros(len(rows), dtype=torch.int64)
        found = None if self.found is None else self.found[rows.cpu()]
        return Proposal(self.points[rows], found, nothing, nothing, nothing, self.restart[rows.cpu()])


def make_block(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    seed: int,
    batch_size: int,
    index: Tensor | None,
    own_loss: Loss | None = None,
) -> Block:
    """Bring pixels x (n, *shape) into the space of the threat; without an index they are samples 0..n-1.

    Raises:
        ValueError: for images, classes or radii that mean nothing, with the unit that is meant.
    """
    _pixels(x, threat)
    class_numbers(y, len(x))
    x, y, view = plain(x), plain(y), in_space(model, threat)
    z = view.from_pixels(x)
    places = torch.arange(len(x), device=x.device) if index is None else index.to(x.device)
    clean = logits(view.model, z)
    below(y, clean.shape[1])
    return Block(view, threat, z, x, y, places, clean, seed, batch_size, own_loss=own_loss)


def _pixels(x: Tensor, threat: Threat) -> None:
    """Refuse images outside the box of pixels, and radii beyond it."""
    floats(x)
    lower, upper = threat.bounds or UNIT
    if not bool(((x >= lower - SLACK) & (x <= upper + SLACK)).all()):
        meant = (
            "divide by 255" if upper == 1 and float(x.max()) > 2 else "scale the images, or give the threat's bounds"
        )
        raise ValueError(f"x must be pixels in [{lower:g}, {upper:g}], got [{x.min():g}, {x.max():g}]: {meant}")
    if threat.bounds is not None and threat.space == "pixel" and threat.epsilons and len(x):
        within(torch.tensor(threat.epsilons[-1]), x, threat.norm, threat.bounds)


def propose(
    block: Block, spec: AttackSpec, options: Mapping[str, Any], *, eps: float = math.inf, stop: str = "never"
) -> Proposal:
    """Run one attack on a block.

    Args:
        block: the samples; an attack whose rows influence one another gets them in batches of fixed size, any
            other gets all at once.
        spec: of the attack, kind "fixed" or "minimal".
        options: its keyword arguments.
        eps: radius, for kind "fixed".
        stop: "never" or "first", for kind "fixed".
    """
    size = block.batch_size if spec.coupled else max(1, len(block))
    parts = [_propose(block.at(rows), spec, options, eps, stop) for rows in block.rows.split(size)]
    if len(parts) == 1:
        return parts[0]
    columns = {name: [getattr(part, name) for part in parts] for name in ("points", "found", *_COUNTS)}
    joined = {name: None if values[0] is None else torch.cat(values) for name, values in columns.items()}
    return Proposal(**joined, flags=frozenset().union(*(part.flags for part in parts)))


def _propose(block: Block, spec: AttackSpec, options: Mapping[str, Any], eps: float, stop: str) -> Proposal:
    view, rng = block.view, SampleRng(block.seed, block.index)
    about = {"bounds": view.bounds, "batch_size": block.batch_size, "own_loss": block.own_loss}
    query = Query(view.model, samples=len(block), **about)
    budget = {"eps": eps, "stop": stop} if spec.kind == "fixed" else {}
    out = load(spec.fn)(query, block.x, block.y, norm=block.threat.norm, rng=rng, **budget, **options)
    points, found = (out, None) if spec.kind == "fixed" else (out.x_adv, out.found.cpu())
    counts = (query.forwards, query.backwards, query.zero_grads, query.restarts)
    return Proposal(points, found, *(count.cpu() for count in counts), frozenset(query.flags))


def frame(
    block: Block,
    columns: Columns,
    epsilon: float,
    member: str | np.ndarray,
    proposal: Proposal | None = None,
    *,
    carried: bool = False,
    norm: str | None = None,
) -> pd.DataFrame:
    """Return one record per sample.

    Args:
        block: the samples.
        columns: what the judge says, and more columns if there are any.
        epsilon: radius; nan without a budget.
        member: slug of the attack, or one per sample.
        proposal: cost, and the attack's own word for `found`; without one, nothing and the judge's.
        carried: whether the points come from a smaller epsilon.
        norm: of the record; the threat's if not given.
    """
    silent = proposal is None or proposal.found is None
    row = {
        **dict.fromkeys(_COUNTS, 0),
        **{name: values.numpy() for name, values in columns.items()},
        "sample": block.index.cpu().numpy(),
        "label": block.y.cpu().numpy(),
        "norm": norm or block.threat.norm,
        "epsilon": epsilon,
        "member": member,
        "found": (columns["success"] if silent else proposal.found).numpy(),
        "carried": carried,
        **({name: getattr(proposal, name).numpy() for name in _COUNTS} if proposal else {}),
    }
    made = pd.DataFrame({name: row[name] for name in records.COLUMNS}, index=range(len(block)))
    return made.astype({name: _DTYPES[kind] for name, kind in records.COLUMNS.items()})


def join(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return all rows, in order."""
    return pd.concat(list(frames), ignore_index=True)
