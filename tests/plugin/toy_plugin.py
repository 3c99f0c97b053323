"""A dataset, a model, a defense and an attack as somebody else would write them, in one module on PYTHONPATH."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.attacks.contract import between, prepare
from touchstone.data.readers import Parts, held_out
from touchstone.defenses.base import Objective
from touchstone.query import Query
from touchstone.ranges import Count, Share
from touchstone.registry import LossName
from touchstone.rng import SampleRng


def stripes(raw_dir: Path, validation: int) -> Parts:
    """Read each part: a line with the count, then a byte for the label and 8x8x3 for the image, per sample."""
    parts = []
    for name in ("train", "test"):
        count, _, content = (raw_dir / "stripes" / f"{name}.samples").read_bytes().partition(b"\n")
        rows = torch.from_numpy(np.frombuffer(content, np.uint8).reshape(int(count), -1).copy())
        parts += [rows[:, 1:].view(-1, 8, 8, 3).permute(0, 3, 1, 2), rows[:, 0].long()]
    return Parts(*parts, held_out(parts[1].numpy(), validation))


def two_layers(shape: tuple[int, ...], classes: int, *, width: Count = 16) -> nn.Module:
    """Return a net of two linear layers."""
    size = torch.Size(shape).numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.ReLU(), nn.Linear(width, classes))


@dataclass(frozen=True)
class Smoothed(Objective):
    """Cross-entropy to labels that are smoothed by alpha."""

    alpha: Share = 0.1

    def parts(self, logits: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the loss per sample (B,)."""
        return {"smoothed": F.cross_entropy(logits, y, reduction="none", label_smoothing=self.alpha)}


def jump(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    loss: LossName = "margin",
    noise: Share = 0.5,
) -> Tensor:
    """Return x after one step of length eps along the sign of the gradient, from a random point near it.

    Options:
        noise: half-width of the box of that point, as a share of eps.
    """
    task = prepare(model, x, y, norm=norm, norms=("linf",), rng=rng, eps=eps, stop=stop)
    between(0, 1, noise=noise)
    radius = task.eps.view(-1, *[1] * (x.ndim - 1))
    draws = task.rng.uniform(tuple(x.shape[1:]), dtype=x.dtype)
    start = task.bounds.clip(task.x + noise * radius * (2 * draws - 1))
    _, _, gradient = task.query.grad(start, y, task.query.loss(loss))
    step = torch.clamp(start - task.x + radius * gradient.sign(), -radius, radius)
    return task.bounds.clip(task.x + step)
