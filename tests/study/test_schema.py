"""The typed form of a study."""

import pytest

from touchstone import recipe
from touchstone.paths import study_files
from touchstone.study.checks import load_study
from touchstone.study.schema import (
    Augment,
    OptimizerDef,
    PhaseDef,
    Recipe,
    Study,
    TrainingDef,
    for_cell,
    resolved_phases,
    starts,
)


@pytest.fixture(scope="module")
def study(request: pytest.FixtureRequest) -> Study:
    return load_study(study_files("minmax", request.getfixturevalue("root")))


def test_values_by_dataset() -> None:
    assert for_cell({"mnist": 0.3, "cifar10": 0.03}, "cifar10", "std") == 0.03
    assert for_cell(0.3, "cifar10", "std") == 0.3


def test_what_a_defense_starts_from(study: Study) -> None:
    assert starts(study, "minmax-coded", "mnist") == ["std"]
    assert starts(study, "minmax-printed", "mnist") == []


def test_options_are_the_other_keys(study: Study) -> None:
    assert study.attacks["pgd40-linf"].options == {"steps": 40, "step_size": 0.01}


def test_what_a_recipe_may_say_is_what_a_phase_has() -> None:
    """One source: a field that a phase gains can be written at once, with its bounds and words."""
    rule, phase, augment = (
        set(kind.__dataclass_fields__) for kind in (recipe.OptimizerSettings, recipe.Phase, recipe.Augment)
    )
    assert set(OptimizerDef.model_fields) == rule
    assert set(TrainingDef.model_fields) == phase - {"init"}
    assert set(PhaseDef.model_fields) == set(Recipe.model_fields) | {"init"} == phase
    assert set(Augment.model_fields) == augment
    assert all(OptimizerDef.model_fields[name].description for name in rule)


def test_what_is_written_becomes_phases(study: Study) -> None:
    (first,) = resolved_phases(study, "std", "cifar10")
    assert (first.lr, first.milestones, first.epochs, first.init) == (0.01, (30, 60), 90, "fresh")
    (coded,) = resolved_phases(study, "minmax-coded", "mnist")
    assert (coded.init, coded.epochs) == ("std", 10)


def test_an_empty_augment_takes_that_of_the_recipe_away() -> None:
    usual = Recipe(optimizer="adam", lr=0.1, batch_size=4, epochs=3, augment=Augment(flip=True)).said
    assert recipe.merge(usual, PhaseDef().said).augment == recipe.Augment(flip=True)
    assert recipe.merge(usual, PhaseDef(augment=Augment()).said).augment in (None, recipe.Augment())
