"""Li et al.'s Table 2 repeats numbers of Chen et al., who attacked in another way than Li et al. do."""

from pathlib import Path

import pandas as pd
import pytest

from touchstone.paths import study_files
from touchstone.plan.asked import tried
from touchstone.study import claims
from touchstone.study.checks import load_study
from touchstone.study.schema import Study, resolved_phases


@pytest.fixture(scope="module")
def study(root: Path) -> Study:
    return load_study(study_files("pcloss", root))


@pytest.fixture(scope="module")
def rows(root: Path, study: Study) -> pd.DataFrame:
    """The claims of the study."""
    return claims.load(claims.read(study_files("pcloss", root).claims), "pcloss", claims.known(study), tried(study))


def test_cited_gradient_attacks_climb_the_loss_of_the_net(study: Study, rows: pd.DataFrame) -> None:
    cited = rows[rows["cited"] != ""]
    assert set(zip(cited["source_table"], cited["defense"], strict=True)) == {("Table 2", "gce")}
    assert cited["dataset"].value_counts().to_dict() == {"mnist": 13, "cifar10": 13}
    used = {printed: study.attacks[ours] for printed, ours in zip(cited["attack"], cited["cell_attack"], strict=True)}
    assert {printed for printed, attack in used.items() if attack.options.get("loss") != "own"} == {"cw"}
    assert used["bim"].options["step_size"] == 0.05
    assert used["pgd"].options["step_size"] == used["mim"].options["step_size"] == 0.01


def test_other_gradient_attacks_climb_cross_entropy(study: Study, rows: pd.DataFrame) -> None:
    own = rows[(rows["cited"] == "") & (rows["cell_attack"] != "")]
    assert {study.attacks[slug].options.get("loss", "ce") for slug in own["cell_attack"]} == {"ce"}


def test_gce_with_adversarial_training_has_the_recipe_of_the_paper(study: Study) -> None:
    (ours,) = resolved_phases(study, "gce+at", "mnist")
    assert (ours.optimizer, ours.lr, ours.batch_size, ours.epochs) == ("adam", 0.01, 256, 100)
    assert study.readings["recipe"].defense == {"gce+at": "gce+at-chen"}
    (theirs,) = resolved_phases(study, "gce+at-chen", "mnist")
    assert (theirs.lr, theirs.betas, theirs.batch_size, theirs.epochs) == (0.001, (0.9, 0.99), 64, 20)


def test_whoever_printed_a_number_of_gce_says_how_its_nets_are_trained(study: Study, rows: pd.DataFrame) -> None:
    """Table 2's are Chen et al.'s; those on many classes and with adversarial training are Li et al.'s."""
    ran = rows[rows["cell_defense"].isin(["gce", "gce+at"])]
    assert set(ran.loc[ran["cited"] == "", "source_table"]) == {"Table 4", "Table 5"}
    for (dataset, defense), claimed in ran.groupby(["cell_dataset", "cell_defense"]):
        (ours,) = resolved_phases(study, defense, dataset)
        (paper,) = resolved_phases(study, "ce", dataset)
        cited = claimed["cited"] != ""
        assert cited.all() or not cited.any(), "one recipe serves them all"
        assert (ours != paper) == cited.any(), (dataset, defense)


def test_every_dataset_of_the_paper_has_its_recipe(study: Study) -> None:
    """Section "Experiments": two times 50 epochs on grey images, two times 150 on others."""
    assert study.recipes["kmnist"] == study.recipes["fmnist"] == study.recipes["mnist"]
    assert study.recipes["cifar100"] == study.recipes["cifar10"]
    for name, half in {"mnist": 50, "kmnist": 50, "fmnist": 50}.items() | {
        (name, 150) for name in ("cifar10", "cifar100", "svhn", "tinyimagenet")
    }:
        (whole,), (first,) = (resolved_phases(study, defense, name) for defense in ("ce", "ce-warm"))
        (second,) = resolved_phases(study, "pc-printed", name)
        assert (whole.epochs, first.epochs, second.epochs) == (2 * half, half, half)
        assert {(p.optimizer, p.lr, p.batch_size) for p in (whole, first, second)} == {("adam", 0.01, 256)}
    flips = {name: bool(recipe.augment and recipe.augment.flip) for name, recipe in study.recipes.items()}
    assert {name for name, flip in flips.items() if flip} == {"cifar10", "cifar100", "tinyimagenet"}
    assert study.recipes["svhn"].augment is None


def test_radii_differ_on_the_large_datasets_only(study: Study) -> None:
    """Tables 1 and 4."""
    radii = study.threats["linf"].epsilons
    assert radii["kmnist"] == radii["fmnist"] == radii["mnist"] == [0.1, 0.2, 0.3]
    assert radii["svhn"] == radii["cifar10"] == [0.04, 0.12, 0.2]
    assert radii["cifar100"] == radii["tinyimagenet"] == [0.005, 0.01, 0.015]
