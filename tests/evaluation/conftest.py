"""Attacks that a test puts into the table."""

from typing import Any

import pytest

from touchstone.attacks import ATTACKS
from touchstone.registry import AttackSpec


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Any:
    def add(name: str, **facts: Any) -> str:
        facts = {"fn": f"tiny_nets:{name}", "norms": ("linf", "l2"), "source": "test", **facts}
        monkeypatch.setitem(ATTACKS, name, AttackSpec(**facts))
        return name

    return add
