import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from toy_records import MODEL, clean, header, points, save_run, worst

from touchstone import records
from touchstone.cell import ThreatSpec
from touchstone.findings import cells, clusters, metrics, weights
from touchstone.findings.intervals import share_margins
from touchstone.records import Attacked, Batch
from touchstone.runs import read_run
from touchstone.study.claim import Place


def number(table: pd.DataFrame, **where: Any) -> pd.Series:
    found = table
    for key, value in where.items():
        found = found[found[key] == value]
    assert len(found) == 1, found
    return found.iloc[0]


def table(*attacked: Attacked, judges: cells.Judges | None = None) -> pd.DataFrame:
    return cells.table(cells.of_attacks(Batch(list(attacked), []), judges or {}))


def attacks() -> list[Attacked]:
    grid = {"sample": [0, 1, 2, 3] * 2, "epsilon": [0.1] * 4 + [0.3] * 4, "clean_pred": [0, 0, 0, 1] * 2}
    pgd = points(**grid, success=[False] * 3 + [True] + [True, False, False, True], dist_linf=[0.1] * 4 + [0.3] * 4)
    far = points(**grid, success=[True] * 8, dist_linf=[0.01] * 8)
    cascade = points(**grid, success=[False] * 5 + [True, False, True], dist_linf=[0.1] * 4 + [0.3] * 4, member="pgd")
    cw = points(epsilon=[np.nan] * 4, success=[True] * 3 + [False], dist_l2=[1.0, 2.0, 4.0, 0.0], norm="l2")
    normalized = ThreatSpec("linf", "normalized", epsilons=(0.1, 0.3))
    l2 = ThreatSpec("l2", "normalized", epsilons=(0.3,))
    return [
        Attacked(clean(), points(epsilon=[np.nan] * 4, norm="none", clean_pred=[0, 0, 0, 1])),
        Attacked(header("pgd-px"), pgd),
        Attacked(header("pgd-far", threat=normalized), far),
        Attacked(worst(), cascade),
        Attacked(header("cw", kind="minimal", threat=l2), cw),
    ]


# ---- what was measured


def test_cells_hold_every_number_of_the_records() -> None:
    found = table(*attacks())
    assert list(found) == cells.COLUMNS
    one = number(found, attack="clean", metric="accuracy")
    assert (one["value"], one["n"], one["norm"]) == (0.75, 4, "none")
    assert (one["dataset"], one["stand_in"], one["space"]) == ("mnist", "digits", "")
    assert cells.rows(found)[0].model_id == MODEL
    assert number(found, attack="pgd-px", epsilon=0.3, metric="accuracy")["value"] == 0.5
    assert number(found, attack="pgd-far", epsilon=0.3, metric="accuracy")["value"] == 0.0
    assert number(found, attack="cw", metric="accuracy")["value"] == 0.25
    assert math.isnan(number(found, attack="cw", metric="accuracy")["epsilon"])
    assert number(found, attack="cw", metric="success_rate")["value"] == 0.75
    assert number(found, attack="cw", metric="median_norm")["value"] == 3.0
    assert number(found, attack="cw", metric="mean_norm")["value"] == pytest.approx(7 / 3)
    assert (found["metric"] == "accuracy").sum() == 6, "a cascade has a worst case, and no accuracy of its own"


def test_the_worst_case_unites_attacks_that_make_images_only() -> None:
    found = table(*attacks())
    small, large = (number(found, metric="worst_accuracy", epsilon=eps) for eps in (0.1, 0.3))
    assert (small["value"], large["value"]) == (0.75, 0.25)
    assert (large["attack"], large["protocol"], large["space"], large["n"]) == ("worst-linf", "worst", "pixel", 4)
    assert (large["status"], large["reason"]) == ("incomplete", "missing square")
    assert (found["suite"] == "quick").equals(found["metric"] == "worst_accuracy"), "whose worst case it is"
    assert set(found["suite"]) == {"quick", ""}


JUDGES = {"pgd-far": {0.1: ("worst-linf", 0.03), 0.3: ("worst-linf", 0.1)}, "pgd-px": {0.3: ("worst-linf", 0.3)}}


