"""Losses that attacks maximise: (logits (B, C), y (B,) int64) -> (B,). Larger is nearer to a wrong class."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from touchstone.registry import nearest

Loss = Callable[[Tensor, Tensor], Tensor]


def _split(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the true class's logit (B,) and the logits with that entry at -inf (B, C)."""
    true = y[:, None]
    return logits.gather(1, true).squeeze(1), logits.scatter(1, true, -torch.inf)


def ce(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy in the precision of the logits: no gradient is left once 1 - p_y rounds to zero."""
    return F.cross_entropy(logits, y, reduction="none")


def ce64(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy in float64, as softplus(logsumexp of the others - z_y): accurate for p_y close to one."""
    true, others = _split(logits.double(), y)
    return F.softplus(others.logsumexp(dim=1) - true)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Largest other logit minus the true one: positive exactly where the sample is misclassified.

    Source: Carlini and Wagner (2017), f_6 with the sign of a loss to be maximised.
    """
    true, others = _split(logits, y)
    return others.amax(dim=1) - true


def logistic(logits: Tensor, y: Tensor) -> Tensor:
    """Minus a smooth hinge, -softplus(-margin) / log 2: -1 at the boundary, and flat beyond it.

    Source: the loss that PDGD and PDPGD minimise, Matyasko (2020) as coded, with the sign of one to be maximised.
    """
    return -F.softplus(-margin(logits, y)) / math.log(2)


def raw(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of an attack that takes logits for probabilities, -log |z_y|: a reading, not a way to attack.

    It says nothing about the other classes, a shift of the logits changes it, and where z_y < 0 to climb it raises z_y.

    Source: the evaluation code of Matyasko (2020), chapter 3, whose logarithm has the slope 1 / z_y below zero too.
    """
    return -logits.gather(1, y[:, None]).squeeze(1).abs().log()


def mifpe(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of the logits in units of the gap between the two largest, which is held constant.

    No softmax is near one there, however large the logits are, so float32 rounds no gradient away.

    Source: Yu and Xu (2023), "Efficient loss function by minimizing the detrimental effect of floating-point errors on
    gradient-based attacks", with t = 1.
    """
    top = logits.detach().topk(2, dim=1).values
    return ce(logits / (top[:, :1] - top[:, 1:] + 1e-12), y)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio: the margin over the gap between the first and third largest logit.

    Source: Croce and Hein (2020), eq. 6. Raises: ValueError with fewer than 3 classes.
    """
    if logits.shape[1] < 3:
        raise ValueError(f"loss 'dlr' needs at least 3 classes, got {logits.shape[1]}: use 'margin'")
    top = logits.topk(3, dim=1).values
    return margin(logits, y) / (top[:, 0] - top[:, 2] + 1e-12)


def margin_targeted(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Target's logit minus the true one; target is (B,) int64."""
    return (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])).squeeze(1)


def dlr_targeted(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Difference of logits ratio for a target: their gap over that of the largest to the mean of third and fourth.

    Source: Croce and Hein (2020), eq. 7. Raises: ValueError with fewer than 4 classes.
    """
    if logits.shape[1] < 4:
        raise ValueError(f"loss 'dlr_targeted' needs at least 4 classes, got {logits.shape[1]}: use 'margin_targeted'")
    top = logits.topk(4, dim=1).values
    return margin_targeted(logits, y, target) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)


LOSSES: dict[str, Loss] = {
    "ce": ce,
    "ce64": ce64,
    "mifpe": mifpe,
    "margin": margin,
    "dlr": dlr,
    "logistic": logistic,
    "raw": raw,
}

FEWEST_CLASSES = {"dlr": 3}  # that a loss needs; with fewer an attack climbs the margin, see Query.loss


def pick(name: str, among: Mapping[str, Loss] = LOSSES) -> Loss:
    """Return the loss of that name, or raise ValueError with the names there are."""
    if name not in among:
        raise ValueError(f"unknown loss {name!r}; {nearest(name, among)}")
    return among[name]


def misclassified(logits: Tensor, y: Tensor) -> Tensor:
    """Say for each row (B,) whether another class has a larger logit; ties and NaN mean no."""
    return margin(logits, y) > 0
