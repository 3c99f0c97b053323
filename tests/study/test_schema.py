"""The typed form of a study."""

import pytest

from touchstone.study.checks import fits, load_study
from touchstone.study.schema import PhaseDef, Recipe, RuleDef, Study, for_dataset, shrunk, starts, training


@pytest.fixture(scope="module")
def study(request: pytest.FixtureRequest) -> Study:
    return load_study(request.getfixturevalue("root") / "studies" / "minmax" / "study.yaml")


def test_values_by_dataset() -> None:
    assert for_dataset({"mnist": 0.3, "cifar10": 0.03}, "cifar10") == 0.03
    assert for_dataset(0.3, "cifar10") == 0.3


def test_what_a_defense_starts_from(study: Study) -> None:
    assert starts(study, "minmax-coded", "mnist") == ["std"]
    assert starts(study, "minmax-printed", "mnist") == []


def test_options_are_the_other_keys(study: Study) -> None:
    assert study.attacks["pgd40-linf"].options == {"steps": 40, "step_size": 0.01}


@pytest.mark.parametrize(
    ("value", "annotation", "good"),
    [
        (1, "int", True),
        (1.5, "int", False),
        (1, "float", True),
        (True, "int", False),
        (True, "bool", True),
        ("ce", "str", True),
        (None, "float | None", True),
        (None, "float", False),
        ([1], "list[int]", True),
    ],
)
def test_fits(value: object, annotation: str, good: bool) -> None:
    assert fits(value, annotation) is good


RECIPE = Recipe(optimizer="adam", lr=0.01, batch_size=64, epochs=90, weight_decay=1e-4)


def test_a_phase_comes_before_its_recipe_and_a_group_before_both() -> None:
    recipe = RECIPE.model_copy(update={"groups": {"critic": RuleDef(betas=[0.5, 0.999], lr=0.2)}})
    phase = PhaseDef(lr=0.1, epochs=5, groups={"critic": RuleDef(schedule="linear")})
    made = training(recipe, phase)
    assert (made["lr"], made["epochs"], made["betas"], made["schedule"]) == (0.1, 5, [0.9, 0.999], "constant")
    assert made["groups"] == {
        "critic": {"optimizer": "adam", "lr": 0.2, "schedule": "linear", "betas": [0.5, 0.999], "weight_decay": 1e-4}
    }


def test_what_an_optimiser_or_a_schedule_does_not_read_is_left_out() -> None:
    recipe = RECIPE.model_copy(update={"schedule": "multistep", "milestones": [30], "gamma": 0.1})
    assert training(recipe)["milestones"] == [30]
    made = training(recipe, PhaseDef(optimizer="sgd", momentum=0.9, schedule="constant"))
    assert made["momentum"] == 0.9
    assert not {"betas", "milestones", "gamma"} & made.keys()


def test_schedules_shrink_with_the_epochs() -> None:
    group = RuleDef(schedule="multistep", milestones=[30, 60], gamma=0.5)
    full = training(RECIPE, PhaseDef(schedule="exponential", gamma=0.99, groups={"critic": group}))
    short = shrunk(full, 9)
    assert short["epochs"] == 9
    assert short["gamma"] ** 9 == pytest.approx(0.99**90)
    assert (short["groups"]["critic"]["milestones"], short["groups"]["critic"]["gamma"]) == ([3, 6], 0.5)
    assert (full["epochs"], full["gamma"], full["groups"]["critic"]["milestones"]) == (90, 0.99, [30, 60])
    assert shrunk(training(RECIPE), 9) == {**training(RECIPE), "epochs": 9}