def test_a_published_attack_is_judged_in_its_own_space() -> None:
    found = table(*attacks(), judges=JUDGES)
    small, large = (number(found, metric="worst_under_threat", attack="pgd-far", epsilon=eps) for eps in (0.1, 0.3))
    assert (small["value"], large["value"], large["n"], large["met"]) == (0.0, 0.0, 4, 4), "its own points break all"
    assert number(found, metric="attack_gap", attack="pgd-far", epsilon=0.3)["value"] == 0.0
    images = number(found, metric="worst_under_threat", attack="pgd-px")
    assert images["value"] == number(found, metric="worst_accuracy", epsilon=0.3)["value"] == 0.25
    gap = number(found, metric="attack_gap", attack="pgd-px")
    assert (gap["value"], gap["protocol"], gap["space"], gap["status"]) == (0.25, "worst", "pixel", "incomplete")
    assert set(found[found["metric"].isin(cells.JUDGING)]["suite"]) == {"quick"}
    assert number(table(*attacks()), metric="worst_accuracy", epsilon=0.3)["value"] == 0.25, "the tables in pixels stay"


def test_another_attack_under_the_same_threat_counts_and_one_out_of_its_box_does_not() -> None:
    grid: dict[str, Any] = {"epsilon": [0.3] * 4, "dist_linf": [0.3] * 4}
    none, some, all_ = ([False] * 4, [True, False, False, False], [True] * 4)
    weak, strong, unbounded = (points(**grid, success=success) for success in (none, some, all_))
    suite = points(**grid, success=none, member="square")
    space = {"space": "normalized", "epsilons": (0.3,)}
    given = [
        Attacked(header("weak", threat=ThreatSpec("linf", **space)), weak),
        Attacked(header("strong", threat=ThreatSpec("linf", **space)), strong),
        Attacked(header("free", threat=ThreatSpec("linf", bounds="none", **space)), unbounded),
        Attacked(header("l2", threat=ThreatSpec("l2", **space)), unbounded),
        Attacked(worst(), suite),
    ]
    judges = {slug: {0.3: ("worst-linf", 0.1)} for slug in ("weak", "free")}
    minimal = Attacked(
        header("minimal", kind="minimal", threat=ThreatSpec("linf", **space)),
        points(epsilon=[np.nan] * 4, success=all_, dist=[0.31, 0.3, 0.31, 0.31]),
    )
    found = table(*given, minimal, judges=judges)
    assert number(found, metric="worst_under_threat", attack="weak")["value"] == 0.5
    found = table(*given, judges=judges)
    assert number(found, metric="worst_under_threat", attack="weak")["value"] == 0.75
    assert number(found, metric="attack_gap", attack="weak")["value"] == 0.25
    assert number(found, metric="worst_under_threat", attack="free")["value"] == 0.0


@pytest.mark.parametrize("failed", ["pgd-px", "worst-linf"])
def test_where_one_of_both_failed_there_is_no_gap(failed: str) -> None:
    given = [
        Attacked(replace(a.header, status="failed", reason="loss is nan"), records.empty())
        if a.header.attack == failed
        else a
        for a in attacks()
    ]
    found = table(*given, judges={"pgd-px": {0.3: ("worst-linf", 0.3)}})
    for metric in ("worst_under_threat", "attack_gap"):
        one = number(found, metric=metric)
        assert (one["status"], one["reason"]) == ("failed", "loss is nan")
    assert "attack_gap" not in set(table(*attacks()[:-2], judges={"pgd-px": {0.3: ("worst-l2", 0.3)}})["metric"])


def test_minimal_norms_are_compared_in_one_norm() -> None:
    l2, l1 = ThreatSpec("l2", epsilons=()), ThreatSpec("l1", epsilons=())
    outcomes = ([True] * 3, [True, True, False])
    frames = [points(epsilon=[np.nan] * 3, success=found, dist_l2=[1.0, 2.0, 4.0]) for found in outcomes]
    given = [Attacked(header(slug, kind="minimal", threat=l2), f) for slug, f in zip(("a", "b"), frames, strict=True)]
    other = Attacked(header("c", kind="minimal", threat=l1), frames[0].assign(dist_l1=7.0))
    found = table(*given, other)
    common = found[found["metric"] == "common_mean_norm"].set_index("attack")
    assert common[["value", "n", "met"]].to_numpy().tolist() == [[1.5, 2, 3], [1.5, 2, 3], [7.0, 3, 3]]
    failed = Attacked(header("b", kind="minimal", threat=l2, status="failed", reason="nan"), records.empty())
    alone = number(table(given[0], failed), metric="common_mean_norm", attack="a")
    assert (alone["value"], alone["status"], alone["reason"]) == (pytest.approx(7 / 3), "incomplete", "missing b")


