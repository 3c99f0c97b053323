from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_records import LINF, MODEL, header, points, save_run, worst

from touchstone.cell import ThreatSpec
from touchstone.findings import flags
from touchstone.records import Attacked, Batch, Preflight
from touchstone.runs import read_run

MASKED = {"flag": "zero_gradient_ce", "detail": "41 %"}


def shown(batch: Batch) -> list[tuple[str, str]]:
    return [(one.attack, one.flag) for one in flags.of_attacks(batch)]


def attack(slug: str, broken: int, backwards: int, **changes: Any) -> Attacked:
    """An attack that breaks the first of 100 samples."""
    success = np.arange(100) < broken
    return Attacked(header(slug, **changes), points(epsilon=[0.1] * 100, success=success, backwards=[backwards] * 100))


WEAK, STRONG = attack("pgd", 10, 40), attack("square", 60, 0)


def test_flags_of_a_training_say_whose_they_are(tmp_path: Path) -> None:
    run = read_run(save_run(tmp_path, flags=[{"flag": "redrawn", "detail": "twice"}]))
    (found,) = flags.of_training(run)
    assert found == flags.Flagged(*MODEL, "digits", "training", "redrawn", "twice")
    table = flags.table([found])
    assert list(table) == [*MODEL._fields, "stand_in", "attack", "flag", "detail"]
    assert flags.table([]).empty


def test_a_preflight_is_said_once_per_threat_and_names_it() -> None:
    threats = [LINF, replace(LINF, space="normalized"), ThreatSpec("l2", bounds="none")]
    batch = Batch([attack("pgd", 10, 40), attack("mim", 10, 10)], [Preflight(t, {}, [MASKED]) for t in threats])
    names = ["preflight linf", "preflight linf, normalized", "preflight l2, unbounded"]
    assert shown(batch) == [(name, "zero_gradient_ce") for name in names]
    assert {(one.dataset, one.stand_in, one.detail) for one in flags.of_attacks(batch)} == {("mnist", "digits", "41 %")}


def test_a_flag_concerns_the_attacks_that_it_was_raised_for_and_a_preflight_its_norm(tmp_path: Path) -> None:
    """That of a training concerns whatever is measured of the net."""
    threats = [replace(LINF, space="normalized"), ThreatSpec("l2", bounds="none")]
    found = flags.of_attacks(Batch([WEAK, STRONG], [Preflight(t, {}, [MASKED]) for t in threats]))
    found += flags.of_attacks(Batch([attack("worst-linf", 10, 40, flags=[MASKED])], []))
    found += flags.of_training(read_run(save_run(tmp_path, flags=[{"flag": "unbounded", "detail": "9.4"}])))
    asked = [("pgd", "linf"), ("square", "l2"), ("fgsm", "l1")]
    said = [[one.attack for one in found if flags.concerns(one.attack, *place)] for place in asked]
    assert said == [
        ["preflight linf, normalized", "pgd / square", "worst-linf", "training"],
        ["preflight l2, unbounded", "pgd / square", "training"],
        ["training"],
    ]


def test_flags_of_attacks_are_those_of_their_headers() -> None:
    batch = Batch([attack("pgd", 10, 40, flags=[MASKED]), attack("mim", 10, 10)], [])
    assert shown(batch) == [("pgd", "zero_gradient_ce")]


def test_attacks_that_share_a_threat_are_compared() -> None:
    (found,) = flags.of_attacks(Batch([WEAK, STRONG], []))
    assert (found.attack, found.flag) == ("pgd / square", "black_box_stronger")
    assert found.detail.startswith("square breaks 60.0 % of 100 samples at epsilon 0.1, against 10.0 % by pgd")


@pytest.mark.parametrize(
    "changes",
    [
        {"threat": replace(LINF, epsilons=(0.1,))},
        {"threat": replace(LINF, space="normalized")},
        {"threat": None, "kind": "none"},
        {"protocol": "worst"},
        {"members": {"square": {"fn": "high-confidence", "options": {}}}},
    ],
)
def test_attacks_that_do_not_share_what_is_compared_are_not(changes: dict[str, Any]) -> None:
    assert shown(Batch([WEAK, Attacked(replace(STRONG.header, **changes), STRONG.frame)], [])) == []


def test_a_worst_case_is_no_partner() -> None:
    assert shown(Batch([WEAK, Attacked(worst(), STRONG.frame)], [])) == []
