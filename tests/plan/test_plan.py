"""The plan: claims and cells decide what runs, caps decide how much."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from touchstone.attacks import ATTACKS
from touchstone.cell import ModelId, ThreatSpec
from touchstone.plan import build
from touchstone.plan.jobs import AttackJob, Net, Objective
from touchstone.plan.plan import Plan, make_plan
from touchstone.registry import EXAMPLES, AttackSpec
from touchstone.study.config import ConfigError
from touchstone.study.schema import MemberDef


@pytest.fixture(scope="module")
def demo(root: Path) -> Plan:
    return make_plan(root, root / "tests" / "minmax.yaml")


class Edit(Protocol):
    def __call__(
        self, *pairs: tuple[str, str], config: Sequence[tuple[str, str]] = (), suites: Sequence[tuple[str, str]] = ()
    ) -> Plan: ...


@pytest.fixture
def edited(root: Path, tmp_path: Path) -> Edit:
    """Plan the demo with lines of the study, the config and the suites replaced."""

    def plan(
        *pairs: tuple[str, str], config: Sequence[tuple[str, str]] = (), suites: Sequence[tuple[str, str]] = ()
    ) -> Plan:
        shutil.copytree(root / "studies", tmp_path / "studies")
        edits = {"studies/minmax/study.yaml": pairs, "config.yaml": config, "studies/worst.yaml": suites}
        for name, changes in edits.items():
            text = (root / ("tests/minmax.yaml" if name == "config.yaml" else name)).read_text()
            for old, new in changes:
                assert old in text, "the test no longer fits the shipped file"
                text = text.replace(old, new, 1)
            (tmp_path / name).write_text(text)
        return make_plan(tmp_path, tmp_path / "config.yaml")

    return plan


def of(plan: Plan, dataset: str, defense: str, seed: int = 0) -> ModelId:
    return next(m for m in plan.models if m == ModelId("minmax", dataset, "lenet", defense, seed))


def attack(plan: Plan, dataset: str, defense: str, name: str) -> AttackJob:
    return build.attack_job(plan, of(plan, dataset, defense), name)


def caps(plan: Plan, dataset: str, defense: str, name: str) -> list[str]:
    """What verdicts are told of caps on an attack, then on the training."""
    cuts = build.tables_job(plan, "minmax").cut_short
    (cut,) = [c for c in cuts if (c.dataset, c.defense, c.attack) == (dataset, defense, name)]
    return [*cut.cut_attack, *cut.cut_model]


def test_every_claimed_model_is_trained_once_per_seed(paper: Plan) -> None:
    models = [m for m in paper.models if m.study == "minmax"]
    names = {(m.dataset, m.defense) for m in models}
    defenses = ("std", "std+l1", "std+l2", "adv", "minmax-printed", "minmax-coded")
    assert names == {(d, f) for d in ("mnist", "cifar10") for f in defenses}
    runs = {"mnist": 10, "cifar10": 3}
    assert len(models) == sum(runs[dataset] for dataset, _ in names)


def test_only_claimed_attacks_and_the_worst_case_run(paper: Plan) -> None:
    headline = paper.attacks(of(paper, "mnist", "minmax-printed"))
    assert {"clean", "fgsm-linf", "cw-l2", "pgd40-linf-px", "worst-linf", "worst-l2"} <= set(headline)
    # a reading of defenses is not crossed with a reading of attacks
    coded = paper.attacks(of(paper, "mnist", "minmax-coded"))
    assert "pgd40-linf" in coded
    assert "pgd40-linf-px" not in coded
    assert paper.attacks(of(paper, "mnist", "adv")) == ["clean", "worst-linf", "worst-l2"]


def test_stand_ins_keep_the_recipe_of_the_dataset_they_stand_for(demo: Plan) -> None:
    job = build.train_job(demo, of(demo, "cifar10", "std"))
    assert (job.subject.model.dataset, job.subject.stand_in, job.subject.data) == ("cifar10", *["digits-rgb"] * 2)
    assert job.phases[0].lr == 0.01
    assert job.facts[0]["shape"] == [3, 32, 32]


def test_no_caps_no_cuts(paper: Plan) -> None:
    job = build.train_job(paper, of(paper, "cifar10", "adv"))
    (phase,) = job.phases
    assert (phase.init, phase.optimizer, phase.lr, phase.epochs, phase.batch_size) == ("fresh", "adam", 0.01, 90, 64)
    assert (phase.schedule, tuple(phase.milestones), phase.gamma) == ("multistep", (30, 60), 0.5)
    assert job.objective.options["eps"] == 0.03
    assert attack(paper, "mnist", "std", "cw-l2").members[0].options["steps"] == 10000
    cuts = [c for c in build.tables_job(paper, "minmax").cut_short if c.cut_model or c.cut_attack or c.cut_size]
    assert cuts == []


def test_the_smallest_matching_cap_counts_and_says_so(laptop: Plan) -> None:
    (phase,) = build.train_job(laptop, of(laptop, "mnist", "adv")).phases
    assert phase.epochs == 5
    words = ["adv: epochs 5 of 10", "adv: attack_steps 10 of 40, each 0.04 instead of 0.01"]
    assert caps(laptop, "mnist", "adv", "clean") == words
    job = attack(laptop, "mnist", "std+l1", "cw-l2")
    assert (job.members[0].options["steps"], job.samples) == (1000, 100)
    assert caps(laptop, "mnist", "std+l1", "cw-l2") == ["cw-l2: steps 1000 of 10000"]


def test_a_cap_of_a_study_leaves_the_others_alone(laptop: Plan) -> None:
    epochs = {m.study: sum(p.epochs for p in build.phases(laptop, m)[0]) for m in laptop.trained if m.defense == "std"}
    assert epochs == {"critic": 3, "minmax": 10}
    assert {s: max(m.seed for m in laptop.models if m.study == s) for s in ("minmax", "margin")} == {
        "minmax": 2,
        "margin": 0,
    }
    on = {m.study: m for m in laptop.models if "deepfool-l2" in laptop.attacks(m)}
    samples = {study: build.attack_job(laptop, model, "deepfool-l2").samples for study, model in on.items()}
    assert samples == {"critic": 1000, "margin": None, "pdpgd": 75}


def test_a_later_phase_goes_on_from_the_one_before_it(edited: Edit) -> None:
    adv = "adv: {fn: adv, phases: [{epochs: 8}, {lr: 0.1, epochs: 4}], "
    plan = edited(("adv: {fn: adv, ", adv))
    phases, words = build.phases(plan, of(plan, "cifar10", "adv"))
    assert [(p.init, p.lr, p.epochs) for p in phases] == [("fresh", 0.01, 5), ("continue", 0.1, 4)]
    assert words == ("adv: epochs 5 of 8",)


def test_fewer_steps_keep_their_reach(laptop: Plan) -> None:
    options = build.train_job(laptop, of(laptop, "mnist", "adv")).objective.options
    assert options["attack_steps"] * options["step_size"] == pytest.approx(40 * 0.01)


def test_seeds_are_capped_per_defense_and_per_attack(laptop: Plan) -> None:
    assert {m.seed for m in laptop.models if m.defense == "std+l1"} == {0, 1, 2}
    assert {m.seed for m in laptop.models if m.defense == "adv"} == {0}
    assert "pgd40-linf-px" in laptop.attacks(of(laptop, "mnist", "std+l1", 0))
    assert "pgd40-linf-px" not in laptop.attacks(of(laptop, "mnist", "std+l1", 1))


def test_seeds_may_differ_by_dataset(paper: Plan) -> None:
    nets = [m for m in paper.trained if m.study == "margin"]
    assert {(m.dataset, m.seed) for m in nets} == {("mnist", s) for s in range(10)} | {("cifar10", s) for s in range(3)}


def test_the_worst_case_covers_both_readings_in_pixels(paper: Plan) -> None:
    """A normalised ball of radius 0.3 holds the pixel ball of radius 0.3 * min(std)."""
    inside = 0.3 * 0.3081
    assert paper.threat(of(paper, "mnist", "std"), "worst-linf") == ThreatSpec("linf", epsilons=(inside, 0.3))
    judges = judged(paper)
    assert judges["mnist", "pgd40-linf"] == [(0.3, "worst-linf", inside)]
    assert judges["mnist", "pgd40-linf-px"] == [(0.3, "worst-linf", 0.3)]
    assert judges["cifar10", "l2bia"] == [(0.03, "worst-l2", 0.03 * 0.1994)]


def test_a_radius_that_two_threats_share_is_read_once(edited: Edit) -> None:
    shared = "linf-px: {norm: linf, space: pixel, epsilons: {mnist: [0.0974101, 0.3], "
    plan = edited(("linf-px: {norm: linf, space: pixel, epsilons: {mnist: [0.3], ", shared))
    assert plan.threat(of(plan, "mnist", "std"), "worst-linf").epsilons == (0.3 * 0.3247, 0.3)


def judged(plan: Plan) -> dict[tuple[str, str], list[tuple[float, str, float]] | str]:
    """(dataset, attack) -> what tests its numbers, or why nothing does."""
    return {
        (w.dataset, w.attack): w.why_not or [(j.epsilon, j.attack, j.radius) for j in w.judges]
        for w in build.tables_job(plan, "minmax").worst
    }


def test_per_dataset_values_are_resolved(paper: Plan) -> None:
    assert build.train_job(paper, of(paper, "mnist", "minmax-coded")).objective.options["layers"] == "conv1"
    assert build.train_job(paper, of(paper, "cifar10", "minmax-coded")).objective.options["layers"] == "conv"
    job = build.train_job(paper, of(paper, "mnist", "minmax-coded", 1))
    assert (job.phases[0].init, job.start) == ("std", of(paper, "mnist", "std", 1))


def test_selection_is_trained_alike_and_reads_no_claim(paper: Plan) -> None:
    job = build.select_job(paper, of(paper, "mnist", "std+l1"))
    assert [c["l1"] for c in job.candidates] == sorted(c["l1"] for c in job.candidates)
    assert job.reference == Objective("ce", {})
    assert (job.phases[0].epochs, job.subject.model.seed) == (3, 1000)
    assert [build.train_job(paper, of(paper, "mnist", d)).selects for d in ("std", "std+l1")] == [False, True]


def test_only_restricts_the_run(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(
        (root / "tests" / "minmax.yaml").read_text() + "\nonly: {datasets: [mnist], defenses: [std, minmax-printed]}\n"
    )
    plan = make_plan(root, path)
    assert plan.models == [of(plan, "mnist", "minmax-printed"), of(plan, "mnist", "std")]


def test_only_may_name_models_and_attacks(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    text = (root / "configs" / "paper.yaml").read_text().replace("pages: true", "pages: false")
    path.write_text(text + "\nonly: {models: [mlp-1000, mlp-1200], attacks: [worst-l2, fgsm-linf]}\n")
    plan = make_plan(root, path)
    assert {m.model for m in plan.models} == {"mlp-1000", "mlp-1200"}
    plain = (("margin", "plain"), ("critic", "std"))
    std = [next(m for m in plan.models if (m.study, m.defense) == one) for one in plain]
    assert [plan.attacks(m) for m in std] == [["clean", "fgsm-linf", "worst-l2"], ["clean", "worst-l2"]]


CELLS = """
cells:
  - {datasets: [mnist], models: [lenet], defenses: [minmax-coded, adv], attacks: [fgsm-linf]}
  - {datasets: [mnist], models: [lenet], defenses: [std+l1]}
