"""The files of a plan: what a run leaves, part by part, and the names in their paths."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from touchstone import paths
from touchstone.cell import ModelId
from touchstone.files import Rule
from touchstone.paths import FORMS, AttackFiles, SelectionFiles
from touchstone.plan import build
from touchstone.plan.jobs import Drawing
from touchstone.plan.plan import Plan
from touchstone.plan.reach import NOBODY_ASKED
from touchstone.report.plots import FEATURES, PLOTS, POINTS
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
        "figure": (one.name for study in plan.studies for one in of_features(plan, study)),
    }
    return {wildcard: _one_of(values) for wildcard, values in names.items()}


def _one_of(names: Iterable[object]) -> str:
    return "|".join(map(re.escape, sorted(set(map(str, names))))) or "(?!)"  # which nothing matches


def fetched(plan: Plan, dataset: str) -> list[Path]:
    """Return what says that a dataset's raw files have come in; nothing of embedded data, which have none."""
    return [] if build.source(plan, dataset) == "embedded" else [paths.raw(dataset).fetched]


def selections(plan: Plan, models: Iterable[ModelId]) -> list[SelectionFiles]:
    """Return what choices of constants leave, each once for all seeds."""
    return sorted({plan.results.selection(m) for m in models if plan.selects(m)})


def batches(plan: Plan, models: Iterable[ModelId]) -> list[AttackFiles]:
    """Return what every batch of attacks on some models leaves."""
    return [plan.results.attack(m, b) for m in models for b in plan.batches(m)]


def tables(plan: Plan, study: str) -> list[Path]:
    """Return every table of a study, their sums, and what produced them."""
    files = (file for name in RESULT_TABLES for file in table(plan, study, name))
    return [*dict.fromkeys(files), plan.results.provenance(study)]


def table(plan: Plan, study: str, name: str) -> list[Path]:
    """Return what is read of one table of a study: the table, and the sums of all of them."""
    path = plan.results.table(study, name)
    return [path, paths.sums_beside(path)]


def claims(plan: Plan) -> list[Path]:
    """Return what is said of all studies together, the papers' tables in their own shape and all forms among it."""
    shown = ((study, table) for study, definition in plan.studies.items() for table in definition.tables)
    papers = (file for place in shown for file in plan.results.paper(*place))
    return [plan.results.claims, plan.results.provenance(), *papers]


def figures(plan: Plan, study: str) -> list[Path]:
    """Return every figure of a study in each of its forms."""
    return [plan.results.figure(study, name, form) for name in plan.studies[study].figures for form in FORMS]


def of_features(plan: Plan, study: str) -> list[Drawing]:
    """Return the figures of a study that draw features, and have models in this run to draw them of."""
    drawings = build.figures_job(plan, study).drawings
    return [one for one in drawings if PLOTS[one.plot].data == FEATURES and any(kind.models for kind in one.shown)]


def features(plan: Plan, study: str) -> list[Path]:
    """Return what is kept of features for the figures of a study."""
    return [file for one in of_features(plan, study) for file in plan.results.features(study, one.name)]


def measured(plan: Plan, study: str) -> list[Path]:
    """Return what is measured of features for the figures of a study."""
    return [plan.results.features(study, one.name).measured for one in of_features(plan, study)]


def drawn(plan: Plan, study: str) -> list[Path]:
    """Return what the figures of a study are drawn from."""
    return list(dict.fromkeys(file for one in build.figures_job(plan, study).drawings for file in _read(plan, one)))


def _read(plan: Plan, drawing: Drawing) -> Iterator[Path]:
    """Yield the files of one figure: those of its models, with its attacks on them, or its table."""
    data = PLOTS[drawing.plot].data
    if data in RESULT_TABLES:
        yield from table(plan, drawing.study, data)
    if data == FEATURES and any(shown.models for shown in drawing.shown):
        yield from plan.results.features(drawing.study, drawing.name)
    for shown in drawing.shown:
        if data == POINTS and shown.models:
            yield from paths.prepared(plan.data(shown.dataset))
        for model, batches in zip(shown.models, shown.batches, strict=True):
            yield from plan.results.model(model)
            for batch in batches:
                yield from plan.results.attack(model, batch)


def questions(plan: Plan) -> list[Path]:
    """Return what people are asked in every study, pages and their key.

    Raises:
        ValueError: if no study asks them anything of what this run attacks.
    """
    if not plan.asking:
        raise ValueError(NOBODY_ASKED)
    return [file for study in plan.asking for file in plan.results.people(study)[:2]]


def asked(plan: Plan, study: str) -> list[Path]:
    """Return what people are asked in a study, if a run writes it by itself: its config says so, or has answers."""
    wanted = study in plan.config.answers or (plan.config.pages and study in plan.asking)
    return [*plan.results.people(study)[:2]] if wanted else []


def shown(plan: Plan, study: str) -> list[Path]:
    """Return the files of the attacks whose images people see in a study."""
    nets = ((net.subject.model, net.batch) for net in build.pages_job(plan, study).nets)
    return [file for model, batch in nets for file in plan.results.attack(model, batch)]


def answered(plan: Plan, study: str) -> list[Path]:
    """Return the files that answers leave, with what was asked; none of a study that has no answers."""
    return [*plan.results.people(study)] if study in plan.config.answers else []


def returned(plan: Plan, study: str) -> list[Path]:
    """Return the files that people have sent back."""
    return paths.returned(Path(plan.config.answers[study]))


def everything(plan: Plan) -> list[Path]:
    """Return all that a run leaves: whatever of it is missing is made again."""
    return [*made(plan)]


def made(plan: Plan) -> dict[Path, Rule]:
    """Return all that a run leaves, and which rule makes it."""
    results, chosen = plan.results, selections(plan, plan.trained)
    by_rule: dict[Rule, Iterable[Iterable[Path]]] = {
        "prepare": map(paths.prepared, (plan.data(model.dataset) for model in plan.trained)),
        "select": ((files.choice, files.weights) for files in chosen),
        "sensitivity": ((files.sensitivity,) for files in chosen),
        "train": map(results.model, plan.trained),
        "attack": batches(plan, plan.models),
        "features": (features(plan, study) for study in plan.studies),
        "pages": (asked(plan, study) for study in plan.studies),
        "answers": (answered(plan, study)[-1:] for study in plan.studies),
        "tables": (tables(plan, study) for study in plan.studies),
        "figures": (figures(plan, study) for study in plan.studies),
        "study_report": map(results.report, plan.studies),
        "summary_report": (results.report(),),
        "claims": (claims(plan),),
        "resolved_config": ((results.config,),),
    }
    return {file: rule for rule, parts in by_rule.items() for file in chain.from_iterable(parts)}
