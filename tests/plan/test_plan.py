"""The plan: claims decide what runs, caps decide how much, and both end up in the jobs' values."""

import copy
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from touchstone.attacks import ATTACKS
from touchstone.plan.plan import Cell, Plan, make_plan
from touchstone.registry import AttackSpec
from touchstone.study.config import ConfigError
from touchstone.study.schema import PhaseDef

Edit = Callable[..., Plan]


@pytest.fixture(scope="module")
def demo(root: Path) -> Plan:
    return make_plan(root, root / "config.yaml")


@pytest.fixture(scope="module")
def laptop(root: Path) -> Plan:
    return make_plan(root, root / "configs" / "laptop.yaml")


@pytest.fixture(scope="module")
def paper(root: Path) -> Plan:
    return make_plan(root, root / "configs" / "paper.yaml")


def cell(plan: Plan, original: str, defense: str, seed: int = 0) -> Cell:
    wanted = ("minmax", original, defense, seed)
    return next(c for c in plan.cells if (c.study, c.original, c.defense, c.seed) == wanted)


def test_every_claimed_model_is_trained_once_per_seed(paper: Plan) -> None:
    cells = [c for c in paper.cells if c.study == "minmax"]
    names = {(c.original, c.defense) for c in cells}
    defenses = ("std", "std+l1", "std+l2", "adv", "minmax-printed", "minmax-coded")
    assert names == {(d, f) for d in ("mnist", "cifar10") for f in defenses}
    assert len(cells) == 3 * len(names)


def test_only_claimed_attacks_and_the_worst_case_run(paper: Plan) -> None:
    headline = paper.attacks(cell(paper, "mnist", "minmax-printed"))
    assert {"clean", "fgsm-linf", "cw-l2", "pgd40-linf-px", "worst-linf", "worst-l2"} <= set(headline)
    # a reading of defenses is not crossed with a reading of attacks
    coded = paper.attacks(cell(paper, "mnist", "minmax-coded"))
    assert "pgd40-linf" in coded
    assert "pgd40-linf-px" not in coded
    assert paper.attacks(cell(paper, "mnist", "adv")) == ["clean", "worst-linf", "worst-l2"]


def test_substitutes_keep_the_recipe_of_the_dataset_they_stand_for(demo: Plan) -> None:
    one = cell(demo, "cifar10", "std")
    assert one.path == "digits-rgb/lenet/std/0"
    assert demo.training(one)["phases"][0]["lr"] == 0.01


def test_no_caps_no_cuts(paper: Plan) -> None:
    job = paper.training(cell(paper, "cifar10", "adv"))
    assert job["phases"] == [
        {
            "init": "fresh",
            "optimizer": "adam",
            "lr": 0.01,
            "schedule": "multistep",
            "betas": [0.9, 0.999],
            "weight_decay": 0.0,
            "milestones": [30, 60],
            "gamma": 0.5,
            "augment": {},
            "validation_share": 0.0,
            "keep": "last",
            "collapse": "stop",
            "batch_size": 64,
            "epochs": 90,
            "groups": {},
        }
    ]
    assert job["caps"] == []
    assert job["defense"]["options"]["eps"] == 0.03
    assert paper.attack(cell(paper, "mnist", "std"), "cw-l2")["options"]["steps"] == 10000


def test_the_smallest_matching_cap_counts_and_says_so(laptop: Plan) -> None:
    job = laptop.training(cell(laptop, "cifar10", "adv"))
    assert job["phases"][0]["epochs"] == 10
    assert job["phases"][0]["milestones"] == [3, 7]
    assert job["caps"] == ["adv: epochs 10 of 90", "adv: attack_steps 10 of 40, each 0.04 instead of 0.01"]
    attack = laptop.attack(cell(laptop, "mnist", "std"), "cw-l2")
    assert (attack["options"]["steps"], attack["samples"]) == (1000, 100)
    assert attack["caps"] == ["cw-l2: steps 1000 of 10000"]