"""


def test_cells_run_without_claims(project: Path) -> None:
    path = project / "studies" / "minmax" / "study.yaml"
    text = path.read_text()
    tables = text[text.index("\ntables:") : text.index("\nfigures:")]
    path.write_text(text.replace(tables, "") + CELLS)
    for name in ("claims", "qualitative"):
        path.with_name(f"{name}.csv").unlink()
    config = project / "config.yaml"
    config.write_text(config.read_text().partition("caps:")[0])  # some are for what the claims ask for
    plan = make_plan(project, config)
    assert {m.defense: plan.attacks(m) for m in plan.models} == {
        "minmax-coded": ["clean", "fgsm-linf", "worst-linf", "worst-l2"],
        "adv": ["clean", "fgsm-linf", "worst-linf", "worst-l2"],
        "std+l1": ["clean", "worst-linf", "worst-l2"],
    }
    assert {m.defense for m in plan.trained} == {"minmax-coded", "adv", "std+l1", "std"}  # coded starts from std


def test_cells_add_to_claims(project: Path, demo: Plan) -> None:
    path = project / "studies" / "minmax" / "study.yaml"
    path.write_text(path.read_text() + CELLS)
    plan = make_plan(project, project / "config.yaml")
    assert plan.models == demo.models
    assert "fgsm-linf" in plan.attacks(of(plan, "mnist", "adv"))
    assert "fgsm-linf" not in demo.attacks(of(demo, "mnist", "adv"))


def test_without_cells_the_claims_must_be_there(project: Path) -> None:
    (project / "studies" / "minmax" / "claims.csv").unlink()
    with pytest.raises(ConfigError, match=r"claims\.csv: cannot be read"):
        make_plan(project, project / "config.yaml")


def test_a_cap_on_the_start_is_one_on_what_starts_from_it(demo: Plan) -> None:
    own = "minmax-coded: epochs 6 of 90"
    cut = caps(demo, "cifar10", "minmax-coded", "clean")
    assert cut == ["digits-rgb stands in for cifar10", own, "start std: epochs 6 of 90"]


def test_phases_may_differ_by_dataset(paper: Plan) -> None:
    warm = {m.dataset: build.phases(paper, m)[0] for m in paper.trained if (m.defense, m.seed) == ("ce-warm", 0)}
    assert {d: [(p.epochs, tuple(p.milestones)) for p in phases] for d, phases in warm.items()} == {
        **{name: [(50, (17, 33))] for name in ("mnist", "kmnist", "fmnist")},
        **{name: [(150, (50, 100))] for name in ("cifar10", "svhn", "cifar100", "tinyimagenet")},
    }


@pytest.mark.parametrize("name", ["config.yaml", "configs/laptop.yaml", "configs/paper.yaml"])
def test_every_study_is_planned_at_every_scale(root: Path, tmp_path: Path, name: str) -> None:
    studies = sorted(path.parent.name for path in root.glob("studies/*/study.yaml"))
    path = tmp_path / "all.yaml"
    text = re.sub(r"studies: \[.*\]", f"studies: [{', '.join(studies)}]", (root / name).read_text())
    rest = [one for one in ("kmnist", "fmnist", "svhn", "cifar100", "tinyimagenet") if f"  {one}: " not in text]
    sources = "".join(f"  {one}: {{source: download}}\n" for one in rest)
    path.write_text(text.replace("\ndata:\n", f"\ndata:\n{sources}"))
    plan = make_plan(root, path)
    assert {m.study for m in plan.models} == set(studies)
    assert build.config_job(plan).values["jobs"].keys() == {"/".join(map(str, m)) for m in plan.trained}
    for study in studies:
        worst = build.tables_job(plan, study).worst
        assert worst
        assert all(bool(w.judges) != bool(w.why_not) for w in worst)


def test_what_cannot_be_compiled_is_planned_without(root: Path, tmp_path: Path) -> None:
    text = (root / "configs" / "laptop.yaml").read_text()
    (tmp_path / "compiled.yaml").write_text(text + "\ncompile: true\n")
    plan = make_plan(root, tmp_path / "compiled.yaml")
    compiled = {m.defense: build.train_job(plan, m).compile for m in plan.models}
    assert {name for name, yes in compiled.items() if not yes} == {
        "margin-l1",
        "margin-l2-printed",
        "critic-mlp-printed",
        "critic-lenet-printed",
        "mmc-printed",
    }


# ---- what a study may ask beyond the shipped one


FGSM = "{fn: fgsm, threat: linf}"
BIM = "{fn: bim, threat: linf, steps: 10, step_size: 0.05}"
MIM = "{fn: mim, threat: linf, steps: 40, step_size: 0.01, decay: 1.0}"
STEPS = [("epochs: 20, seeds: 1,", "epochs: 20, steps: 10, restarts: 2, seeds: 1,")]
THREE_SEEDS = [("seeds: 1,", "seeds: 3,")]


def test_a_cap_on_steps_lengthens_every_step_size(edited: Edit) -> None:
    plan = edited((MIM, "{fn: pgd, threat: linf, steps: 40, step_sizes: [0.01, 0.03]}"), config=STEPS)
    (member,) = attack(plan, "mnist", "std", "mim40-linf").members
    assert (member.options["steps"], member.options["step_sizes"]) == (10, [0.04, 0.12])
    assert caps(plan, "mnist", "std", "mim40-linf")[0] == (
        "mim40-linf: steps 10 of 40, each 0.04, 0.12 instead of 0.01, 0.03"
    )


def test_a_grid_reaches_the_job_with_its_lengths_kept(edited: Edit) -> None:
    grid = "grid: {step_size: {mnist: [0.01, 0.05], cifar10: [0.02]}, loss: [ce, margin]}"
    plan = edited((MIM, f"{{fn: pgd, threat: linf, steps: 40, restarts: 5, {grid}}}"), config=STEPS)
    (member,) = attack(plan, "mnist", "std", "mim40-linf").members
    assert member.grid == {"step_size": [0.04, 0.2], "loss": ["ce", "margin"]}
    assert member.options == {"steps": 10, "restarts": 2}
    assert caps(plan, "mnist", "std", "mim40-linf")[0] == (
        "mim40-linf: steps 10 of 40, each 0.04, 0.2 instead of 0.01, 0.05"
    )
    assert attack(plan, "cifar10", "std", "mim40-linf").members[0].grid["step_size"] == [0.08]


def test_caps_reach_the_options_of_a_wrapped_attack(edited: Edit) -> None:
    inner = "options: {steps: 40, step_size: {mnist: 0.01, cifar10: 0.02}, restarts: 5}"
    plan = edited((MIM, f"{{fn: transfer, threat: linf, {inner}, substitute: lenet/std}}"), config=STEPS)
    (member,) = attack(plan, "mnist", "std", "mim40-linf").members
    assert member.options == {"options": {"steps": 10, "step_size": 0.04, "restarts": 2}}
    words = ["mim40-linf: steps 10 of 40, each 0.04 instead of 0.01", "mim40-linf: restarts 2 of 5"]
    # the std model trains for 10 epochs, fewer than the cap
    assert caps(plan, "mnist", "std", "mim40-linf") == [*words, "digits stands in for mnist"]
    assert caps(plan, "cifar10", "std", "mim40-linf")[2] == "substitute std: epochs 6 of 90"
    (member,) = attack(plan, "cifar10", "std", "mim40-linf").members
    assert member.options["options"]["step_size"] == 0.08


def test_caps_reach_what_a_study_leaves_to_the_defaults(edited: Edit) -> None:
    transfer = "{fn: transfer, threat: linf, substitute: lenet/std}"
    plan = edited((MIM, "{fn: mim, threat: linf}"), (BIM, transfer), (FGSM, "{fn: apgd, threat: linf}"), config=STEPS)
    mim, blind, apgd = (
        attack(plan, "mnist", "std", name).members[0].options for name in ("mim40-linf", "linfbia", "fgsm-linf")
    )
    assert mim == {"steps": 10, "step_size": pytest.approx(0.04)}
    assert caps(plan, "mnist", "std", "mim40-linf")[0] == "mim40-linf: steps 10 of 40, each 0.04 instead of 0.01"
    assert blind == {"options": {"steps": 10, "step_size": pytest.approx(0.04)}}
    assert apgd == {"steps": 10}  # chooses its own step sizes


@pytest.fixture
def wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"kind": "fixed", "norms": ("linf",), "source": "test", "wraps": ("pgd", "mim")}
    monkeypatch.setitem(ATTACKS, "wrapper", AttackSpec(fn="toy_attacks:wrapper", **facts))


@pytest.mark.usefixtures("wrapper")
@pytest.mark.parametrize("written", ["", ", options: {step_size: 0.01, restarts: 5}"])
def test_a_wrapper_may_take_the_steps_itself_and_leave_their_length_inside(edited: Edit, written: str) -> None:
    plan = edited((MIM, f"{{fn: wrapper, threat: linf{written}}}"), config=STEPS)
    (member,) = attack(plan, "mnist", "std", "mim40-linf").members
    inner = {"step_size": pytest.approx(0.1)} | ({"restarts": 2} if written else {})
    assert member.options == {"steps": 10, "options": inner}
    assert caps(plan, "mnist", "std", "mim40-linf")[0] == "mim40-linf: steps 10 of 100, each 0.1 instead of 0.01"


@pytest.mark.usefixtures("wrapper")
def test_what_a_wrapper_takes_itself_is_no_option_inside(edited: Edit) -> None:
    with pytest.raises(ConfigError, match=r"mim40-linf.options.steps: unknown option 'steps'"):
        edited((MIM, "{fn: wrapper, threat: linf, options: {steps: 3}}"))


def test_only_attacks_that_ask_depend_on_grid_substitute_and_objective(edited: Edit) -> None:
    plan = edited(
        (FGSM, "{fn: fgsm, threat: linf, loss: own}"),
        (MIM, "{fn: mim, threat: linf, grid: {loss: [ce, own]}}"),
        suites=[("{fn: deepfool, steps: 50}", "{fn: apgd, loss: own}")],
    )
    objective = Objective("minmax", {"variant": "coded", "layers": "conv1", "lam": 1.0, "mu": 1.0})
    for name in ("fgsm-linf", "worst-linf", "mim40-linf"):
        assert attack(plan, "mnist", "minmax-coded", name).objective == objective, name
    for name in ("clean", "pgd40-linf", "worst-l2"):
        job = attack(plan, "mnist", "minmax-coded", name)
        assert (job.objective, job.substitutes, [m.grid for m in job.members if m.grid]) == (None, (), []), name


def test_a_budget_rule_of_the_study_reaches_job_worst_case_and_claims(edited: Edit) -> None:
    plan = edited(
        (MIM, "{fn: deepfool, threat: linf, budget_rule: shrink_and_retest}"),
        ("{fn: cw, ", "{fn: cw, budget_rule: distance, "),
    )
    (member,) = attack(plan, "mnist", "std", "mim40-linf").members
    assert member.budget_rule == "shrink_and_retest"  # and its claims at epsilon 0.3 were accepted
    assert attack(plan, "mnist", "std", "pgd40-linf").members[0].budget_rule == "ball"
    judges = judged(plan)
    assert judges["mnist", "mim40-linf"] == judges["mnist", "fgsm-linf"]
    assert isinstance(judges["mnist", "cw-l2"], list)  # as the study has it, it is unbounded: no radius bounds it


def test_an_unbounded_attack_has_no_worst_case(demo: Plan) -> None:
    assert judged(demo)["mnist", "cw-l2"] == "cw-l2 is unbounded, so no radius bounds a worst case"


def test_a_substitute_is_trained_and_never_has_the_seed_of_its_target(edited: Edit) -> None:
    change = (MIM, "{fn: transfer, threat: linf, substitute: {mnist: lenet/std, cifar10: lenet/std+l1}}")
    plan = edited(change, config=THREE_SEEDS)
    for seed, other in ((0, 1), (1, 2), (2, 0)):
        job = build.attack_job(plan, of(plan, "mnist", "minmax-printed", seed), "mim40-linf")
        (substitute,) = job.substitutes
        assert substitute.model == of(plan, "mnist", "std", other)
        assert substitute.net == Net("lenet", "dataset", {})
    assert attack(plan, "cifar10", "std", "mim40-linf").substitutes[0].model.defense == "std+l1"
    assert plan.trained == plan.models  # all of them are trained anyway


def test_a_substitute_that_no_claim_names_is_trained_but_not_evaluated(edited: Edit) -> None:
    change = (MIM, "{fn: transfer, threat: linf, substitute: lenet/minmax-coded}")
    only = ("run: demo", "run: demo\nonly: {datasets: [mnist], defenses: [minmax-printed]}")
    plan = edited(change, config=[only, *THREE_SEEDS])
    assert plan.models == [of(plan, "mnist", "minmax-printed", seed) for seed in range(3)]
    extra = {m._replace(defense=defense) for m in plan.models for defense in ("minmax-coded", "std")}
    assert set(plan.trained) == {*plan.models, *extra}  # coded starts from std
    jobs = build.config_job(plan).values["jobs"]
    assert {job for job, values in jobs.items() if values["attacks"]} == {"/".join(map(str, m)) for m in plan.models}


def test_a_run_of_one_seed_trains_its_substitutes_with_another(edited: Edit) -> None:
    plan = edited((MIM, "{fn: transfer, threat: linf, substitute: lenet/std}"))
    seeds = {m.seed for m in plan.trained if m.defense == "std"}
    assert {m.seed for m in plan.models} == {0}
    assert seeds == {0, 1}


STANDARD = {  # AutoAttack standard: function -> what it must at least be given
    "apgd": {"loss": "ce", "steps": 100},
    "apgd-t": {"steps": 100, "targets": 9},
    "fab-t": {"steps": 100, "targets": 9},
    "square": {"queries": 5000},
}
UNMASKED = {"ce64", "mifpe", "raw", "margin"}


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_full_contains_the_standard_autoattack_and_what_sees_through_masked_gradients(paper: Plan, norm: str) -> None:
    members = paper.suites.members("full", norm).values()
    for fn, options in STANDARD.items():
        if norm in ATTACKS[fn].norms:
            assert any(m.fn == fn and options.items() <= m.options.items() for m in members), fn
    assert {m.options.get("loss") for m in members if m.fn == "apgd"} == {"ce", *UNMASKED}
    assert [m.substitute for m in members if m.fn == "transfer"] == ["plain"]
    assert norm == "l1" or "square" in [m.fn for m in members]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_full_misses_nothing_of_quick(paper: Plan, norm: str) -> None:
    """But that some are one longer run there."""
    quick, full = (list(paper.suites.members(suite, norm).values()) for suite in ("quick", "full"))
    lengths = {"steps", "queries", "population"}

    def covers(long: MemberDef, short: MemberDef) -> bool:
        same = [{k: v for k, v in m.options.items() if k not in lengths} for m in (long, short)]
        alike = long.fn == short.fn and same[0] == same[1]
        return alike and all(long.options[k] >= v for k, v in short.options.items() if k in lengths)

    assert all(any(covers(long, short) for long in full) for short in quick)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_quick_sees_through_a_masked_gradient_once_the_cheap_ones_have_had_their_turn(paper: Plan, norm: str) -> None:
    members = list(paper.suites.members("quick", norm).values())
    (seeing,) = [m for m in members if m.options.get("loss") in ("ce64", "mifpe")]
    assert seeing.fn == "apgd"
    assert seeing.options["steps"] <= 20
    assert {"square", "noise"} == {m.fn for m in members[members.index(seeing) + 1 :]}, "it runs on few"


def test_a_suite_transfers_from_the_study_s_plain_nets(paper: Plan) -> None:
    for model in (of(paper, "mnist", "std"), of(paper, "cifar10", "adv", seed=2)):
        job = build.attack_job(paper, model, "worst-linf")
        (start,) = job.substitutes
        assert start.model == model._replace(defense="std", seed=(model.seed + 1) % 3)
        assert start.model in paper.trained
    wide = next(m for m in paper.models if (m.study, m.model) == ("weightpen", "wrn-34-10-plain"))
    (start,) = build.attack_job(paper, wide, "worst-linf").substitutes
    assert (start.model.model, start.model.defense) == ("smallcnn-plain", "ce")


def test_a_worst_case_names_its_suite(paper: Plan, demo: Plan) -> None:
    assert attack(paper, "mnist", "std", "worst-l2").suite == "full"
    assert attack(demo, "mnist", "std", "worst-l2").suite == "quick"
    assert attack(demo, "mnist", "std", "pgd40-linf").suite == ""
    assert not attack(demo, "mnist", "std", "worst-linf").substitutes


def test_the_critic_meets_its_inner_adversary(paper: Plan) -> None:
    model = next(m for m in paper.models if m.defense == "critic-mlp-printed")
    job = build.attack_job(paper, model, "worst-l2")
    inner = [m for m in job.members if m.fn == "high-confidence"]
    assert [m.slug for m in inner] == ["inner", "inner-half"]
    assert all(m.options["steps"] == 500 for m in inner)


def test_fgsm_of_the_margin_runs_as_coded_and_in_float64_too(paper: Plan) -> None:
    nets = [m for m in paper.models if m.study == "margin" and "fgsm-linf" in paper.attacks(m)]
    assert nets
    for model in nets:
        losses = {a: build.attack_job(paper, model, a).members[0].options.get("loss") for a in paper.attacks(model)}
        assert (losses["fgsm-raw-linf"], losses["fgsm-ce64-linf"]) == ("raw", "ce64")
    readings = paper.studies["margin"].readings
    assert readings["coded"].attack["fgsm-linf"] == "fgsm-raw-linf"
    assert readings["float64"].attack == {"fgsm-linf": "fgsm-ce64-linf"}
    assert (readings["coded"].mark, readings["float64"].mark) == ("only as coded", "only in float64")


def test_members_of_a_suite_may_transfer(edited: Edit) -> None:
    plan = edited(suites=[("{fn: deepfool, steps: 50}", "{fn: transfer, substitute: lenet/std+l2}")])
    job = attack(plan, "mnist", "std", "worst-linf")
    other = of(plan, "mnist", "std+l2")._replace(seed=1)
    assert [m.substitute.model if m.substitute else None for m in job.members] == [*[None] * 3, other, *[None] * 4]
    assert other in plan.trained


def test_an_attack_meant_for_a_defense_joins_its_worst_case_only(edited: Edit) -> None:
    plan = edited(("  std: {fn: ce}", "  std: {fn: ce, adaptive: {climb: {fn: pgd, steps: 7}, far: {fn: ddn}}}"))
    members = {
        (defense, name): [m.slug for m in attack(plan, "mnist", defense, name).members]
        for defense in ("std", "std+l1")
        for name in ("worst-linf", "worst-l2")
    }
    assert members["std", "worst-linf"] == [*members["std+l1", "worst-linf"], "climb"]
    assert members["std", "worst-l2"] == [*members["std+l1", "worst-l2"], "climb", "far"]
    assert [m.slug for m in attack(plan, "mnist", "std", "pgd40-linf").members] == ["pgd40-linf"]


def test_a_batch_is_a_model_a_norm_or_an_attack(demo: Plan, paper: Plan) -> None:
    one, other = of(demo, "mnist", "std"), of(paper, "mnist", "std")
    assert demo.batches(one) == {"all": demo.attacks(one)}
    single = replace(paper, config=paper.config.model_copy(update={"jobs": "per_attack"}))
    assert single.batches(other) == {a: [a] for a in single.attacks(other)}
    (job,) = build.batch_job(single, other, "worst-l2").attacks
    assert (job.attack, job.protocol, job.kind) == ("worst-l2", "worst", "fixed")
    norms = paper.batches(other)
    assert sorted(a for batch in norms.values() for a in batch) == sorted(paper.attacks(other))
    assert next(iter(norms.values()))[0] == "clean", "a job for clean images alone would cost more to start than to run"
    for norm, attacks in norms.items():
        threats = (paper.threat(other, attack) for attack in attacks if attack != "clean")
        assert {threat.norm for threat in threats if threat} == {norm}
    alone = paper.config.only.model_copy(update={"attacks": ["clean"]})
    bare = replace(paper, config=paper.config.model_copy(update={"only": alone}))
    assert bare.batches(other) == {"none": ["clean"]}


@pytest.mark.parametrize(
    ("adaptive", "text"),
    [
        ("{climb: {fn: pdg}}", "unknown attack 'pdg'; allowed: "),
        ("{climb: {fn: pgd, stepz: 3}}", "unknown option 'stepz'"),
        ("{climb: {fn: jsma}}", "'jsma' works in none of the worst case's norms: l2, linf"),
        ("{square: {fn: pgd}}", "a suite of the worst case has a member of that name"),
        ("{climb: {fn: transfer, substitute: lenet/std}}", "an adaptive attack takes no substitute"),
    ],
)
def test_an_adaptive_attack_that_cannot_run_is_reported(edited: Edit, adaptive: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        edited(("  std: {fn: ce}", f"  std: {{fn: ce, adaptive: {adaptive}}}"))


# ---- what differs by model, and by attack

PGD = "pgd40-linf: {fn: pgd, threat: linf, steps: 40, step_size: 0.01}"
NAMES = ("std", "std+l1", "std+l2", "adv", "minmax-printed", "minmax-coded")


def by_defense(value: object, **values: object) -> str:
    return "{" + ", ".join(f"{name}: {values.get(name, value)}" for name in NAMES) + "}"


def test_a_model_has_radii_and_options_of_its_own(edited: Edit) -> None:
    radii = f"epsilons: {{mnist: {by_defense([0.3], adv=[0.3, 0.5])}, cifar10: [0.03]}}}}"
    steps = f"step_size: {{mnist: {by_defense(0.01, adv=0.02)}, cifar10: 0.003}}}}"
    threat = ("linf: {norm: linf, space: normalized, epsilons: {mnist: [0.3], cifar10: [0.03]}}",
              f"linf: {{norm: linf, space: normalized, {radii}")  # fmt: skip
    plan = edited(threat, (PGD, PGD.replace("step_size: 0.01}", steps)))
    for dataset, defense, epsilons, size in (
        ("mnist", "adv", (0.3, 0.5), 0.02),
        ("mnist", "std", (0.3,), 0.01),
        ("cifar10", "adv", (0.03,), 0.003),
    ):
        job = attack(plan, dataset, defense, "pgd40-linf")
        assert job.threat == ThreatSpec("linf", "normalized", epsilons=epsilons)
        full, capped = 40, job.members[0].options["steps"]
        assert job.members[0].options["step_size"] == pytest.approx(size * full / capped)
    worst = {defense: attack(plan, "mnist", defense, "worst-linf").threat for defense in ("adv", "std")}
    assert len(worst["adv"].epsilons) == len(worst["std"].epsilons) + 1
    (judged,) = [w for w in build.tables_job(plan, "minmax").worst if (w.dataset, w.attack) == ("mnist", "pgd40-linf")]
    assert [judge.epsilon for judge in judged.judges] == [0.3, 0.5]


def test_numbers_are_about_the_first_images_where_a_study_says_so(edited: Edit) -> None:
    samples = ("\nseeds:", "\nsamples: {first: 50}\nseeds:")
    whole = PGD.replace("step_size: 0.01}", "step_size: 0.01, samples: all}")
    plan = edited(samples, (PGD, whole), config=[("caps:", "caps:\n  - {where: {attack: linfbia}, samples: 20}")])
    found = {name: attack(plan, "mnist", "std", name) for name in ("clean", "fgsm-linf", "pgd40-linf", "linfbia")}
    assert (found["clean"].population, found["clean"].samples) == (50, None)
    assert (found["pgd40-linf"].population, found["pgd40-linf"].samples) == (None, found["pgd40-linf"].samples)
    assert (found["linfbia"].population, found["linfbia"].samples) == (50, 20)
    cut = [c for c in build.tables_job(plan, "minmax").cut_short if (c.dataset, c.defense) == ("mnist", "std")]
    cuts = {c.attack: c for c in cut}
    assert cuts["clean"].population == 50
    assert not any("test images" in words for words in cuts["clean"].cut_size), "a cap that is no less cuts nothing"
    assert "at most 20 test images" in cuts["linfbia"].cut_size


def test_an_attack_that_takes_a_choice_over_runs_after_the_one_that_makes_it(edited: Edit) -> None:
    grid = PGD.replace("step_size: 0.01}", "grid: {step_size: [0.01, 0.02]}}")
    more = grid.replace("grid: {step_size: [0.01, 0.02]}", "restarts: 3, grid_from: pgd40-linf")
    listed = "cells: [{datasets: [mnist], models: [lenet], defenses: [std], attacks: [many]}]\n"
    probe = ("probe: pgd40-linf", "probe: fgsm-linf")
    both = (PGD, f"{grid}\n  {more.replace('pgd40-linf: {', 'many: {')}")
    config = [("jobs: per_model", "jobs: per_attack\nonly: {attacks: [many]}")]
    plan = edited(probe, both, ("\nattacks:", f"\n{listed}\nattacks:"), config=config)
    model = of(plan, "mnist", "std")
    assert plan.attacks(model) == ["clean", "pgd40-linf", "many"], "what chooses runs with it"
    assert plan.batches(model) == {"clean": ["clean"], "pgd40-linf": ["pgd40-linf", "many"]}
    job = build.attack_job(plan, model, "many")
    assert job.chosen_by == build.attack_job(plan, model, "pgd40-linf")
    batch = build.batch_job(plan, model, "pgd40-linf")
    assert type(batch).from_params(batch.to_params()) == batch


MANY = PGD.replace("pgd40-linf: {", "many: {").replace("step_size: 0.01}", "restarts: 3, grid_from: pgd40-linf}")
TUNED = PGD.replace("step_size: 0.01}", "grid: {step_size: [0.01, 0.02]}}")
BOTH = [
    ("probe: pgd40-linf", "probe: fgsm-linf"),
    (PGD, f"{TUNED}\n  {MANY}"),
    ("\nattacks:", "\ncells: [{datasets: [mnist], models: [lenet], defenses: [std], attacks: [many]}]\n\nattacks:"),
]


def test_what_chooses_has_every_seed_of_what_takes_its_choice(edited: Edit) -> None:
    cap = ("caps:", "caps:\n  - {where: {attack: cw-l2}, seeds: 1}\n  - {where: {attack: pgd40-linf}, seeds: 1}")
    with pytest.raises(ConfigError, match=r"caps\.1\.seeds: minmax: 'many' takes the choice of 'pgd40-linf', .*seed 1"):
        edited(*BOTH, config=[cap, ("{epochs: 20, seeds: 1,", "{epochs: 20, seeds: 2,")])


def test_no_words_on_the_length_of_steps_that_is_chosen_elsewhere(edited: Edit) -> None:
    plan = edited(*BOTH, config=[("caps:", "caps:\n  - {where: {attack: many}, steps: 10}")])
    job = attack(plan, "mnist", "std", "many")
    assert "step_size" not in job.members[0].options
    assert job.members[0].grid == {}
    assert "many: steps 10 of 40" in caps(plan, "mnist", "std", "many")


def test_a_net_of_other_weights_has_no_absolute_number(edited: Edit) -> None:
    plan = edited(("\nseeds:", "\npaired: {match: [clean]}\nseeds:"))
    assert all("other weights" in cut.cut_model for cut in build.tables_job(plan, "minmax").cut_short)


def test_batches_of_one_model_share_the_preflight_of_a_threat(edited: Edit) -> None:
    """Also where their numbers are about other images, which a model's gradients do not know of."""
    per_attack = [("jobs: per_model", "jobs: per_attack")]
    plan = edited((MIM, MIM.replace("mim,", "mim, samples: {first: 40},")), config=per_attack)
    model = next(m for m in plan.models if (m.dataset, m.defense) == ("mnist", "std"))
    first, second = (build.batch_job(plan, model, batch) for batch in ("pgd40-linf", "mim40-linf"))
    assert [a.population for a in (*first.attacks, *second.attacks)] == [None, 40]
    assert len(first.preflights) == 1
    assert first.preflights == second.preflights
    assert first.key(first.preflights[0]) == second.key(second.preflights[0])


