"""The plan: claims decide what runs, caps decide how much, and both end up in the jobs' values."""

from pathlib import Path

import pytest

from touchstone.plan import Cell, Plan, make_plan


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
    return next(c for c in plan.cells if (c.original, c.defense, c.seed) == (original, defense, seed))


def test_every_claimed_model_is_trained_once_per_seed(paper: Plan) -> None:
    names = {(c.original, c.defense) for c in paper.cells}
    defenses = ("std", "std+l1", "std+l2", "adv", "minmax-printed", "minmax-coded")
    assert names == {(d, f) for d in ("mnist", "cifar10") for f in defenses}
    assert len(paper.cells) == 3 * len(names)


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
            "batch_size": 64,
            "epochs": 90,
            "milestones": [30, 60],
            "gamma": 0.5,
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


def test_every_value_of_a_job_is_plain_data(laptop: Plan) -> None:
    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(type(k) is str and plain(v) for k, v in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return type(value) in (str, int, float, bool, type(None))

    assert plain(laptop.resolved())
