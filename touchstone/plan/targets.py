"""The files of a plan: what a run leaves, part by part, and the names in their paths."""

import re
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from touchstone import paths
from touchstone.cell import ModelId
from touchstone.paths import AttackFiles, SelectionFiles
from touchstone.plan.plan import Plan
from touchstone.study.schema import RESULT_TABLES


def wildcards(plan: Plan) -> dict[str, str]:
    """Return for each wildcard the regular expression of its names in this run, and of nothing else."""
    names: dict[str, Iterable[object]] = {
        "study": plan.studies,
        "dataset": chain.from_iterable((m.dataset, plan.data(m.dataset)) for m in plan.trained),
        "model": (m.model for m in plan.trained),
        "defense": (m.defense for m in plan.trained),
        "seed": (m.seed for m in plan.trained),
        "batch": chain.from_iterable(plan.batches(m) for m in plan.models),
        "figure": chain.from_iterable(s.figures for s in plan.studies.values()),
    }
    return {wildcard: _one_of(values) for wildcard, values in names.items()}


def _one_of(names: Iterable[object]) -> str:
    return "|".join(map(re.escape, sorted(set(map(str, names))))) or "(?!)"  # which nothing matches


def selections(plan: Plan, models: Iterable[ModelId]) -> list[SelectionFiles]:
    """Return what choices of constants leave, each once for all seeds."""
    return sorted({plan.results.selection(m) for m in models if plan.selects(m)})


def batches(plan: Plan, models: Iterable[ModelId]) -> list[AttackFiles]:
    """Return what every batch of attacks on some models leaves."""
    return [plan.results.attack(m, b) for m in models for b in plan.batches(m)]


def tables(plan: Plan, study: str) -> list[Path]:
    """Return every table of a study, and their sums."""
    return list(dict.fromkeys(file for name in RESULT_TABLES for file in table(plan, study, name)))


def table(plan: Plan, study: str, name: str) -> list[Path]:
    """Return what is read of one table of a study: the table, and the sums of all of them."""
    path = plan.results.table(study, name)
    return [path, paths.sums_beside(path)]


def paper(plan: Plan) -> list[Path]:
    """Return the papers' tables in their own shape, each in each of its forms."""
    shown = ((study, table) for study, definition in plan.studies.items() for table in definition.tables)
    return [file for place in shown for file in plan.results.paper(*place)]


def figures(plan: Plan, study: str) -> list[Path]:
    """Return every figure of a study in each of its forms."""
    return [plan.results.figure(study, name, form) for name in plan.studies[study].figures for form in ("svg", "png")]


def everything(plan: Plan) -> list[Path]:
    """Return all that a run leaves: whatever of it is missing is made again."""
    results = plan.results
    made = [
        *map(paths.prepared, dict.fromkeys(plan.data(model.dataset) for model in plan.trained)),
        *map(results.model, plan.trained),
        *selections(plan, plan.trained),
        *batches(plan, plan.models),
        *map(results.report, ["", *plan.studies]),
        *(part(plan, study) for study in plan.studies for part in (tables, figures)),
        paper(plan),
        (results.claims, results.config, results.provenance),
    ]
    return list(chain.from_iterable(made))
