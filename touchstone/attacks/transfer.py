"""Transfer: points made on a substitute model, handed to the target as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from touchstone.attacks import ATTACKS
from touchstone.attacks.common import choose, extra, prepare
from touchstone.attacks.mim import mim
from touchstone.attacks.pgd import bim, fgsm, pgd
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

    Args:
        model: Module or Query of the target, (B, *shape) -> logits (B, C).
        x: (B, *shape) float, inside the query's box.
        y: (B,) int64 true classes.
        norm: linf, l2 or l1, as far as the attack has it.
        eps: radius in the units of x, >= 0, float or (B,).
        rng: seed or SampleRng of the block.
        substitute: Module, (B, *shape) -> logits (B, C), on the device of x.
        stop: never or first, see above.
        attack: a name in CRAFTS.
        options: its own keyword arguments; the loss "own" is not known, for it belongs to the target.

    Returns: (B, *shape), within eps of x and inside the box.

    Raises:
        ValueError: an argument outside what is said above, or one that the attack refuses.
    """
    task = prepare(model, x, y, norm=norm, norms=ATTACKS["transfer"].norms, rng=rng, eps=eps, stop=stop)
    choose("attack", attack, tuple(CRAFTS))
    more = extra(attack, options, GIVEN)
    proxy = Query(substitute, samples=len(x), bounds=task.query.bounds, batch_size=task.query.batch_size)
    if len(x) and proxy.probe(task.x) != task.query.classes:
        raise ValueError(f"substitute must have the model's {task.query.classes} classes, got {proxy.classes}")
    points = CRAFTS[attack](proxy, task.x, task.y, norm=norm, eps=task.eps, rng=task.rng, **more)
    rows = torch.arange(len(x), device=x.device)
    task.query.restarts[rows] = proxy.restarts[rows]
    task.query.flags |= proxy.flags
    return points
