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
    assert len(cited) == 13
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
