"""What a plan says that a run costs."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest
from shipped import planned

from touchstone.attacks import ATTACKS, twice_the_steps
from touchstone.cell import ModelId
from touchstone.data import DATASETS
from touchstone.plan import build, cost
from touchstone.plan.passes import Count
from touchstone.plan.plan import Plan, make_plan
from touchstone.plan.units import UNITS, Key, Unit, read

STD = ModelId("minmax", "mnist", "lenet", "std", 0)
DIGITS = DATASETS["digits"]
UNIT = Unit(parameters=10, forward=1.0, gradient=3.0, step=5.0)
Replanned = Callable[[Sequence[tuple[str, str]]], Plan]


@pytest.fixture
def plan(root: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The demo where every image of every net costs 1, 3 or 5 seconds, and what is no pass nothing."""
    made = make_plan(root, root / "tests" / "minmax.yaml")
    measured = {Key.of("lenet", {}, DATASETS[data].shape): UNIT for data in ("digits", "digits-rgb")}
    monkeypatch.setattr(cost, "units", lambda: measured)
    for name in ("START", "JUDGED"):
        monkeypatch.setattr(cost, name, 0.0)
    monkeypatch.setattr(cost, "LEFT", 1.0)
    return made


@pytest.fixture
def replanned(root: Path, tmp_path: Path) -> Replanned:
    """The demo with lines of the study replaced."""

    def plan(edits: Sequence[tuple[str, str]]) -> Plan:
        shutil.copytree(root / "studies", tmp_path / "studies")
        file = tmp_path / "studies" / "minmax" / "study.yaml"
        text = file.read_text()
        for old, new in edits:
            assert old in text, "the test no longer fits the shipped file"
            text = text.replace(old, new)
        file.write_text(text)
        return make_plan(tmp_path, root / "tests" / "minmax.yaml")

    return plan


def spent(plan: Plan, attack: str, model: ModelId = STD) -> float:
    """Seconds of an attack, without what its job does besides."""
    job = build.attack_job(plan, model, attack)
    data = plan.dataset(plan.data(model.dataset))
    runs = cost.suite if job.protocol == "worst" else cost.alone
    return sum(cost.run(*one, data, build.net(plan, model)) for one in runs(job, data))


def test_seconds_are_passes_times_what_they_take() -> None:
    assert cost.seconds(Count(forward=2, backward=1, weights=1), UNIT) == 2 * 1 + (3 - 1) + (5 - 1)


def test_a_training_costs_its_epochs(plan: Plan) -> None:
    """A step of 5 for each of 1,377 images, and their accuracy after each epoch."""
    _, fit = cost.training(plan, STD)
    (phase,) = build.train_job(plan, STD).phases
    assert fit.seconds == phase.epochs * (1377 * 5 + 1377 * 1)


def test_a_selection_costs_a_training_for_the_reference_and_for_each_candidate(plan: Plan) -> None:
    model = next(m for m in plan.trained if plan.selects(m))
    job, shown = build.select_job(plan, model), build.sensitivity_job(plan, model)
    _, *fits, probe = cost.selection(plan, model)
    assert len(fits) == 1 + len(job.candidates)
    assert {fit.seconds for fit in fits} == {job.phases[0].epochs * 1377 * 6}
    assert probe.seconds > len(fits) * shown.probe.samples * len(shown.probe.threat.epsilons)


def test_a_published_attack_costs_each_radius_and_twice_the_steps_on_some_images(plan: Plan) -> None:
    job = build.attack_job(plan, STD, "pgd40-linf")
    (member,) = job.members
    radii, steps = len(job.threat.epsilons), member.options["steps"]
    once, twice = (3 * (n * steps) + 1 + 1 for n in (1, 2))  # looked at once more by the attack, and by the judge
    assert spent(plan, "pgd40-linf") == job.samples * radii * (once + twice)


def test_an_attack_without_steps_is_not_run_with_twice_as_many(plan: Plan) -> None:
    job = build.attack_job(plan, STD, "fgsm-linf")
    assert spent(plan, "fgsm-linf") == job.samples * len(job.threat.epsilons) * (3 + 1)


def test_a_minimal_norm_attack_runs_once_for_all_radii(plan: Plan) -> None:
    job = build.attack_job(plan, STD, "cw-l2")
    (member,) = job.members
    passes = 1 + 3 * member.options["steps"] * member.options["binary_steps"]
    assert spent(plan, "cw-l2") == pytest.approx(job.samples * (member.spec.usual * passes + 1))


