"""What attacks share that run another attack, or a library's."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Collection, Mapping
from types import ModuleType
from typing import Any

from torch import Tensor

from touchstone.attacks.contract import choose


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
        raise ModuleNotFoundError(f"{error}: this attack needs pip install 'touchstone[wrapped]'") from error
