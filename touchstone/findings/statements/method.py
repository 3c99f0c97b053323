"""How one test of a statement is asked."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from touchstone.findings.statements.comparisons import Check


class Method(NamedTuple):
    """What a test compares, and whether an attacker has a say in it.

    Attributes:
        checks: (scope, *words) -> comparisons.
        attacked: whether it is asked in the worst case too.
    """

    checks: Callable[..., Iterator[Check]]
    attacked: bool = True
