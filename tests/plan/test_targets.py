"""What a run leaves, and the names in its paths."""

import re
from pathlib import Path

import pytest

from touchstone import paths
from touchstone.paths import sums_beside
from touchstone.plan import targets
from touchstone.plan.plan import Plan, make_plan
from touchstone.study.schema import RESULT_TABLES


@pytest.fixture(scope="module")
def plan(root: Path) -> Plan:
    return make_plan(root, root / "tests" / "config.yaml")


def test_everything_is_every_file_once(plan: Plan) -> None:
    asked, results = targets.everything(plan), plan.results
    assert len(asked) == len(set(asked))
    for model in plan.trained:
        assert {*results.model(model)} <= set(asked)
        assert plan.selects(model) == ({*results.selection(model)} <= set(asked))
    for model in plan.models:
        assert {file for batch in plan.batches(model) for file in results.attack(model, batch)} <= set(asked)
    for study in plan.studies:
        assert {*targets.tables(plan, study), *targets.figures(plan, study), *results.report(study)} <= set(asked)
        shown = {file for table in plan.studies[study].tables for file in results.paper(study, table)}
        assert shown
        assert shown <= {*targets.paper(plan)} <= {*asked}
    assert {*results.report(), results.claims, results.config, results.provenance} <= set(asked)
    prepared = {file for model in plan.trained for file in paths.prepared(plan.data(model.dataset))}
    assert prepared == {file for file in asked if not file.is_relative_to(results.root)}, "raw files serve nothing else"


def test_what_is_trained_and_never_attacked_is_asked_for_too(project: Path, root: Path) -> None:
    """Such as a net that a transfer starts from: history.csv of it is an output that no other job reads."""
    study, old = (
        project / "studies/minmax/study.yaml",
        "mim40-linf: {fn: mim, threat: linf, steps: 40, step_size: 0.01, decay: 1.0}",
    )
    text = study.read_text()
    assert old in text
    study.write_text(text.replace(old, "mim40-linf: {fn: transfer, threat: linf, substitute: lenet/std+l1}"))
    plan = make_plan(project, root / "tests" / "config.yaml")
    (alone,) = set(plan.trained) - set(plan.models)
    assert (alone.defense, alone.seed) == ("std+l1", 1)
    assert {*plan.results.model(alone), *plan.results.selection(alone)} <= set(targets.everything(plan))


def test_tables_and_figures_are_all_of_a_study(plan: Plan) -> None:
    tables = {plan.results.table("minmax", name) for name in RESULT_TABLES}
    assert set(targets.tables(plan, "minmax")) == {*tables, *map(sums_beside, tables)}
    assert len(targets.tables(plan, "minmax")) == len(tables) + 1
    shown = targets.figures(plan, "minmax")
    assert len(shown) == 2 * len(plan.studies["minmax"].figures)
    assert {file.suffix for file in shown} == {".svg", ".png"}


def test_a_choice_is_made_once_for_all_seeds(plan: Plan) -> None:
    chosen = next(m for m in plan.trained if plan.selects(m))
    both = [chosen, chosen._replace(seed=1)]
    assert targets.selections(plan, both) == [plan.results.selection(chosen)]


def test_wildcards_are_names_of_the_run_and_nothing_else(plan: Plan) -> None:
    allowed = targets.wildcards(plan)
    for model in plan.trained:
        for slot, name in model._asdict().items():
            assert re.fullmatch(allowed[slot], str(name))
    assert re.fullmatch(allowed["dataset"], "digits"), "what stands in"
    assert not re.fullmatch(allowed["defense"], "stdd")
    assert not re.fullmatch(allowed["defense"], "stdddd+l1")


def test_nothing_is_no_name(plan: Plan) -> None:
    empty = Plan(plan.root, plan.config, {}, plan.suites, {})
    for pattern in targets.wildcards(empty).values():
        assert not any(re.fullmatch(pattern, name) for name in ("", "none"))
