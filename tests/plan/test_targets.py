"""What a run leaves, and the names in its paths."""

import re
from pathlib import Path

import pytest

from touchstone import paths
from touchstone.cell import ModelId
from touchstone.paths import sums_beside
from touchstone.plan import build, cost, targets
from touchstone.plan.plan import Plan, make_plan
from touchstone.study.config import ConfigError
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
        assert shown <= {*targets.claims(plan)} <= {*asked}
    assert {*results.report(), results.claims, results.config, results.provenance()} <= set(asked)
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
    beside = {*map(sums_beside, tables), plan.results.provenance("minmax")}
    assert set(targets.tables(plan, "minmax")) == tables | beside
    assert len(targets.tables(plan, "minmax")) == len(tables) + 2
    shown = targets.figures(plan, "minmax")
    assert len(shown) == 3 * len(plan.studies["minmax"].figures)
    assert {file.suffix for file in shown} == {".svg", ".pdf", ".png"}


def test_features_are_kept_for_figures_that_have_models_here(laptop: Plan) -> None:
    names = {study: [one.name for one in targets.of_features(laptop, study)] for study in laptop.studies}
    assert {study: found for study, found in names.items() if found} == {
        "pcloss": ["figure3"],  # figure 1 is of CIFAR-10
        "weightpen": ["features-mnist"],
    }
    kept = {*laptop.results.features("pcloss", "figure3")}
    assert kept == set(targets.features(laptop, "pcloss"))
    assert kept <= set(targets.everything(laptop)) & set(targets.drawn(laptop, "pcloss"))
    assert re.fullmatch(targets.wildcards(laptop)["figure"], "features-mnist")
    job = build.features_job(laptop, "pcloss", "figure3")
    assert [net.subject.model.defense for net in job.nets] == ["ce", "pc-printed"]
    (one,) = job.nets[0].attacks
    assert (one.attack, one.threat and one.threat.epsilons, one.samples) == ("fgsm-linf", (0.3,), 2000)


def test_a_gallery_reads_the_images_and_what_attacks_keep(laptop: Plan) -> None:
    read = set(targets.drawn(laptop, "margin"))
    assert {*paths.prepared("mnist")} <= read
    assert {*laptop.results.attack(ModelId("margin", "mnist", "mlp-1000", "at-fgsm", 0), "all")} <= read


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


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Plan:
    """The critic's study with answers to one page of 40 images."""
    folder = tmp_path_factory.mktemp("asking")
    for name in ("b.csv", "a.csv", "notes.txt"):
        (folder / name).touch()
    text = (root / "tests" / "config.yaml").read_text()
    text = text.replace("[minmax]", "[critic]").replace("defenses: [std, adv, minmax-printed]", "defenses: [std]")
    text = text.replace(", cifar10: digits-rgb", "").replace("samples: 30,", "samples: 40, assignments: 2,")
    (folder / "config.yaml").write_text(f"{text}\nanswers: {{critic: {folder}}}\n")
    return make_plan(root, folder / "config.yaml")


def test_the_attack_keeps_as_many_images_as_people_see(asking: Plan) -> None:
    job, attack = build.pages_job(asking, "critic"), "high-confidence-l2"
    assert [(net.subject.model.model, net.attack, net.images) for net in job.nets] == [
        ("lenet-512", attack, 40),
        ("mlp-1200", attack, 40),
    ]
    assert job.per_page == 25
    net = job.nets[0].subject.model
    assert [build.attack_job(asking, net, name).examples for name in ("clean", attack)] == [16, 40]
    assert asking.shown(net._replace(seed=1), attack) == 0, "the thesis shows one net of a kind"


def test_answers_are_read_where_the_config_has_some(asking: Plan, plan: Plan) -> None:
    people = asking.results.people("critic")
    assert targets.questions(asking) == [people.pages, people.key]
    assert [path.name for path in targets.returned(asking, "critic")] == ["a.csv", "b.csv"]
    assert {*people} <= set(targets.everything(asking))
    assert targets.answered(plan, "minmax") == []
    with pytest.raises(ValueError, match="no study of this run has `people`"):
        targets.questions(plan)


def test_the_demo_writes_what_people_are_asked_and_fetches_nothing(root: Path, tmp_path: Path) -> None:
    demo = make_plan(root, root / "config.yaml")
    made, people = targets.made(demo), demo.results.people("critic")
    assert made[people.pages] == made[people.key] == "pages"
    assert people.answers not in made
    assert targets.fetched(demo, "digits") == []
    text = (root / "tests" / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(f"{text}\npages: true\n")
    with pytest.raises(ConfigError, match=r"config.yaml:\d+: pages: no study of this run has `people`"):
        make_plan(root, tmp_path / "config.yaml")


def test_a_run_has_fifty_jobs_at_most_by_default(root: Path) -> None:
    """A job costs seconds before it does anything; `all` does nothing."""
    demo = make_plan(root, root / "config.yaml")
    *jobs, _ = [*(job for study in demo.studies for job in cost.study_jobs(demo, study)), *cost.shared_jobs(demo)]
    assert len(jobs) <= 50
