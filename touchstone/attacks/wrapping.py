"""What attacks share that run another attack, or a library's."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Collection, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from touchstone.attacks.contract import choose
from touchstone.query import Query


def extra(attack: Callable[..., Tensor], options: Mapping[str, Any] | None, given: Collection[str]) -> dict[str, Any]:
    """Return the options for an attack that another one runs; ValueError for one it has not, or that is given."""
    keywords = [p.name for p in inspect.signature(attack).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for name in options or {}:
        choose("option", name, [keyword for keyword in keywords if keyword not in given])
    return dict(options or {})


def wrapped(module: str) -> ModuleType:
    """Import a module of a library that some attacks wrap; ModuleNotFoundError says how to get it."""
    try:
        with warnings.catch_warnings():  # of what the library imports: not ours to mend
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}: this attack needs pip install 'touchstone-robustness[wrapped]'") from error


class Counted(nn.Module):
    """The model as a library sees it: float32 images in, float32 logits out, all passes counted for one sample.

    Args:
        query: that counts.
        like: (K, *shape) of which shape and on which device the images are.
        dtype: in which the model is asked.
    """

    def __init__(self, query: Query, like: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.query, self.shape, self.dtype = query, like.shape[1:], dtype
        self.place = nn.Parameter(like.new_empty(0), requires_grad=False)  # libraries ask a parameter for the device
        query.reserve(1, like.device)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C) of x (B, C, H, W)."""
        inputs = x.to(self.dtype).view(len(x), *self.shape)
        return self.query.attached(inputs, rows=torch.zeros(len(x), dtype=torch.int64, device=x.device)).to(x.dtype)


def share_out(total: Tensor, counter: Tensor, rows: Tensor) -> None:
    """Move total (1,) to counter (N,), evenly over rows (K,), the remainder one by one to the first of them."""
    each, rest = divmod(int(total), len(rows))
    counter[rows] += each + (torch.arange(len(rows), device=rows.device) < rest).long()
    total.zero_()
