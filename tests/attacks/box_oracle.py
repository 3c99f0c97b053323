"""Linear classifiers whose smallest adversarial perturbation inside the box is known exactly."""

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

SHAPES = ((8,), (3, 4, 4))


class Linear(nn.Module):
    """Logits w x + b in the precision of the weights; the pixels are the features, the rows of w the centres."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.classifier = nn.Linear(*reversed(weight.shape), dtype=weight.dtype)
        self.classifier.weight.data.copy_(weight)
        self.classifier.bias.data.copy_(bias)

    @property
    def weight(self) -> Tensor:
        return self.classifier.weight

    @property
    def bias(self) -> Tensor:
        return self.classifier.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x.flatten(1).to(self.weight.dtype))


class Case(NamedTuple):
    """A classifier and points it classifies as y; best (B, K) is the exact distance to each other class."""

    model: Linear
    x: Tensor
    y: Tensor
    best: Tensor


def reach(w: Tensor, room: Tensor, gap: float, norm: str) -> float:
    """Return the smallest |d| with <w, d> >= gap, where |d_i| <= room_i in the direction of w_i.

    The optimum moves every coordinate along w (l2) or sign w (linf) and stops it at the wall:
    d_i = sign(w_i) min(t g_i, room_i); <w, d> grows with t, so bisection finds t. For l1 it moves the coordinates
    with the largest |w_i| to their walls, one after the other; for l0 it does so with the pixels (w is (C, H, W), or
    has no channels) that contribute most. inf if the walls are too near.
    """
    gain = w.abs() * room
    if float(gain.sum()) < gap:
        return math.inf
    if norm == "l0":
        gains = (gain.sum(dim=0) if gain.ndim == 3 else gain).flatten().sort(descending=True).values
        return 1.0 + int((gains.cumsum(0) < gap).sum())
    if norm == "l1":
        order = w.abs().flatten().argsort(descending=True)
        gains, rooms, slopes = (values.flatten()[order] for values in (gain, room, w.abs()))
        full = int((gains.cumsum(0) < gap).sum())
        return float(rooms[:full].sum() + (gap - gains[:full].sum()) / slopes[full])
    speed = w.abs() if norm == "l2" else torch.ones_like(w)
    low, high = 0.0, float((room / speed.clamp_min(1e-12)).max())
    for _ in range(60):
        middle = (low + high) / 2
        moved = torch.minimum(middle * speed, room)
        low, high = (middle, high) if float((w.abs() * moved).sum()) < gap else (low, middle)
    moved = torch.minimum(high * speed, room)
    return float(moved.norm() if norm == "l2" else moved.max())


def optimum(model: Linear, x: Tensor, y: Tensor, norm: str) -> Tensor:
    """Return the exact distance (B, K) to each class, inf for y itself and for classes out of reach of the box."""
    best = torch.full((len(x), len(model.weight)), torch.inf, dtype=torch.float64)
    logits = model(x).detach()
    for i in range(len(x)):
        for k in range(len(model.weight)):
            if k != y[i]:
                w = (model.weight[k] - model.weight[y[i]]).detach().view_as(x[i])
                room = torch.where(w > 0, 1 - x[i], x[i])
                best[i, k] = reach(w, room, float(logits[i, y[i]] - logits[i, k]), norm)
    return best


@cache
def case(shape: tuple[int, ...], classes: int, norm: str, *, walls: bool, count: int = 8, seed: int = 0) -> Case:
    """Make random weights and the `count` of 24 random points that are farthest from the other classes.

    With walls, half of the pixels are exactly 0 or 1, so the box cuts off many directions; without, the pixels
    are near 0.5 and the box is out of reach. Far points, because steps of fixed length resolve no tiny distance.
    """
    torch.manual_seed(seed)
    weight = torch.randn(classes, math.prod(shape), dtype=torch.float64)
    x = torch.rand(24, *shape, dtype=torch.float64)
    x = torch.where(torch.rand_like(x) < 0.5, x.round(), x) if walls else 0.4 + 0.2 * x
    model = Linear(weight, -(x.flatten(1) @ weight.T).mean(dim=0))  # centred: every class is someone's
    y = model(x).argmax(dim=1)
    best = optimum(model, x, y, norm)
    nearest = best.amin(dim=1)
    far = torch.where(nearest.isfinite(), nearest, 0.0).argsort(descending=True)[:count]
    return Case(model, x[far], y[far], best[far])
