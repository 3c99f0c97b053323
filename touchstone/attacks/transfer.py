"""Transfer: points made on a substitute model, handed to the target as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from touchstone.attacks.balls import BALLS
from touchstone.attacks.contract import choose, prepare
from touchstone.attacks.mim import mim
from touchstone.attacks.pgd import bim, fgsm, pgd
from touchstone.attacks.wrapping import extra
from touchstone.query import Query
from touchstone.rng import SampleRng

CRAFTS: dict[str, Callable[..., Tensor]] = {"fgsm": fgsm, "bim": bim, "pgd": pgd, "mim": mim}
GIVEN = ("norm", "eps", "rng", "stop")  # what transfer passes on itself


def transfer(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    substitute: nn.Module,
    stop: str = "never",
    attack: str = "pgd",
    options: Mapping[str, Any] | None = None,
) -> Tensor:
    """Return what another attack finds on a substitute for the model.

    Source: Papernot et al. (2017), the attack itself; how the substitute was trained is the study's affair.

    The substitute is loaded, and brought into the space of x, by whoever calls: the attack job, for the one that a
    study names. The target is never asked, so its passes stay at zero, and `stop` changes nothing: the substitute is
    attacked to the end, since a point that barely fools it transfers badly.

    Options:
        substitute: Module, (B, *shape) -> logits (B, C), on the device of x.
        attack: a name in CRAFTS.
        options: its own keyword arguments; the loss "own" is not known, for it belongs to the target.
    """
    task = prepare(model, x, y, norm=norm, norms=BALLS, rng=rng, eps=eps, stop=stop)
    choose("attack", attack, CRAFTS)
    more = extra(CRAFTS[attack], options, GIVEN)
    proxy = Query(substitute, samples=len(x), bounds=task.query.bounds, batch_size=task.query.batch_size)
    if len(x) and proxy.probe(task.x) != task.query.classes:
        raise ValueError(f"substitute must have the model's {task.query.classes} classes, got {proxy.classes}")
    points = CRAFTS[attack](proxy, task.x, task.y, norm=norm, eps=task.eps, rng=task.rng, **more)
    task.query.restarts[task.everyone] = proxy.restarts[task.everyone]
    task.query.flags |= proxy.flags
    return points
