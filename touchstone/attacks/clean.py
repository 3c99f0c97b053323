"""No attack at all: how clean accuracy becomes a record like any other."""

from __future__ import annotations

from torch import Tensor, nn

from touchstone.attacks.contract import prepare
from touchstone.query import Query
from touchstone.registry import NORMS
from touchstone.rng import SampleRng


def clean(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
) -> Tensor:
    """Return a copy of x; the arguments are checked as by every attack."""
    task = prepare(model, x, y, norm=norm, norms=NORMS, rng=rng, eps=eps, stop=stop)
    return task.x.clone()
