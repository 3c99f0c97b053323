"""Whether each part of a config reaches something: what it runs only, and what it cuts short."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from touchstone.cell import ModelId
from touchstone.study.checks import Checker
from touchstone.study.config import Only, Where

if TYPE_CHECKING:  # a plan is checked where it is made
    from touchstone.plan.plan import Plan

MODEL_SLOTS = ("dataset", "model", "defense")


def check_reach(check: Checker, plan: "Plan") -> None:
    """Add to `check` what the config of a plan says for nothing."""
    _only(check, plan)
    whole = replace(plan, config=plan.config.model_copy(update={"only": Only()}))
    for number, cap in enumerate(plan.config.caps):
        if why := _missed(whole, cap.where):
            check.add(("caps", number, "where"), why)


def _only(check: Checker, plan: "Plan") -> None:
    """Every name that is to run leaves something to run."""
    only = plan.config.only
    if not plan.models:
        listed = any(names for _, names in only)
        text = "leaves no model of the studies to run" if listed else "no study asks for anything: no claim has a cell"
        check.add(("only",) if listed else ("studies",), text)
        return
    attacks = {attack for model in plan.models for attack in plan.attacks(model)}
    left: dict[str, set[str]] = {f"{slot}s": {getattr(m, slot) for m in plan.models} for slot in MODEL_SLOTS}
    for kind, names in only:
        for number, name in enumerate(names):
            if name not in left.get(kind, attacks):
                check.add(("only", kind, number), f"{name!r} reaches nothing: no study runs it with the others listed")


def _missed(whole: "Plan", where: Where) -> str:
    """Say why a cap applies to nothing that the studies run, "" if it applies to something."""
    models = [m for m in whole.trained if all(getattr(where, s) in (None, getattr(m, s)) for s in MODEL_SLOTS)]
    if not models:
        return "no study trains such a model"
    if where.attack and not any(where.attack in _attacks(whole, model) for model in models):
        return f"no study runs {where.attack!r} on such a model"
    return ""


def _attacks(whole: "Plan", model: ModelId) -> Iterator[str]:
    """Attacks on a model, those of the selection of its options included."""
    if model._replace(seed=0) in whole.models:
        yield from whole.attacks(model)
    criterion = whole.studies[model.study].selection
    if criterion and whole.selects(model):
        yield criterion.probe
