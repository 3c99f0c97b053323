import ast
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from touchstone import records
from touchstone.evaluation import flags

KINDS = {"int": 0, "float": 0.0, "bool": False, "text": "linf"}


def table(broken: int, count: int = 100, *, epsilon: float = 0.1, backwards: int = 40, **columns: Any) -> pd.DataFrame:
    """Records of which the first `broken` samples are broken."""
    base = {name: KINDS[kind] for name, kind in records.COLUMNS.items()}
    mine = {"sample": np.arange(count), "success": np.arange(count) < broken, "epsilon": epsilon, "forwards": 40}
    return pd.DataFrame({**base, "member": "a", "backwards": backwards, **mine, **columns}, index=range(count))


def names(found: list[flags.Flag]) -> list[str]:
    return [flag["flag"] for flag in found]


def test_one_step_that_beats_many_is_flagged_with_both_numbers() -> None:
    found = flags.between({"fgsm": table(60, backwards=1), "pgd": table(40)})
    assert names(found) == ["one_step_stronger"]
    assert found[0]["detail"].startswith("fgsm breaks 60.0 % of 100 samples at epsilon 0.1, against 40.0 % by pgd: ")


def test_black_box_that_beats_the_gradient_is_flagged() -> None:
    assert names(flags.between({"square": table(60, backwards=0), "pgd": table(40)})) == ["black_box_stronger"]


def test_a_transfer_never_asks_the_model_and_is_a_black_box_too() -> None:
    found = flags.between({"transfer": table(60, backwards=0, forwards=0), "pgd": table(40)})
    assert names(found) == ["black_box_stronger"]


def test_black_box_may_beat_a_single_step() -> None:
    assert flags.between({"square": table(60, backwards=0), "fgsm": table(40, backwards=1)}) == []


def test_the_usual_order_is_no_flag() -> None:
    frames = {"fgsm": table(40, backwards=1), "square": table(50, backwards=0), "pgd": table(60)}
    assert flags.between(frames) == []


def test_a_radius_that_is_written_otherwise_is_the_same() -> None:
    attacks = {"fgsm": table(60, backwards=1, epsilon=8 / 255), "pgd": table(40, epsilon=0.031373)}
    assert names(flags.between(attacks)) == ["one_step_stronger"]


@pytest.mark.parametrize(("lead", "flagged"), [(3, False), (5, True)])
def test_a_lead_must_exceed_two_standard_errors(lead: int, flagged: bool) -> None:
    # k of 100 paired samples apart: mean k/100, standard error sqrt(k/100 (1 - k/100) / 100); 2 SE is crossed at k = 4
    found = flags.between({"fgsm": table(40 + lead, backwards=1), "pgd": table(40)})
    assert bool(found) == flagged


def test_samples_are_compared_one_by_one() -> None:
    # equal shares on disjoint samples: no lead, however large the sets
    other = table(40)
    other["success"] = other["sample"] >= 60
    assert flags.between({"fgsm": table(40, backwards=1), "pgd": other}) == []


def test_only_common_samples_count() -> None:
    few = table(40, 40, backwards=1)  # all of its 40 samples broken; the other breaks the same 40 of 100
    assert flags.between({"fgsm": few, "pgd": table(40)}) == []
    detail = flags.between({"fgsm": few, "pgd": table(20)})[0]["detail"]
    assert detail.startswith("fgsm breaks 100.0 % of 40 samples at epsilon 0.1, against 50.0 % by pgd")


def test_epsilons_and_norms_are_kept_apart() -> None:
    assert flags.between({"fgsm": table(60, epsilon=0.2, backwards=1), "pgd": table(40, epsilon=0.1)}) == []
    assert flags.between({"fgsm": table(60, backwards=1), "bim": table(40, norm="l2")}) == []


def test_the_clearest_epsilon_is_named() -> None:
    one = pd.concat([table(50, backwards=1), table(90, epsilon=0.2, backwards=1)])
    many = pd.concat([table(40), table(45, epsilon=0.2)])
    assert "90.0 % of 100 samples at epsilon 0.2" in flags.between({"fgsm": one, "pgd": many})[0]["detail"]


