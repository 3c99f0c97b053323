"""Touchstone: are published robustness numbers true?"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["attack", "load_run", "worst_case"]

# name -> its module, imported when it is asked for; as text, since code that imports it would decide every result
_LAZY = {
    "attack": "touchstone.api",
    "load_run": "touchstone.findings.results",
    "worst_case": "touchstone.api",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