def test_a_mean_carries_its_half_width_over_samples_and_a_share_does_not() -> None:
    found = table(*attacks())
    mean = number(found, attack="cw", metric="mean_norm")
    assert (mean["n"], mean["met"]) == (3, 4)
    assert mean["half"] == pytest.approx(4.302652729911275 * np.std([1, 2, 4], ddof=1) / math.sqrt(3))
    assert math.isnan(number(found, attack="cw", metric="success_rate")["half"])
    assert math.isnan(number(found, attack="clean", metric="accuracy")["half"])


def test_points_cut_back_to_a_budget_are_no_minimal_norms() -> None:
    frame = points(
        sample=[0, 1, 0, 1],
        epsilon=[np.nan, np.nan, 0.1, 0.1],
        success=[True, False, True, True],
        dist_l2=[2.0, 0, 0.1, 0.1],
    )
    found = table(Attacked(header("cw", kind="minimal", threat=ThreatSpec("l2", epsilons=(0.1,))), frame))
    assert number(found, metric="mean_norm")["value"] == 2.0
    assert number(found, metric="accuracy", epsilon=0.1)["value"] == 0.0


def l0_and_l2(**changes: Any) -> list[Attacked]:
    far = {"epsilon": [np.nan] * 3, "success": [True, True, False], "x_l2": [4.0] * 3}
    l2 = points(**far, norm="l2", dist_l2=[1.0, 2.0, 0.0])
    l0 = points(**far, norm="l0", dist_l0=[1.0, 2.0, 0.0], dist_l0_values=[3.0, 5.0, 0.0])
    about: dict[str, Any] = {"kind": "minimal", "budget_rule": "distance"} | changes
    return [
        Attacked(header("df", threat=ThreatSpec("l2", epsilons=(1.0, 2.0)), **about), l2),
        Attacked(header("jsma", threat=ThreatSpec("l0", epsilons=(2.0, 3.0)), **about), l0),
    ]


def test_distances_are_read_at_the_radii_of_the_threat() -> None:
    found = table(*l0_and_l2())
    read = {eps: number(found, attack="df", metric="accuracy", epsilon=eps)["value"] for eps in (1.0, 2.0)}
    assert read == {1.0: pytest.approx(2 / 3), 2.0: pytest.approx(1 / 3)}
    assert number(found, attack="df", metric="mean_norm")["value"] == 1.5
    assert number(found, attack="df", metric="rho_adv")["value"] == pytest.approx(0.375)
    for rule in ("unbounded", "shrink_and_retest"):
        other = table(*l0_and_l2(budget_rule=rule))
        assert other.loc[other["metric"] == "accuracy", "epsilon"].isna().all(), rule
    elsewhere = [Attacked(replace(a.header, threat=replace(a.header.threat, space="normalized")), a.frame)  # type: ignore[type-var]
                 for a in l0_and_l2()]  # fmt: skip
    assert table(*elsewhere).query("metric == 'accuracy'")["epsilon"].isna().all(), "records hold pixels alone"


def test_an_l0_is_counted_in_pixels_and_in_values() -> None:
    found = table(*l0_and_l2())
    assert number(found, attack="jsma", metric="mean_norm")["value"] == 1.5
    assert number(found, attack="jsma", metric="mean_norm_values")["value"] == 4.0
    assert number(found, attack="jsma", metric="accuracy", epsilon=2.0)["value"] == pytest.approx(1 / 3)
    assert number(found, attack="jsma", metric="accuracy_values", epsilon=3.0)["value"] == pytest.approx(2 / 3)
    assert "mean_norm_values" not in set(found.loc[found["attack"] == "df", "metric"])


def test_a_read_accuracy_has_a_worst_case_too() -> None:
    suite = points(epsilon=[1.0] * 3, success=[True, True, True], dist_l2=[0.5] * 3, member="pgd")
    judge = header("worst-l2", protocol="worst", threat=ThreatSpec("l2", epsilons=(1.0,)))
    found = table(l0_and_l2()[0], Attacked(judge, suite), judges={"df": {1.0: ("worst-l2", 1.0)}})
    assert number(found, attack="df", metric="attack_gap")["value"] == pytest.approx(2 / 3)


def test_every_attack_has_a_confidence() -> None:
    found = table(*attacks())
    assert set(found.loc[found["metric"] == "avg_confidence", "attack"]) == {"clean", "pgd-px", "pgd-far", "cw"}
    assert number(found, metric="prob_gap")["attack"] == "clean"