def test_a_later_phase_goes_on_from_the_one_before_it(laptop: Plan) -> None:
    plan = copy.deepcopy(laptop)
    plan.studies["minmax"].defenses["adv"].phases.append(PhaseDef(lr=0.1, epochs=4))
    phases, caps = plan.phases(cell(plan, "cifar10", "adv"))
    assert [(p["init"], p["lr"], p["epochs"]) for p in phases] == [("fresh", 0.01, 10), ("continue", 0.1, 4)]
    assert caps == ["adv: epochs 10 of 90"]


def test_fewer_steps_keep_their_reach(laptop: Plan) -> None:
    options = laptop.training(cell(laptop, "mnist", "adv"))["defense"]["options"]
    assert options["attack_steps"] * options["step_size"] == pytest.approx(40 * 0.01)


def test_seeds_are_capped_per_dataset_and_per_attack(laptop: Plan) -> None:
    assert {c.seed for c in laptop.cells if c.original == "mnist"} == {0, 1, 2}
    assert {c.seed for c in laptop.cells if c.original == "cifar10"} == {0}
    assert "pgd40-linf-px" in laptop.attacks(cell(laptop, "mnist", "std", 0))
    assert "pgd40-linf-px" not in laptop.attacks(cell(laptop, "mnist", "std", 1))


def test_the_worst_case_covers_both_readings_in_pixels(paper: Plan) -> None:
    """A normalised ball of radius 0.3 holds the pixel ball of radius 0.3 * min(std)."""
    threat = paper.attack(cell(paper, "mnist", "std"), "worst-linf")["threat"]
    assert threat == {"norm": "linf", "space": "pixel", "bounds": "data", "epsilons": [0.09243, 0.3]}
    assert paper.worst_of("minmax", "pgd40-linf", "mnist") == {0.3: ("worst-linf", 0.09243)}
    assert paper.worst_of("minmax", "pgd40-linf-px", "mnist") == {0.3: ("worst-linf", 0.3)}
    assert paper.worst_of("minmax", "bim10-l2", "cifar10") == {0.03: ("worst-l2", pytest.approx(0.03 * 0.1994))}


def test_per_dataset_values_are_resolved(paper: Plan) -> None:
    assert paper.training(cell(paper, "mnist", "minmax-coded"))["defense"]["options"]["layers"] == "conv1"
    assert paper.training(cell(paper, "cifar10", "minmax-coded"))["defense"]["options"]["layers"] == "conv"
    assert paper.training(cell(paper, "mnist", "minmax-coded"))["phases"][0]["init"] == "std"


def test_selection_is_trained_alike_and_reads_no_claim(paper: Plan) -> None:
    job = paper.selection(cell(paper, "mnist", "std+l1"))
    assert [c["l1"] for c in job["candidates"]] == sorted(c["l1"] for c in job["candidates"])
    assert job["reference"] == {"fn": "ce", "options": {}}
    assert job["phases"][0]["epochs"] == 3
    assert job["seed"] == 1000


