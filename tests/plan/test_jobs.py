"""Jobs become plain data and come back; what decides rows decides what they are kept under."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from touchstone import provenance
from touchstone.plan import build
from touchstone.plan.jobs import (
    BatchJob,
    ClaimsJob,
    FeaturesJob,
    FetchJob,
    FiguresJob,
    Job,
    Net,
    PrepareJob,
    ReportJob,
    SelectJob,
    SensitivityJob,
    TrainJob,
    WriteJob,
)
from touchstone.plan.plan import Plan, make_plan
from touchstone.plan.tables import TablesJob


@pytest.fixture(scope="module")
def plan(root: Path) -> Plan:
    return make_plan(root, root / "configs" / "laptop.yaml")


@pytest.fixture(scope="module")
def jobs(plan: Plan, root: Path) -> list[Job]:
    """One of each kind, and every training and batch of a run."""
    demo = make_plan(root, root / "tests" / "minmax.yaml")
    chosen = next(m for m in demo.models if demo.selects(m))
    return [
        *(build.train_job(plan, m) for m in plan.trained),
        *(build.batch_job(plan, m, b) for m in plan.models for b in plan.batches(m)),
        build.select_job(demo, chosen),
        build.sensitivity_job(demo, chosen),
        build.tables_job(demo, "minmax"),
        build.figures_job(demo, "minmax"),
        build.features_job(plan, "pcloss", "figure3"),
        build.report_job(demo, "minmax"),
        build.report_job(demo),
        build.fetch_job("mnist"),
        build.prepare_job("mnist"),
        build.claims_job(demo),
        build.answers_job(),
    ]


def test_a_job_comes_back_from_plain_data(jobs: list[Job]) -> None:
    for job in jobs:
        params = job.to_params()
        assert params == json.loads(json.dumps(params))
        assert type(job).from_params(params) == job
    kinds = {
        BatchJob,
        ClaimsJob,
        FeaturesJob,
        FetchJob,
        FiguresJob,
        PrepareJob,
        ReportJob,
        SelectJob,
        SensitivityJob,
    }
    kinds |= {TablesJob, TrainJob, WriteJob}
    assert {type(job) for job in jobs} == kinds


def test_a_job_stops_if_its_code_has_changed(jobs: list[Job]) -> None:
    params = jobs[0].to_params()
    params["code"]["digest"] = "0" * 16
    with pytest.raises(RuntimeError, match="changed while the run was going on"):
        TrainJob.from_params(params)


def batch(plan: Plan, defense: str = "pc-printed") -> BatchJob:
    return build.batch_job(plan, next(m for m in plan.models if m.defense == defense), "all")


def test_attacks_are_kept_under_everything_that_decides_their_rows(plan: Plan) -> None:
    job = batch(plan)
    attack = job.attacks[-1]
    files = {"data": "1", "model": "2"}
    same = job.key(attack, **files)
    assert job.key(attack, **dict(reversed(files.items()))) == same
    others = [
        job.key(attack, data="1", model="3"),
        replace(job, threads=2).key(attack, **files),
        replace(job, batch_size=7).key(attack, **files),
        replace(job, net=Net("lenet5", "dataset", {})).key(attack, **files),
        *(
            job.key(replace(attack, **{field.name: None}), **files)
            for field in fields(attack)
            if getattr(attack, field.name) is not None
        ),
    ]
    assert len({same, *others}) == 1 + len(others)
    # where it stands in a batch, and what else is in it, decides nothing
    assert replace(job, attacks=(attack,)).key(attack, **files) == same


def test_equal_code_is_read_once(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    asked = []
    digest = provenance.digest
    monkeypatch.setattr(provenance, "digest", lambda *targets: asked.append(targets) or digest(*targets))
    build._code.cache_clear()
    fresh = make_plan(root, root / "configs" / "laptop.yaml")
    build.config_job(fresh)
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("job", ["train", "attack", "select", "sensitivity"])
def test_what_trains_and_attacks_reaches_nothing_that_reads_a_study(job: str) -> None:
    """Or a new key of study.yaml would run it again."""
    wings = {module.split(".")[1] for module in provenance.reached([f"touchstone.jobs.{job}"]) if "." in module}
    assert "jobs" in wings
    assert not wings & {"study", "report"}


def test_what_only_shows_the_sensitivity_decides_no_choice(root: Path) -> None:
    """Neither another probe nor its code, nor how many samples it sees."""
    plan = make_plan(root, root / "tests" / "config.yaml")
    study, model = plan.studies["minmax"], next(m for m in plan.models if plan.selects(m))
    other = study.selection.model_copy(update={"probe": "mim40-linf", "probe_samples": 7})
    shown = study.near_zero.model_copy(update={"headline": study.near_zero.thresholds[-1]})
    study = study.model_copy(update={"selection": other, "near_zero": shown})
    config = plan.config.model_copy(update={"batch_size": 7})
    changed = replace(plan, config=config, studies={"minmax": study})
    assert build.sensitivity_job(changed, model) != build.sensitivity_job(plan, model)
    assert build.select_job(changed, model) == build.select_job(plan, model)
    assert build.train_job(changed, model) == build.train_job(plan, model)


def test_a_batch_is_in_its_job(plan: Plan) -> None:
    model = plan.models[0]
    assert [build.batch_job(plan, model, name).batch for name in plan.batches(model)] == list(plan.batches(model))


def test_all_that_decides_a_table_is_in_its_job(root: Path) -> None:
    plan = make_plan(root, root / "tests" / "minmax.yaml")
    study, job = plan.studies["minmax"], build.tables_job(plan, "minmax")
    assert (job.near_zero, job.reference, job.tables, job.labels) == (
        *(study.near_zero, study.selection.reference, study.tables, study.labels),
    )
    assert set(job.slugs["defense"]) == set(study.defenses)
    assert job.to_params()["near_zero"]["headline"] == 0.01
    assert job.readings == study.readings
    assert type(job).from_params(job.to_params()) == job
