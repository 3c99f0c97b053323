"""DAA: signed gradient steps in which the points of a batch interact through a kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from touchstone.attacks.balls import confine
from touchstone.attacks.climb import lengths, random_points
from touchstone.attacks.contract import between, prepare
from touchstone.losses import misclassified
from touchstone.norms import rowwise, steepest
from touchstone.query import Query
from touchstone.ranges import Count, NotNegative
from touchstone.registry import LossName
from touchstone.rng import SampleRng


def daa(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    steps: Count = 200,
    step_size: NotNegative = 0.01,
    relative: bool = False,
    restarts: Count = 1,
    weight: NotNegative = 1.1,
    loss: LossName = "ce",
) -> Tensor:
    """Return adversarial candidates by projected sign steps on the loss and on the Lagrangian blob of the batch.

    Source: Zheng, Chen, Ren (2019), DAA-BLOB, and the authors' code. As in that code the gradient of the kernel
    is subtracted, which draws the points together. Deviations: the block is the batch, whereas the authors
    shuffle the test set into new batches every ten steps; the median distance is the lower one of two.

    The result of a row depends on the rows beside it, so all of them take part in every step and restart. A row keeps
    the point of the restart in which it is first seen misclassified.

    Options:
        steps: gradient steps per restart, >= 1.
        step_size: length of a step, >= 0: in the units of x, or of eps if `relative`.
        relative: read step_size as a multiple of eps.
        restarts: number of random starts, >= 1.
        weight: of the blob beside the gradient, >= 0; the authors take 1.1 for ce and 10 for margin.
    """
    task = prepare(model, x, y, norm=norm, norms=("linf",), rng=rng, eps=eps, stop=stop)
    between(1, steps=steps, restarts=restarts)
    between(0, step_size=step_size, weight=weight)
    query, x, y, objective = task.query, task.x, task.y, task.query.loss(loss)
    step = rowwise(lengths(task, step_size, relative), x)
    x_adv, rows = x.clone(), task.everyone
    solved = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for restart in range(restarts):
        if solved.all():
            break
        query.restarts[rows[~solved]] = restart
        z = random_points(task, rows, norm, restart)
        for _ in range(steps):
            logits, _, grad = query.grad(z, y, objective)
            if stop == "first":
                fooled = misclassified(logits, y) & ~solved
                x_adv[fooled] = z[fooled]
                solved |= fooled
                if solved.all():
                    break
            grad = grad.nan_to_num_(nan=0.0)  # one row's NaN would reach all the others
            uphill = grad.add(blob(z, grad), alpha=weight)
            z = confine(z + step * steepest(uphill, norm), x, task.eps, norm, task.bounds)
        x_adv[~solved] = z[~solved]
        if restart + 1 < restarts:
            solved |= misclassified(query.logits(z), y)
    return x_adv


def blob(z: Tensor, grad: Tensor) -> Tensor:
    """Return the kernel-weighted mean of grad (B, *shape) around each z (B, *shape), less that of the offsets.

    The kernel is Gaussian; its squared width is half the median squared distance over log B.
    """
    flat, count = z.flatten(1), len(z)
    gram = flat @ flat.T
    square = gram.diagonal()
    apart = (square[:, None] + square - 2 * gram).clamp_min_(0).fill_diagonal_(0)
    width = apart.median() / (2 * math.log(max(2, count)))
    width = torch.where(width > 0, width, 1.0)  # one row, or copies of one
    kernel = apart.div_(-2 * width).exp_()
    offsets = (kernel.sum(dim=1, keepdim=True) * flat - kernel @ flat) / width
    return (kernel @ grad.flatten(1) - offsets).div_(count).view_as(z)