def test_a_batch_has_a_preflight_per_threat_and_none_without(demo: Plan) -> None:
    model = demo.models[0]
    job = build.batch_job(demo, model, "all")
    threats = [attack.threat for attack in job.attacks if attack.threat]
    assert [one.threat for one in job.preflights] == list(dict.fromkeys(threats))
    assert {one.seed for one in job.preflights} == {model.seed}


def test_people_see_the_nets_of_the_thesis_table(paper: Plan) -> None:
    job = build.pages_job(paper, "critic")
    assert len(job.nets) == 10
    assert {(net.attack, net.images, net.subject.model.seed) for net in job.nets} == {("high-confidence-l2", 10_000, 0)}
    assert {paper.shown(m._replace(seed=1), "high-confidence-l2") for m in paper.models if m.study == "critic"} == {0}


def test_a_gallery_of_broken_images_has_its_attacks_keep_as_many_as_it_says(edited: Edit) -> None:
    plan = edited(("{fn: gallery, datasets: [mnist], ", "{fn: gallery-of-broken, samples: 40, datasets: [mnist], "))
    model = next(m for m in plan.models if (m.dataset, m.defense) == ("mnist", "std"))
    kept = {a.attack: a.examples for a in build.batch_job(plan, model, "all").attacks}
    shown = {"pgd40-linf", "worst-linf", "cw-l2", "worst-l2"}  # the second gallery takes after the first
    assert {attack: kept.pop(attack) for attack in shown} == dict.fromkeys(shown, 40)
    assert set(kept.values()) == {EXAMPLES}
