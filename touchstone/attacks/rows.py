"""Which row is which: how an attack goes on with a part of its block.

`rows` (K,) int64 says which rows of the block are still being worked on. It picks their part of whatever is as long as
the block: task.x[rows], the draws of task.rng.at(rows), the counters behind query.grad(..., rows=rows), the entries of
`Best` and of `ends`, in which end points wait for the rest. What an attack knows of these rows alone (iterates, labels,
step lengths) is in tensors of K rows beside `rows`; `compact` drops the same rows from all of them.

`tile` is a slice of these K rows, as many as the model sees in one call (touchstone.query.tiles). A step does all its
arithmetic tile by tile, since temporaries of one tile stay in the processor's cache, and those of a block do not.
z[tile] is a view, so it can be changed in place; rows[tile] says whose tile it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from touchstone.types import MinNorm


def compact(solved: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Drop the solved rows (K,), in place, from tensors that the attack owns; returns views of what is left.

    The last rows move into the holes, so the cost is that of the dropped rows, not of the block.
    """
    left = len(solved) - int(solved.sum())
    holes = solved[:left].nonzero().squeeze(1)
    movers = (~solved[left:]).nonzero().squeeze(1) + left
    for tensor in tensors:
        tensor[holes] = tensor[movers]
    return tuple(tensor[:left] for tensor in tensors)


class Best:
    """The nearest adversarial point of each row of the block so far: x where there is none yet."""

    def __init__(self, x: Tensor) -> None:
        self.x_adv = x.clone()
        self.dist = x.new_full((len(x),), torch.inf)

    def settle(self, adversarial: Tensor) -> Tensor:
        """Take x itself for the rows (B,) that are adversarial there; return the others (K,)."""
        self.dist[adversarial] = 0.0
        return (~adversarial).nonzero().squeeze(1)

    def offer(self, rows: Tensor, z: Tensor, dist: Tensor, adversarial: Tensor) -> Tensor:
        """Keep z (K, *shape) at distances (K,) for rows (K,) where it is adversarial and nearer than before: (K,)."""
        better = adversarial & (dist < self.dist[rows])
        self.x_adv[rows[better]] = z[better]
        self.dist[rows[better]] = dist[better]
        return better

    def result(self) -> MinNorm:
        """Return what has been found."""
        return MinNorm(self.x_adv, self.dist, self.dist.isfinite())
