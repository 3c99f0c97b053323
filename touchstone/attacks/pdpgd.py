"""PDPGD: the game of PDGD for norms without a gradient, whose player follows the loss and applies an operator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from touchstone.attacks import ATTACKS
from touchstone.attacks.common import choose, prepare
from touchstone.attacks.cw import adam_
from touchstone.attacks.pdgd import VARIANTS, Game, Move, check, minimise
from touchstone.norms import distance, rowwise
from touchstone.proximal import hard_pixels, level, soft, two_thirds_pixels
from touchstone.query import Query
from touchstone.rng import SampleRng
from touchstone.types import MinNorm

PROXES = {"linf": level, "l1": soft}
OPERATORS = {"hard": hard_pixels, "two-thirds": two_thirds_pixels}
INNER_STEPS = 5  # per gradient step, of the operator in Adam's metric
STILL = 1e-2  # relative change below which a row takes no further inner step


def pdpgd(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    rng: int | SampleRng,
    variant: str = "coded",
    operator: str = "two-thirds",
    steps: int = 500,
    lr: float = 0.1,
    restarts: int = 1,
    start: float = 0.5,
    ratio: float = 0.1,
    finetune: bool = True,
    relative: bool = False,
) -> MinNorm:
    """Return the nearest misclassified iterate of a gradient step on g(x + r) and the operator of (a / b) |r|.

    Source: Matyasko (2020), alg. 3, and the author's code; the operator in Adam's metric is that of Melchior et al.
    (2019), "Proximal Adam". As printed: variant="printed", operator="hard", ratio=0.01, finetune=False. What is
    said of the dual player and of starting points in `pdgd` holds here. Deviation: the author's linf operator drops
    the signs of a batch that lies in the l1 ball as a whole; here it does not.

    Args:
        model: Module or Query, (B, *shape) -> logits (B, C).
        x: (B, *shape) float, inside the query's box.
        y: (B,) int64 true classes.
        norm: linf, l1 or l0 (pixels).
        rng: seed or SampleRng of the block; gives the starting points.
        variant: printed (hinge loss, one plain gradient step and one operator, rate falling linearly) or coded
            (logistic loss, Adam, up to five operators in Adam's metric, rate falling exponentially); the dual rate
            as in `pdgd`.
        operator: for l0, hard (thresholds pixels) or two-thirds (that of sum |r|^(2/3); what the author ran).
        steps: gradient steps per restart, >= 1; as many again to finetune.
        lr: first step size, > 0: Adam's, in the units of x, or the factor on the gradient; it falls to a hundredth.
        restarts: number of starts, >= 1; the nearest point of all counts.
        start: starts are uniform in x +- start, clipped to the box; >= 0, in the units of x.
        ratio: first a / b, > 0.
        finetune: run once more from the best point and its a / b, with rates a hundred times smaller.
        relative: measure logits in units of the margin at x, as in `pdgd`; not published.

    Returns: x_adv (B, *shape), its distance in the query's space, and where one was found.

    Raises:
        ValueError: an argument outside what is said above.
    """
    task = prepare(model, x, y, norm=norm, norms=ATTACKS["pdpgd"].norms, rng=rng)
    check(variant=variant, steps=steps, lr=lr, restarts=restarts, start=start, ratio=ratio)
    choose("operator", operator, tuple(OPERATORS))
    prox = OPERATORS[operator] if norm == "l0" else PROXES[norm]

    def begin_plain(x: Tensor) -> Move:
        def move(tile: slice, offset: Tensor, grad: Tensor, share: Tensor, rate: float, _: int) -> Tensor:
            moved = offset.sub_(grad, alpha=rate)
            return task.bounds.clip(prox(moved, rate * share / (1 - share)).add_(x[tile]))

        return move

    def begin_adam(x: Tensor) -> Move:
        m, v = torch.zeros_like(x), torch.zeros_like(x)

        def move(tile: slice, offset: Tensor, grad: Tensor, share: Tensor, rate: float, step: int) -> Tensor:
            metric = adam_(offset, m[tile], v[tile], grad, rate, step)
            steepest = distance(metric, "linf")
            metric /= rowwise(steepest, metric)
            weight = rate / steepest * share / (1 - share)
            near, moving = offset, torch.ones_like(share, dtype=torch.bool)
            for _ in range(INNER_STEPS):
                pulled = torch.addcmul(near, metric, near - offset, value=-1)
                nearer = task.bounds.clip(prox(pulled, weight).add_(x[tile])).sub_(x[tile])
                nearer[~moving] = near[~moving]
                moving &= distance(nearer - near, "l2") > STILL * distance(nearer, "l2")
                near = nearer
                if not bool(moving.any()):
                    break
            return task.bounds.clip(near + x[tile])

        return move

    begin = begin_plain if variant == "printed" else begin_adam
    game = Game(task, norm, VARIANTS[variant], begin, steps, lr, relative)
    return minimise(game, restarts=restarts, start=start, ratio=ratio, finetune=finetune)