def test_a_failed_model_leaves_rows_without_a_value(tmp_path: Path) -> None:
    failed: dict[str, Any] = {"status": "failed", "reason": "loss is nan in epoch 3"}
    headers = [clean(**failed), header("pgd", **failed), header("cw", kind="minimal", **failed), worst(**failed)]
    numbers = cells.of_attacks(Batch([Attacked(one, records.empty()) for one in headers], []), {})
    numbers += cells.of_weights(read_run(save_run(tmp_path, [np.nan], **failed)), [0.01])
    found = cells.table(numbers)
    assert set(found["status"]) == {"failed"}
    assert set(found["reason"]) == {"loss is nan in epoch 3"}
    assert found["value"].isna().all()
    of_cw = {"accuracy", "avg_confidence", *metrics.NORM_METRICS, metrics.COMMON_NORM}
    assert set(found.loc[found["attack"] == "cw", "metric"]) == of_cw
    assert found.loc[found["attack"] == "cw", "epsilon"].isna().all()
    assert found.loc[found["attack"] == "pgd", "epsilon"].tolist() == [0.1, 0.3] * 2
    assert set(found.loc[found["attack"] == "worst-linf", "metric"]) == {"worst_accuracy"}
    assert "near_zero_0.01" in set(found["metric"])


def test_weights_are_measured_beside_their_run(tmp_path: Path) -> None:
    run = read_run(save_run(tmp_path, [[0.001, 1.0], [0.02, -2.0]]))
    found = cells.table(cells.of_weights(run, [0.01, 0.05]))
    assert found.set_index("metric")["value"].to_dict() == pytest.approx(
        {
            "fuzziness": weights.fuzziness(np.float32([0.001, 1, 0.02, 2])),
            "near_zero_0.01": 0.25,
            "near_zero_0.05": 0.5,
            "max_abs_conv": 2.0,
            "median_abs_conv": 0.51,
            "rho_extreme": 0.5,
            "min_angle": weights.min_angle([[0.001, 1.0], [0.02, -2.0]]),
        }
    )
    assert set(found["attack"]) == {"clean"}
    assert set(found["stand_in"]) == {"digits"}
    assert found["n"].tolist() == [4] * 7


def test_other_layers_are_measured_under_their_names(tmp_path: Path) -> None:
    key = "net.conv1.weight"
    found = cells.table(cells.of_weights(read_run(save_run(tmp_path, [0.001, 1.0])), [0.01], [key, key]))
    assert len(found) == 12
    failed = read_run(save_run(tmp_path / "b", [np.nan], status="failed", reason="nan"))
    names = cells.table(cells.of_weights(failed, [0.01], [key, "net.conv2.weight"]))["metric"]
    assert "near_zero_0.01" in set(names)
    assert "near_zero_0.01@net.conv2.weight" in set(names)


def test_a_layer_is_measured_of_the_nets_that_have_it(tmp_path: Path) -> None:
    run = read_run(save_run(tmp_path, [0.001, 1.0]))
    found = cells.table(cells.of_weights(run, [0.01], ["net.conv2.weight", "net.conv1.weight"]))
    assert set(found["metric"]) == {
        f"{name}@net.conv1.weight"
        for name in ("fuzziness", "near_zero_0.01", "max_abs_conv", "median_abs_conv", "rho_extreme", "min_angle")
    }
    cells.check_measured([run], ["net.conv1.weight"])
    with pytest.raises(ValueError, match=r"no net has a tensor 'net.conv2.weight'; allowed: net.conv1.weight"):
        cells.check_measured([run], ["net.conv1.weight", "net.conv2.weight"])


def test_features_of_a_net_in_two_figures_are_those_of_the_most_images() -> None:
    few, most = (clusters.Apart(MODEL, "digits", n, value, "") for n, value in ((20, 0.1), (60, 0.2)))
    failed = clusters.Apart(MODEL._replace(seed=1), "digits", 0, None, "loss is nan")
    of_one_class = clusters.Apart(MODEL._replace(seed=2), "digits", 3, None, "")
    found = cells.table(cells.of_features([most, failed, few, of_one_class]))
    assert found[["seed", "attack", "metric", "n", "status"]].to_numpy().tolist() == [
        [0, "clean", "silhouette", 60, "ok"],
        [1, "clean", "silhouette", 0, "failed"],
    ]
    assert found["value"].tolist() == [0.2, pytest.approx(np.nan, nan_ok=True)]


def test_an_attack_that_failed_says_so_at_the_radii_to_which_its_points_would_be_cut_back() -> None:
    cut = header("deepfool", kind="minimal", budget_rule="shrink_and_retest", status="failed", reason="nan")
    found = table(Attacked(cut, records.empty()))
    assert found.loc[found["metric"] == "accuracy", "epsilon"].dropna().tolist() == [0.1, 0.3]