def test_each_choice_of_a_grid_is_a_run(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    before = spent(plan, "pgd40-linf")
    job = build.attack_job(plan, STD, "pgd40-linf")
    member = replace(job.members[0], grid={"step_size": [0.1, 0.2], "loss": ["ce", "margin", "dlr"]})
    gridded = replace(job, members=(member,))
    twice = [times for _, more, times in cost.alone(job, DIGITS) if "steps" in more]
    assert len(list(cost.alone(gridded, DIGITS))) == 6 + len(twice)
    monkeypatch.setattr(build, "attack_job", lambda *_: gridded)
    assert spent(plan, "pgd40-linf") > before
    taken = replace(gridded, chosen_by=job)
    assert len(list(cost.alone(taken, DIGITS))) == 1 + len(twice), "the choice of another is taken over"


def test_a_worst_case_is_the_sum_of_its_members(plan: Plan) -> None:
    job = build.attack_job(plan, STD, "worst-linf")
    runs = [(member.slug, times) for member, _, times in cost.suite(job, DIGITS)]
    radii = len(job.threat.epsilons)
    members = [(m.slug, 60 * (radii if m.spec.kind == "fixed" else 1)) for m in job.members]
    assert runs == [*members, (job.members[0].slug, 60)]  # and once more at radius 0.5


def test_what_is_not_measured_is_named_and_no_part_of_a_sum(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cost.costs(plan)[0].training
    monkeypatch.setattr(cost, "units", lambda: {Key.of("lenet", {}, (1, 28, 28)): UNIT})
    (row, shared) = cost.costs(plan)
    assert row.lacks == ("net lenet on 3x32x32: not measured",)
    assert 0 < row.training < whole
    assert shared.lacks == ()
    assert cost.total([row, shared]).lacks == row.lacks


def test_the_users_own_attack_and_objective_are_named(replanned: Replanned) -> None:
    plan = replanned([("{fn: fgsm, threat: linf}", '{fn: "toy_attacks:wrapper", threat: linf}')])
    lacks = cost.costs(plan)[0].lacks
    assert lacks == ("attack toy_attacks:wrapper: which passes it takes is not said",)


def test_every_net_of_the_shipped_runs_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "units", cache(partial(read, UNITS)))  # whatever this machine has measured
    for name in ("config.yaml", "configs/laptop.yaml", "configs/cifar10.yaml", "configs/paper.yaml"):
        lacks = cost.total(cost.costs(planned(name))).lacks
        assert not lacks, f"{name}: python -m benchmarks units measures the nets of the studies"


def test_jobs_are_counted_by_what_they_leave(plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    row, shared = cost.costs(plan)
    assert (row.trainings, row.attacks, row.done) == (len(plan.trained), 136, 0)
    for files in cost.study_jobs(plan, "minmax")[:3]:
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    assert cost.costs(plan)[0].done == 3
    cost.study_jobs(plan, "minmax")[0][-1].unlink()
    assert cost.costs(plan)[0].done == 2, "a job of which a file is missing is not done"
    everything = {f for made in (cost.study_jobs(plan, "minmax"), cost.shared_jobs(plan)) for fs in made for f in fs}
    assert set(cost.targets.everything(plan)) <= everything
    assert row.jobs + shared.jobs == 45, "of a plan of which the datasets are embedded"


def test_what_the_code_does_besides_is_what_the_code_says() -> None:
    """A plan may not import what runs, so it has these numbers of its own."""
    from touchstone.evaluation import flags, preflight, probes
    from touchstone.training import loop

    assert (cost.TRAIN_PROBE, cost.PROBED, cost.NOISE_DRAWS) == (loop.TRAIN_PROBE, probes.PROBED, probes.NOISE_DRAWS)
    assert (cost.FULL_RANGE, cost.PROBED) == (flags.FULL_RANGE, preflight.SAMPLES)


def test_an_attack_whose_steps_nobody_can_read_is_not_doubled() -> None:
    spec = replace(ATTACKS["fgsm"], fn="toy_attacks:steps_by_name")
    assert twice_the_steps(spec, {}, cost._steps) is None
    assert twice_the_steps(spec, {"steps": 3}, cost._steps) == {"steps": 6}
