"""An attack or a suite on a tiny net: its records, examples, and what is said beside them."""

from typing import Any

import pandas as pd
import pytest
import torch
from tiny_nets import samples
from torch import nn

from touchstone.evaluation import block as blocks
from touchstone.evaluation import cascade, probes, published
from touchstone.evaluation.result import Member, Result
from touchstone.registry import AttackSpec
from touchstone.threat import Threat

EPSILONS = (0.01, 0.03, 0.1)
LINF = Threat("linf", EPSILONS)
PGD = {"steps": 10, "step_size": 0.01}
MEMBERS = [
    {"slug": "pgd-ce", "fn": "pgd", "options": {**PGD, "loss": "ce"}},
    {"slug": "pgd-margin", "fn": "pgd", "options": {**PGD, "loss": "margin"}},
    {"slug": "deepfool", "fn": "deepfool", "options": {"steps": 20}},
    {"slug": "square", "fn": "square", "options": {"queries": 60}},
]
L0 = Threat("l0", (0.0, 1.0, 3.0))
ONE_PIXEL = {"steps": 5, "population": 20}
SIZES = [0.001, 0.02, 0.05]
STRAIGHT = {"steps": 3, "random_start": False}


Found = tuple[pd.DataFrame, dict[str, torch.Tensor], dict[str, Any]]


def plain(result: Result) -> Found:
    """Records, examples, and what is said beside them."""
    beside = {"flags": result.flags, "grid": result.grid, "doubled_steps_gain": result.doubled_steps_gain}
    return result.records, result.examples, {k: v for k, v in beside.items() if v or k == "flags"}


def attack(model: nn.Module, fn: str = "pgd", threat: Threat | None = LINF, **changes: Any) -> Found:
    x, y = (changes.pop("x"), changes.pop("y")) if "x" in changes else samples(model)
    member = Member(changes.pop("slug", fn), fn, changes.pop("options", {}))
    values = {"seed": 0, "batch_size": 512, **changes}
    if values.pop("protocol", "published") == "worst":
        values["full_range"] = values.pop("probes", False)
        return plain(cascade.run(model, x, y, [member], threat=threat, **values))
    return plain(published.run(model, x, y, member, threat=threat, **{"probes": False, **values}))


def suite(model: nn.Module, members: list[dict] = MEMBERS, threat: Threat = LINF, **changes: Any) -> Found:
    x, y = (changes.pop("x"), changes.pop("y")) if "x" in changes else samples(model)
    values = {"seed": 0, "batch_size": 512, "full_range": changes.pop("probes", False), **changes}
    return plain(cascade.run(model, x, y, [Member(**m) for m in members], threat=threat, **values))


def at(table: pd.DataFrame, epsilon: float) -> pd.Series:
    """Which samples are broken at an epsilon."""
    rows = table[table["epsilon"] == epsilon]
    return rows.groupby("sample")["success"].any()


def watch(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Return the list that will hold the options of every attack that is run."""
    asked, real = [], blocks.propose

    def propose(block: Any, spec: AttackSpec, options: dict, **more: Any) -> Any:
        asked.append(options)
        return real(block, spec, options, **more)

    for module in (published, cascade, probes):
        monkeypatch.setattr(module, "propose", propose)
    return asked


def confident(table: pd.DataFrame, goal: pd.Series | float) -> pd.Series:
    return (table["adv_pred"] != table["label"]) & (table["adv_conf"] >= goal - 2.5e-4)