def test_cells_do_not_depend_on_the_order_of_the_attacks() -> None:
    pd.testing.assert_frame_equal(table(*attacks()), table(*attacks()[::-1]))


def test_cells_survive_the_disk(tmp_path: Path) -> None:
    found = table(*attacks())
    found.to_csv(tmp_path / "cells.csv", index=False)
    back = pd.read_csv(tmp_path / "cells.csv").fillna({"stand_in": "", "space": "", "reason": "", "suite": ""})
    pd.testing.assert_frame_equal(back, found, check_dtype=False)


@pytest.mark.parametrize(
    ("threat", "got"),
    [
        (ThreatSpec("linf", "normalized", epsilons=(0.1,)), "space 'normalized', bounds 'data'"),
        (ThreatSpec("linf", bounds="none", epsilons=(0.1,)), "space 'pixel', bounds 'none'"),
        (None, "no threat"),
    ],
)
def test_a_worst_case_whose_points_are_no_images_is_refused(threat: ThreatSpec | None, got: str) -> None:
    with pytest.raises(ValueError, match=rf"worst-linf: .* pixels inside .*; got {got}"):
        table(Attacked(worst(threat=threat), points(epsilon=[0.1])))


# ---- what follows from it


def cell(value: float, **changes: Any) -> cells.Cell:
    base = cells.Cell(*MODEL, "", "pgd", "published", "pixel", "linf", 0.3, "accuracy", value, 100, "ok", "", 100)
    return base._replace(**changes)


PLACE = Place("mnist", "lenet", "std", "pgd", "accuracy")


def test_a_number_is_looked_up_by_its_place_and_radius() -> None:
    given = [cell(0.5), cell(0.6, seed=1, epsilon=0.3 + 1e-12), cell(0.7, epsilon=0.1), cell(0.9, epsilon=math.nan)]
    numbers = cells.index(cells.table([*given, cell(0.1, protocol="worst"), cell(0.2, metric="worst_accuracy")]))
    assert [one.value for one in cells.at(numbers, PLACE, 0.1 + 0.2)] == [0.5, 0.6]
    assert [one.value for one in cells.at(numbers, PLACE, 0.1)] == [0.7]
    assert [one.value for one in cells.at(numbers, PLACE, math.nan)] == [0.9]
    assert cells.at(numbers, PLACE, 0.2) == cells.at(numbers, PLACE._replace(attack="cw"), 0.1) == []
    assert [one.value for one in cells.at(numbers, PLACE._replace(metric="worst_accuracy"), 0.3)] == [0.2]


def test_one_seed_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"expected one number per cell and seed, got two for .*'pgd'.* epsilon 0.3"):
        cells.index(cells.table([cell(0.5), cell(0.6, epsilon=0.1 + 0.2)]))


def test_derived_metrics_pair_the_seeds() -> None:
    clean_of = {"attack": "clean", "epsilon": math.nan, "norm": "none"}
    given = [cell(v, seed=i, **clean_of) for i, v in enumerate((0.98, 0.97))]
    given += [cell(v, seed=i, defense="std+l1", **clean_of) for i, v in enumerate((0.95, 0.96, 0.5))]
    given += [cell(v, seed=i, metric="near_zero_0.01", **clean_of) for i, v in enumerate((0.05, 0.0))]
    given += [cell(0.9, seed=i, metric="near_zero_0.01", defense="std+l1", **clean_of) for i in range(2)]
    given.append(cell(0.3))
    found = cells.derive(pd.DataFrame(given), near_zero="near_zero_0.01", reference="std")
    drop = found[found["metric"] == "clean_accuracy_drop_vs_std"]
    assert drop["value"].tolist() == pytest.approx([0.03, 0.01])
    assert drop["defense"].unique().tolist() == ["std+l1"]
    halves = [max(share_margins(share, 100)) for share in (0.98, 0.95)]
    assert drop["half"].tolist()[0] == pytest.approx(math.hypot(*halves))
    ratio = found[found["metric"] == "near_zero_param_ratio_vs_std"]
    assert ratio["value"].tolist() == pytest.approx([18.0, math.nan], nan_ok=True)
    assert ratio["status"].tolist() == ["ok", "failed"]
    assert ratio["reason"].tolist() == ["", "std has 0, nothing to divide by"]
    assert found[found["metric"] == "error"]["value"].tolist() == pytest.approx([0.02, 0.03, 0.05, 0.04, 0.5, 0.7])
    assert found[found["metric"] == "adv_error"]["value"].tolist() == [0.7], "without an attack there is none"
