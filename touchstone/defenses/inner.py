"""The inner maximisation of TRADES and MART, and the divergence that TRADES, MART and VAT share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.attacks.climb import climb
from touchstone.attacks.contract import between, prepare
from touchstone.defenses.base import Objective
from touchstone.query import Query
from touchstone.ranges import Count, NotNegative

NOISE = 1e-3  # standard deviation of the start around x, in pixels: the gradient of a divergence vanishes at x itself


def divergence(logits: Tensor, p: Tensor) -> Tensor:
    """Return KL(p || softmax(logits)) per row: (B, C), (B, C) probabilities -> (B,) in nats."""
    return F.kl_div(logits.log_softmax(dim=1), p, reduction="none").sum(dim=1)


@dataclass(frozen=True)
class Regularized(Objective):
    """What TRADES and MART share: the inner maximisation, and a divergence weighed by beta.

    Args:
        norm: "linf" or "l2".
        eps: radius in pixels, >= 0.
        attack_steps: PGD steps, >= 1.
        step_size: in pixels, >= 0.
        beta: weight of the divergence, >= 0.
    """

    norm: Literal["linf", "l2"]
    eps: NotNegative
    attack_steps: Count
    step_size: NotNegative
    beta: NotNegative

    def perturbed(
        self, model: nn.Module | Query, x: Tensor, y: Tensor, seed: int, loss: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Return `climbed` with these constants."""
        constants = {"norm": self.norm, "eps": self.eps, "steps": self.attack_steps, "step_size": self.step_size}
        return climbed(model, x, y, **constants, seed=seed, loss=loss)


def climbed(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float,
    steps: int,
    step_size: float,
    seed: int,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Return PGD's last iterate (B, C, H, W), within eps of x and in [0, 1], in channels_last memory.

    Source: Zhang et al. (2019), TRADES, algorithm 1: from a normal start of deviation 0.001. The model is in eval
    mode meanwhile.

    Args:
        model: x -> logits (B, C).
        x: (B, C, H, W) in [0, 1].
        y: (B,) int64.
        norm: "linf" or "l2".
        eps: radius in pixels, >= 0.
        steps: gradient steps, >= 1.
        step_size: in pixels, >= 0.
        seed: of the start.
        loss: (logits (K, C), rows (K,) int64 of the batch) -> (K,), maximised.
    """
    task = prepare(model, x, y, norm=norm, norms=("linf", "l2"), rng=seed, eps=eps)
    between(1, steps=steps)
    between(0, step_size=step_size)
    rows = torch.arange(len(x), device=x.device)
    start = task.x + NOISE * task.rng.normal(x.shape[1:], dtype=x.dtype)
    length = torch.full_like(task.eps, step_size)
    # a loss sees labels only: here they are row numbers, so that it finds what belongs to the row
    task = task._replace(y=rows)
    ends, _ = climb(task, start, rows, norm=norm, stop="never", steps=steps, step_size=length, loss=loss)
    return ends.contiguous(memory_format=torch.channels_last)