def test_minimal_norms_are_read_at_the_epsilons_of_the_other() -> None:
    minimal = table(80, epsilon=np.nan, dist_linf=np.linspace(0, 0.2, 100))  # 51 of them within 0.1
    assert names(flags.between({"square": table(70, backwards=0), "deepfool": minimal})) == ["black_box_stronger"]
    assert flags.between({"square": table(50, backwards=0), "deepfool": minimal}) == []
    both = {"square": table(70, backwards=0), "deepfool": minimal}
    assert flags.between(both, space="normalized") == []  # distances are in pixels there


def test_a_cascade_and_clean_records_take_no_part() -> None:
    cascade = table(10)
    cascade["member"] = np.where(cascade["sample"] < 5, "a", "b")
    frames = {
        "square": table(60, backwards=0),
        "worst": cascade,
        "clean": table(5, forwards=0, backwards=0, norm="none"),
    }
    assert flags.between(frames) == []


def test_a_blind_member_that_breaks_what_gradients_left_is_flagged() -> None:
    def cascade(blind: int) -> pd.DataFrame:
        left = table(blind, 80, backwards=0, sample=np.arange(20, 100), member="square")
        return pd.concat([table(20, member="pgd"), left])

    (flag,) = flags.black_box(cascade(30))
    assert flag["flag"] == "black_box_stronger"
    assert "square breaks 30.0 % of 100 samples" in flag["detail"]
    assert flags.black_box(cascade(3)) == []
    assert flags.black_box(table(30, backwards=0)) == [], "there is nothing to compare with"
    assert flags.black_box(cascade(30).assign(carried=True)) == []
    first = pd.concat([table(30, backwards=0, member="square"), table(20, 70, sample=np.arange(30, 100), member="pgd")])
    assert flags.black_box(first) == [], "no gradient has been tried before it"


def test_more_steps_that_gain_are_flagged() -> None:
    assert names(flags.doubled_steps(table(40), table(60))) == ["doubled_steps_gain"]
    assert flags.doubled_steps(table(60), table(60)) == []
    assert flags.doubled_steps(table(60), table(40)) == []


def test_noise_that_beats_the_attack_is_flagged() -> None:
    assert names(flags.random_noise(table(10), table(30))) == ["noise_stronger"]
    assert flags.random_noise(table(30), table(10)) == []


def test_accuracy_above_chance_at_full_range_is_flagged() -> None:
    assert names(flags.full_range(table(70, epsilon=0.5), classes=10)) == ["above_chance"]
    assert flags.full_range(table(88, epsilon=0.5), classes=10) == []  # 12 % is chance, within two errors
    assert flags.full_range(table(70, epsilon=0.4), classes=10) == []
    assert flags.full_range(table(70, epsilon=0.5, norm="l2"), classes=10) == []
    assert flags.full_range(table(70, epsilon=0.5), classes=10, space="normalized") == []


def test_rejected_points_are_flagged() -> None:
    assert names(flags.rejected(table(0, rejected=np.arange(100) < 3))) == ["rejected_points"]
    assert "3.0 % of 100 points" in flags.rejected(table(0, rejected=np.arange(100) < 3))[0]["detail"]
    assert flags.rejected(table(50)) == []
    assert flags.rejected(records.empty()) == []


def test_preflight_measurements_are_held_against_their_limits() -> None:
    assert flags.preflight({}) == []
    assert flags.preflight({"zero_gradient_ce_x": 0.01, "randomised": False, "saturated_ball": 0.05}) == []
    found = flags.preflight({"zero_gradient_ce_x": 0.02, "randomised": True, "saturated_ball": 0.5})
    assert names(found) == ["zero_gradient_ce", "saturated", "randomised"]
    assert found[0]["detail"].startswith("2.0 % of the samples have a cross-entropy gradient of exactly zero: ")
    assert "at random points of the ball" in found[1]["detail"]
    assert found[2]["detail"].startswith("two forward passes differ")


def test_flags_read_records_without_torch() -> None:
    names = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(Path(flags.__file__).read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert "torch" not in {name.split(".")[0] for name in names}
    assert {name for name in names if name.startswith("touchstone")} == {"touchstone.cell", "touchstone.records"}