def test_only_restricts_the_run(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(
        (root / "config.yaml").read_text() + "\nonly: {datasets: [mnist], defenses: [std, minmax-printed]}\n"
    )
    plan = make_plan(root, path)
    assert [c.path for c in plan.cells] == ["digits/lenet/minmax-printed/0", "digits/lenet/std/0"]


def test_only_may_name_models_and_attacks(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    text = (root / "configs" / "paper.yaml").read_text()
    path.write_text(text + "\nonly: {models: [mlp-1000, mlp-1200], attacks: [worst-l2, fgsm-linf]}\n")
    plan = make_plan(root, path)
    assert {c.model for c in plan.cells} == {"mlp-1000", "mlp-1200"}
    std = [next(c for c in plan.cells if (c.study, c.defense) == (study, "std")) for study in ("margin", "critic")]
    assert [plan.attacks(c) for c in std] == [["clean", "fgsm-linf", "worst-l2"], ["clean", "worst-l2"]]


CELLS = """
cells:
  - {datasets: [mnist], models: [lenet], defenses: [minmax-coded, adv], attacks: [fgsm-linf]}
  - {datasets: [mnist], models: [lenet], defenses: [std+l1]}

worst: [worst-linf, worst-l2]"""


def test_cells_run_without_claims(project: Path) -> None:
    path = project / "studies" / "minmax" / "study.yaml"
    path.write_text(path.read_text().replace("\nworst: [worst-linf, worst-l2]", CELLS))
    for name in ("claims", "qualitative"):
        path.with_name(f"{name}.csv").unlink()
    plan = make_plan(project, project / "config.yaml")
    assert {c.defense: plan.attacks(c) for c in plan.cells} == {
        "minmax-coded": ["clean", "fgsm-linf", "worst-linf", "worst-l2"],
        "adv": ["clean", "fgsm-linf", "worst-linf", "worst-l2"],
        "std+l1": ["clean", "worst-linf", "worst-l2"],
    }
    assert {c.defense for c in plan.trained} == {"minmax-coded", "adv", "std+l1", "std"}  # coded starts from std


def test_cells_add_to_claims(project: Path, demo: Plan) -> None:
    path = project / "studies" / "minmax" / "study.yaml"
    path.write_text(path.read_text().replace("\nworst: [worst-linf, worst-l2]", CELLS))
    plan = make_plan(project, project / "config.yaml")
    assert plan.cells == demo.cells
    assert "fgsm-linf" in plan.attacks(cell(plan, "mnist", "adv"))
    assert "fgsm-linf" not in demo.attacks(cell(demo, "mnist", "adv"))


def test_without_cells_the_claims_must_be_there(project: Path) -> None:
    (project / "studies" / "minmax" / "claims.csv").unlink()
    with pytest.raises(ConfigError, match=r"claims\.csv: cannot be read"):
        make_plan(project, project / "config.yaml")


def test_a_cap_on_the_start_is_one_on_what_starts_from_it(demo: Plan) -> None:
    own = "minmax-coded: epochs 6 of 90"
    assert demo.training(cell(demo, "cifar10", "minmax-coded"))["caps"] == [own, "start std: epochs 6 of 90"]


def test_phases_may_differ_by_dataset(paper: Plan) -> None:
    warm = {c.original: paper.phases(c)[0] for c in paper.trained if (c.defense, c.seed) == ("ce-warm", 0)}
    assert {d: [(p["epochs"], p["milestones"]) for p in phases] for d, phases in warm.items()} == {
        "mnist": [(50, [17, 33])],
        "cifar10": [(150, [50, 100])],
    }


@pytest.mark.parametrize("name", ["config.yaml", "configs/laptop.yaml", "configs/paper.yaml"])
def test_every_study_is_planned_at_every_scale(root: Path, tmp_path: Path, name: str) -> None:
    studies = sorted(path.parent.name for path in root.glob("studies/*/study.yaml"))
    path = tmp_path / "all.yaml"
    path.write_text(re.sub(r"studies: \[.*\]", f"studies: [{', '.join(studies)}]", (root / name).read_text()))
    plan = make_plan(root, path)
    assert {c.study for c in plan.cells} == set(studies)
    assert plan.resolved()["jobs"].keys() == {f"{c.study}/{c.path}" for c in plan.trained}
    for study in studies:
        worst = dict((tuple(key), found) for key, found in plan.evaluation(study)["worst"])
        assert all(found for found in worst.values())


def test_every_value_of_a_job_is_plain_data(laptop: Plan) -> None:
    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(type(k) is str and plain(v) for k, v in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return type(value) in (str, int, float, bool, type(None))

    assert plain(laptop.resolved())


def test_what_cannot_be_compiled_is_planned_without(root: Path, tmp_path: Path) -> None:
    text = (root / "configs" / "mnist.yaml").read_text()
    (tmp_path / "compiled.yaml").write_text(text + "\ncompile: true\n")
    plan = make_plan(root, tmp_path / "compiled.yaml")
    compiled = {c.defense: plan.training(c)["compile"] for c in plan.cells}
    assert {name for name, yes in compiled.items() if not yes} == {
        "margin-l1",
        "margin-l2-printed",
        "critic-mlp-printed",
        "critic-lenet-printed",
        "mmc-printed",
    }


# ---- what a study may ask beyond the shipped one


@pytest.fixture
def edited(root: Path, tmp_path: Path) -> Edit:
    """Plan the demo with lines of the study replaced."""

    def plan(*pairs: tuple[str, str], config: Sequence[tuple[str, str]] = ()) -> Plan:
        shutil.copytree(root / "studies", tmp_path / "studies")
        for path, changes in ((tmp_path / "studies/minmax/study.yaml", pairs), (tmp_path / "config.yaml", config)):
            text = (root / path.relative_to(tmp_path)).read_text()
            for old, new in changes:
                assert old in text, "the test no longer fits the shipped file"
                text = text.replace(old, new, 1)
            path.write_text(text)
        return make_plan(tmp_path, tmp_path / "config.yaml")

    return plan


FGSM = "{fn: fgsm, threat: linf}"
BIM = "{fn: bim, threat: linf, steps: 10, step_size: 0.05}"
MIM = "{fn: mim, threat: linf, steps: 40, step_size: 0.01, decay: 1.0}"
STEPS = [("epochs: 20, seeds: 1,", "epochs: 20, steps: 10, restarts: 2, seeds: 1,")]
ALL_SEEDS = [("seeds: 1,", "")]


def test_a_cap_on_steps_lengthens_every_step_size(edited: Edit) -> None:
    plan = edited((MIM, "{fn: pgd, threat: linf, steps: 40, step_sizes: [0.01, 0.03]}"), config=STEPS)
    job = plan.attack(cell(plan, "mnist", "std"), "mim40-linf")
    assert (job["options"]["steps"], job["options"]["step_sizes"]) == (10, [0.04, 0.12])
    assert job["caps"] == ["mim40-linf: steps 10 of 40, each 0.04, 0.12 instead of 0.01, 0.03"]


def test_a_grid_reaches_the_job_with_its_lengths_kept(edited: Edit) -> None:
    grid = "grid: {step_size: {mnist: [0.01, 0.05], cifar10: [0.02]}, loss: [ce, margin]}"
    plan = edited((MIM, f"{{fn: pgd, threat: linf, steps: 40, restarts: 5, {grid}}}"), config=STEPS)
    job = plan.attack(cell(plan, "mnist", "std"), "mim40-linf")
    assert job["grid"] == {"step_size": [0.04, 0.2], "loss": ["ce", "margin"]}
    assert job["options"] == {"steps": 10, "restarts": 2}
    assert job["caps"][0] == "mim40-linf: steps 10 of 40, each 0.04, 0.2 instead of 0.01, 0.05"
    assert plan.attack(cell(plan, "cifar10", "std"), "mim40-linf")["grid"]["step_size"] == [0.08]


def test_caps_reach_the_options_of_a_wrapped_attack(edited: Edit) -> None:
    inner = "options: {steps: 40, step_size: {mnist: 0.01, cifar10: 0.02}, restarts: 5}"
    plan = edited((MIM, f"{{fn: transfer, threat: linf, {inner}, substitute: lenet/std}}"), config=STEPS)
    job = plan.attack(cell(plan, "mnist", "std"), "mim40-linf")
    assert job["options"] == {"options": {"steps": 10, "step_size": 0.04, "restarts": 2}}
    assert job["caps"] == [
        "mim40-linf: steps 10 of 40, each 0.04 instead of 0.01",
        "mim40-linf: restarts 2 of 5",
    ]  # the std model trains for 10 epochs, fewer than the cap
    job = plan.attack(cell(plan, "cifar10", "std"), "mim40-linf")
    assert job["caps"][2:] == ["substitute std: epochs 6 of 90"]
    assert plan.attack(cell(plan, "cifar10", "std"), "mim40-linf")["options"]["options"]["step_size"] == 0.08


def test_caps_reach_what_a_study_leaves_to_the_defaults(edited: Edit) -> None:
    transfer = "{fn: transfer, threat: linf, substitute: lenet/std}"
    plan = edited((MIM, "{fn: mim, threat: linf}"), (BIM, transfer), (FGSM, "{fn: apgd, threat: linf}"), config=STEPS)
    mim, blind, apgd = (
        plan.attack(cell(plan, "mnist", "std"), name) for name in ("mim40-linf", "bim10-linf", "fgsm-linf")
    )
    assert mim["options"] == {"steps": 10, "step_size": pytest.approx(0.04)}
    assert mim["caps"] == ["mim40-linf: steps 10 of 40, each 0.04 instead of 0.01"]
    assert blind["options"] == {"options": {"steps": 10, "step_size": pytest.approx(0.04)}}
    assert apgd["options"] == {"steps": 10}  # chooses its own step sizes


@pytest.fixture
def wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"kind": "fixed", "norms": ("linf",), "source": "test", "wraps": ("pgd", "mim")}
    monkeypatch.setitem(ATTACKS, "wrapper", AttackSpec(fn="toy_attacks:wrapper", **facts))


@pytest.mark.usefixtures("wrapper")
@pytest.mark.parametrize("written", ["", ", options: {step_size: 0.01, restarts: 5}"])
def test_a_wrapper_may_take_the_steps_itself_and_leave_their_length_inside(edited: Edit, written: str) -> None:
    plan = edited((MIM, f"{{fn: wrapper, threat: linf{written}}}"), config=STEPS)
    job = plan.attack(cell(plan, "mnist", "std"), "mim40-linf")
    inner = {"step_size": pytest.approx(0.1)} | ({"restarts": 2} if written else {})
    assert job["options"] == {"steps": 10, "options": inner}
    assert job["caps"][0] == "mim40-linf: steps 10 of 100, each 0.1 instead of 0.01"


@pytest.mark.usefixtures("wrapper")
def test_what_a_wrapper_takes_itself_is_no_option_inside(edited: Edit) -> None:
    with pytest.raises(ConfigError, match=r"mim40-linf.options.steps: unknown option 'steps'"):
        edited((MIM, "{fn: wrapper, threat: linf, options: {steps: 3}}"))


def test_only_attacks_that_ask_depend_on_grid_substitute_and_defense(edited: Edit) -> None:
    plan = edited(
        (FGSM, "{fn: fgsm, threat: linf, loss: own}"),
        ("{fn: deepfool, steps: 50}", "{fn: apgd, loss: own}"),
        (MIM, "{fn: mim, threat: linf, grid: {loss: [ce, own]}}"),
    )
    one = cell(plan, "mnist", "minmax-coded")
    definition = {"fn": "minmax", "options": {"variant": "coded", "layers": "conv1", "lam": 1.0, "mu": 1.0}}
    for name in ("fgsm-linf", "worst-linf", "mim40-linf"):
        assert plan.attack(one, name)["defense"] == definition, name
    for name in ("clean", "pgd40-linf", "worst-l2"):
        assert {"grid", "substitute", "defense"}.isdisjoint(plan.attack(one, name)), name


def test_a_budget_rule_of_the_study_reaches_job_worst_case_and_claims(edited: Edit) -> None:
    plan = edited(
        (MIM, "{fn: deepfool, threat: linf, budget_rule: shrink_and_retest}"),
        ("{fn: cw, ", "{fn: cw, budget_rule: distance, "),
    )
    job = plan.attack(cell(plan, "mnist", "std"), "mim40-linf")
    assert job["budget_rule"] == "shrink_and_retest"  # and its claims at epsilon 0.3 were accepted
    assert "budget_rule" not in plan.attack(cell(plan, "mnist", "std"), "pgd40-linf")
    judged = {key[1]: judge for key, judge in plan.evaluation("minmax")["worst"] if key[0] == "mnist"}
    assert judged["mim40-linf"] == judged["fgsm-linf"]
    assert isinstance(judged["cw-l2"], list)  # as the study has it, it is unbounded: no radius bounds a worst case


def test_a_substitute_is_trained_and_never_has_the_seed_of_its_target(edited: Edit) -> None:
    change = (MIM, "{fn: transfer, threat: linf, substitute: {mnist: lenet/std, cifar10: lenet/std+l1}}")
    plan = edited(change, config=ALL_SEEDS)
    for seed, other in ((0, 1), (1, 2), (2, 0)):
        job = plan.attack(cell(plan, "mnist", "minmax-printed", seed), "mim40-linf")
        assert job["substitute"] == {
            "path": f"digits/lenet/std/{other}",
            "model": {"fn": "lenet", "normalize": "dataset", "options": {}},
            "defense": "std",
            "seed": other,
        }
    assert plan.attack(cell(plan, "cifar10", "std"), "mim40-linf")["substitute"]["defense"] == "std+l1"
    assert plan.trained == plan.cells  # all of them are trained anyway


def test_a_substitute_that_no_claim_names_is_trained_but_not_evaluated(edited: Edit) -> None:
    change = (MIM, "{fn: transfer, threat: linf, substitute: lenet/minmax-coded}")
    only = ("run: demo", "run: demo\nonly: {datasets: [mnist], defenses: [minmax-printed]}")
    plan = edited(change, config=[only, *ALL_SEEDS])
    paths = [f"digits/lenet/minmax-printed/{seed}" for seed in range(3)]
    assert [c.path for c in plan.cells] == paths
    extra = [f"digits/lenet/{defense}/{seed}" for defense in ("minmax-coded", "std") for seed in range(3)]
    assert sorted(c.path for c in plan.trained) == sorted([*paths, *extra])  # coded starts from std
    jobs = plan.resolved()["jobs"]
    assert {job for job, values in jobs.items() if values["attacks"]} == {f"minmax/{path}" for path in paths}


def test_a_run_of_one_seed_trains_its_substitutes_with_another(edited: Edit) -> None:
    plan = edited((MIM, "{fn: transfer, threat: linf, substitute: lenet/std}"))
    seeds = {c.seed for c in plan.trained if c.defense == "std"}
    assert {c.seed for c in plan.cells} == {0}
    assert seeds == {0, 1}


def test_members_of_a_suite_may_transfer(edited: Edit) -> None:
    plan = edited(("{fn: deepfool, steps: 50}", "{fn: transfer, substitute: lenet/std+l2}"))
    members = plan.attack(cell(plan, "mnist", "std"), "worst-linf")["options"]["members"]
    assert [m.get("substitute", {}).get("path") for m in members] == [*[None] * 3, "digits/lenet/std+l2/1", *[None] * 3]
    assert "digits/lenet/std+l2/1" in [c.path for c in plan.trained]


def test_an_attack_meant_for_a_defense_joins_its_worst_case_only(edited: Edit) -> None:
    plan = edited(("  std: {fn: ce}", "  std: {fn: ce, adaptive: {climb: {fn: pgd, steps: 7}, far: {fn: ddn}}}"))
    members = {
        (defense, name): [m["slug"] for m in plan.attack(cell(plan, "mnist", defense), name)["options"]["members"]]
        for defense in ("std", "std+l1")
        for name in ("worst-linf", "worst-l2")
    }
    assert members["std", "worst-linf"] == [*members["std+l1", "worst-linf"], "climb"]
    assert members["std", "worst-l2"] == [*members["std+l1", "worst-l2"], "climb", "far"]
    assert "members" not in plan.attack(cell(plan, "mnist", "std"), "pgd40-linf")["options"]


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
