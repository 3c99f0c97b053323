"""Nets of the user's own: how one is made of what the user's file has."""

import inspect
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from touchstone.registry import load

INSTALLED = frozenset(("site-packages", "dist-packages"))  # folders of what is nobody's own
BARE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def own_net(target: str, shape: tuple[int, int, int], classes: int, options: Mapping[str, Any]) -> nn.Module:
    """Return the net that a function or class makes: `target(shape, classes, **options)`.

    One that can be called without them, as most classes of nets can, is called without them: `target(**options)`.

    Args:
        target: "module:function" or "module:Class".
        shape: (channels, height, width) of the images.
        classes: number of logits.
        options: of the net.

    Raises:
        ValueError: if it takes anything else, raises anything, or makes anything else than a Module.
    """
    function = load(target)
    taken = inspect.signature(function).parameters.values()
    needed = [one.name for one in taken if one.kind in BARE and one.default is one.empty]
    if len(needed) not in (0, 2):
        raise ValueError(f"{target} must take nothing, or shape and classes; it takes {', '.join(needed)}")
    given: tuple[object, ...] = (shape, classes) if needed else ()
    try:
        net = function(*given, **options)
    except Exception as error:  # whatever the user's own code raises
        called = f"with {' and '.join(f'{one} = {value}' for one, value in zip(needed, given, strict=True))}"
        raise ValueError(f"{target}, called {called if given else 'without arguments'}: {told(error)}") from error
    if not isinstance(net, nn.Module):
        raise ValueError(f"{target} must return a torch.nn.Module, got {type(net).__name__}")
    return net


def told(error: Exception) -> str:
    """Return what a user's own code raised, and on which line of it."""
    frames = traceback.extract_tb(error.__traceback__)
    inner = next((f for f in reversed(frames) if INSTALLED.isdisjoint(Path(f.filename).parts)), frames[-1])
    return f"{type(error).__name__}: {error} ({Path(inner.filename).name}, line {inner.lineno})"
