"""Whether each part of a config reaches something: what it runs only, and what it cuts short."""

from dataclasses import replace
from typing import TYPE_CHECKING

from touchstone.cell import ModelId
from touchstone.study.checks import Checker
from touchstone.study.config import Only, Where
from touchstone.study.schema import begins_with_weights

if TYPE_CHECKING:  # a plan is checked where it is made
    from touchstone.plan.plan import Plan

MODEL_SLOTS = ("dataset", "model", "defense")
NOBODY_ASKED = "no study of this run has `people`, or none of their cells runs: there is no page to write"
WHERE_SLOTS = ("study", *MODEL_SLOTS)


def check_reach(check: Checker, plan: "Plan") -> None:
    """Add to `check` what the config of a plan says for nothing."""
    _only(check, plan)
    _given(check, plan)
    _choosers(check, plan)
    if plan.config.pages and not plan.asking:
        check.add(("pages",), NOBODY_ASKED)
    everything = plan.config.model_copy(update={"only": Only()})
    whole = plan if plan.config == everything else replace(plan, config=everything)
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


def _given(check: Checker, plan: "Plan") -> None:
    """Every model that begins with given weights has some."""
    for model in plan.trained:
        begins = begins_with_weights(plan.studies[model.study], model.defense, model.dataset)
        if begins and plan.weights(model) is None:
            kind = f"{model.dataset}/{model.model}/{model.defense}"
            check.add(("studies",), f"{model.study}: {kind} begins with weights, and the study gives none for it")


def _choosers(check: Checker, plan: "Plan") -> None:
    """Every attack whose choice another one takes runs on all seeds that this runs on."""
    for model in plan.models:
        attacks = plan.attacks(model)
        for attack in attacks:
            source = plan.grid_from(model, attack)
            if source and source not in attacks:
                caps, least = enumerate(plan.config.caps), plan.seeds(model, source)
                number = next(n for n, cap in caps if cap.where.attack == source and cap.seeds == least)
                text = f"{attack!r} takes the choice of {source!r}, which does not run on seed {model.seed} then"
                check.add(("caps", number, "seeds"), f"{model.study}: {text}")


def _missed(whole: "Plan", where: Where) -> str:
    """Say why a cap applies to nothing that the studies run, "" if it applies to something."""
    if not any(_such(model, where) for model in whole.trained):
        return "no study trains such a model"
    if where.attack and not any(where.attack in _attacks(whole, m) for m in whole.models if _such(m, where)):
        return f"no study runs {where.attack!r} on such a model"
    return ""


def _such(model: ModelId, where: Where) -> bool:
    return all(getattr(where, slot) in (None, getattr(model, slot)) for slot in WHERE_SLOTS)


def _attacks(whole: "Plan", model: ModelId) -> list[str]:
    """Return the attacks on a model, with that of the selection of its options."""
    criterion = whole.studies[model.study].selection
    return [*whole.attacks(model), *([criterion.probe] if criterion and whole.selects(model) else [])]
