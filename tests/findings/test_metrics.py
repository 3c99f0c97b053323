import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from scipy import stats

from touchstone import records
from touchstone.findings import metrics, weights


def points(**columns: Any) -> pd.DataFrame:
    """Records with the given columns; the rest is what a clean, unbroken sample 0, 1, ... has."""
    rows = max(len(value) for value in columns.values() if not isinstance(value, str))
    blank = {
        name: {"int": 0, "float": 0.0, "bool": False, "text": "linf"}[kind] for name, kind in records.COLUMNS.items()
    }
    return pd.DataFrame({**blank, "sample": np.arange(rows), "member": "a", **columns}, index=range(rows))


def random_points(rng: np.random.Generator, member: str, samples: int = 40) -> pd.DataFrame:
    rows = 3 * samples
    return points(
        sample=np.repeat(np.arange(samples), 3),
        restart=np.tile([0, 1, 2], samples),
        epsilon=np.tile([0.1, 0.2, 0.3], samples),
        success=rng.random(rows) < 0.3,
        dist_linf=rng.uniform(0, 0.35, rows),
        dist_l2=rng.uniform(0, 3, rows),
        clean_pred=np.repeat((rng.random(samples) < 0.1).astype(int), 3),
        member=member,
    )


# ---- records


def test_accuracy_counts_a_sample_once_however_often_it_is_broken() -> None:
    frame = points(
        sample=[0, 0, 1, 1, 2, 2, 3, 3] * 2,
        restart=[0, 1] * 8,
        epsilon=[0.1] * 8 + [0.2] * 8,
        success=[True, True, False, True, False, False, False, False] + [True] * 6 + [False] * 2,
    )
    found = metrics.accuracy(frame)
    assert found.to_dict("list") == {"epsilon": [0.1, 0.2], "value": [0.5, 0.25], "n": [4, 4]}


def test_clean_accuracy_reads_the_clean_prediction_only() -> None:
    frame = points(clean_pred=[0, 1, 0, 0], label=[0, 0, 0, 3], epsilon=[np.nan] * 4, success=[True] * 4)
    found = metrics.accuracy(frame, clean=True)
    assert found["value"].tolist() == [0.5]
    assert found["n"].tolist() == [4]
    assert math.isnan(found["epsilon"][0])


def test_accuracy_without_a_budget_has_no_epsilon() -> None:
    found = metrics.accuracy(points(epsilon=[np.nan, np.nan, 0.1], sample=[0, 1, 0], success=[True, False, False]))
    assert found["value"].tolist() == [1.0, 0.5]
    assert found["epsilon"].isna().tolist() == [False, True]


def test_norms_count_a_failure_as_infinitely_far() -> None:
    frame = points(dist_l2=[1.0, 3.0, 0.5, 9.0], success=[True, True, True, False], sample=[0, 0, 1, 2])
    assert metrics.norms(frame, "l2") == pytest.approx({"success_rate": 2 / 3, "median_dist": 1.0, "mean_dist": 0.75})
    none = metrics.norms(frame.assign(success=False), "l2")
    assert none["success_rate"] == 0
    assert none["median_dist"] == math.inf
    assert math.isnan(none["mean_dist"])


def worst_by_hand(frames: list[pd.DataFrame], norm: str, eps: float) -> tuple[float, int]:
    common = set.intersection(*(set(frame["sample"]) for frame in frames))
    robust = 0
    for sample in common:
        rows = [row for frame in frames for row in frame[frame["sample"] == sample].to_dict("records")]
        wrong = any(row["clean_pred"] != row["label"] for row in rows)
        robust += not wrong and not any(row["success"] and row[f"dist_{norm}"] <= eps + 1e-6 for row in rows)
    return robust / len(common), len(common)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_worst_case_is_the_union_of_all_points(seed: int, norm: str) -> None:
    rng = np.random.default_rng(seed)
    frames = {name: random_points(rng, name) for name in "abc"}
    frames["c"] = frames["c"][frames["c"]["sample"] < 30]
    epsilons = [0.0, 0.05, 0.1, 0.2, 0.3, 2.0]
    found = metrics.worst_case(frames, norm=norm, epsilons=epsilons)
    for row in found.itertuples():
        assert (row.value, row.n) == worst_by_hand(list(frames.values()), norm, row.epsilon)
    assert found["value"].is_monotonic_decreasing


@pytest.mark.parametrize("seed", range(5))
def test_the_worst_case_is_no_better_than_any_member(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = {name: random_points(rng, name) for name in "ab"}
    both = metrics.worst_case(frames, norm="linf", epsilons=[0.1, 0.3])["value"]
    for name, frame in frames.items():
        alone = metrics.worst_case({name: frame}, norm="linf", epsilons=[0.1, 0.3])["value"]
        assert (both <= alone).all()
    reached = frames["a"].assign(dist_linf=frames["a"]["epsilon"], clean_pred=0)
    own = metrics.accuracy(reached).set_index("epsilon")["value"]
    worst = metrics.worst_case({"a": reached}, norm="linf", epsilons=list(own.index)).set_index("epsilon")["value"]
    assert (worst <= own).all()


def test_a_point_counts_up_to_the_tolerance_and_not_if_it_failed() -> None:
    frame = points(dist_linf=[0.3, 0.3 + 9e-7, 0.3 + 2e-6, 0.1], success=[True, True, True, False])
    assert metrics.worst_case({"a": frame}, norm="linf", epsilons=[0.3])["value"].tolist() == [0.5]


def test_a_clean_error_is_broken_at_every_radius() -> None:
    frame = points(clean_pred=[1, 0], success=[False, False], dist_linf=[0.2, 0.2])
    assert metrics.worst_case({"a": frame}, norm="linf", epsilons=[0.0])["value"].tolist() == [0.5]


def test_a_missing_attack_makes_the_worst_case_incomplete_unless_nothing_is_left() -> None:
    frame = points(success=[True, False], dist_linf=[0.1, 0.1])
    found = metrics.worst_case({"a": frame}, norm="linf", epsilons=[0.1], required=["a", "square", "ddn"])
    assert found["incomplete"].tolist() == ["missing square, ddn"]
    done = metrics.worst_case({"a": frame.assign(success=True)}, norm="linf", epsilons=[0.1], required=["square"])
    assert done[["value", "incomplete"]].to_numpy().tolist() == [[0.0, ""]]
    member = metrics.worst_case({"b": frame}, norm="linf", epsilons=[0.1], required=["a"])
    assert member["incomplete"].tolist() == [""], "slugs of members count as well"


def test_a_small_attack_of_another_kind_does_not_shrink_the_samples() -> None:
    suite = points(sample=[0, 1, 2, 3], success=[False] * 4, dist_linf=[0.1] * 4)
    small = points(sample=[1, 9], success=[True, True], dist_linf=[0.1, 0.1])
    frames = {"suite": suite, "small": small}
    found = metrics.worst_case(frames, norm="linf", epsilons=[0.1], over=["suite"])
    assert found[["value", "n"]].to_numpy().tolist() == [[0.75, 4]]
    both = metrics.worst_case(frames, norm="linf", epsilons=[0.1])
    assert both[["value", "n"]].to_numpy().tolist() == [[0.0, 1]]


def test_without_a_common_sample_there_is_no_worst_case() -> None:
    frames = {"a": points(sample=[0, 1]), "b": points(sample=[2, 3])}
    for given in (frames, {}):
        found = metrics.worst_case(given, norm="linf", epsilons=[0.1])
        assert found["n"].tolist() == [0]
        assert found["value"].isna().all()
        assert found["incomplete"].tolist() == ["no sample met every attack"]


def test_the_worst_case_counts_misclassified_points_that_their_attack_was_not_content_with() -> None:
    frame = points(
        adv_pred=[1, 1, -1, 0, 1],
        rejected=[False, True, False, False, False],
        success=[False] * 4 + [True],
        dist_l2=[0.5] * 5,
    )
    assert metrics.worst_distances({"a": frame}, "l2").tolist() == [0.5, math.inf, math.inf, math.inf, 0.5]
    assert metrics.distances(frame, "l2").tolist() == [math.inf] * 4 + [0.5]  # its own norms are at that confidence


# ---- intervals


def test_three_seeds_give_students_t() -> None:
    found = metrics.interval([0.96, 0.97, 0.98], 100, sampling="binomial")
    assert found.half == pytest.approx(4.302652729911275 * 0.01 / math.sqrt(3))  # t with 2 degrees of freedom
    assert found.kind == "t"
    values = [3.1, 2.7, 3.3, 2.9]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert metrics.interval(values, 100, sampling="none") == pytest.approx((low, high, (high - low) / 2, "t"))


def test_a_share_has_its_interval_cut_at_0_and_1() -> None:
    found = metrics.interval([0.99, 1.0, 0.98], 100, sampling="binomial")
    assert found.high == 1.0
    assert found.half > 1.0 - 0.99
    assert metrics.interval([0.99, 1.0, 0.98], 100, sampling="none").high > 1.0


def test_pooled_deviation_is_the_root_mean_square_within_groups() -> None:
    groups = [[1.0, 3.0], [5.0], [], [2.0, 2.0, 5.0]]
    assert metrics.pooled_deviation(groups) == pytest.approx((math.sqrt((2.0 + 6.0) / 3), 3))
    assert metrics.pooled_deviation([[1.0], []]) is None


@pytest.mark.parametrize(("values", "sampling"), [([0.5, 0.7], "binomial"), ([0.5, 0.7], "none"), ([0.5], "none")])
def test_few_seeds_borrow_the_deviation_of_the_study(values: list[float], sampling: Any) -> None:
    found = metrics.interval(values, 100, sampling=sampling, pooled=metrics.Deviation(0.02, 10))
    assert found.half == pytest.approx(2.2281388519649385 * 0.02 / math.sqrt(len(values)))
    assert found.kind == "pooled"
    assert metrics.interval(values, 100, sampling=sampling).kind == "none"


def test_one_seed_of_a_share_has_sampling_only() -> None:
    found = metrics.interval([0.3], 200, sampling="binomial", pooled=metrics.Deviation(0.02, 10))
    assert found == metrics.binomial_interval(0.3, 200)
    assert found.kind == "sampling only"


def test_the_binomial_interval_is_that_of_a_bootstrap() -> None:
    data = np.array([1] * 30 + [0] * 170)
    rng = np.random.default_rng(0)
    draws = rng.choice(data, (20000, 200)).mean(axis=1)
    found = metrics.binomial_interval(0.15, 200)
    assert (found.low, found.high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.006)
    assert found.half == max(0.15 - found.low, found.high - 0.15)


@pytest.mark.parametrize("successes", [0, 50])
def test_at_0_and_1_the_limit_is_that_of_clopper_and_pearson(successes: int) -> None:
    found = metrics.binomial_interval(successes / 50, 50)
    exact = stats.binomtest(successes, 50).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert found.half == pytest.approx(exact.high - exact.low)


def test_part_of_a_test_set_adds_the_error_that_the_seeds_share() -> None:
    values = [0.0, 0.0, 0.0]
    assert metrics.interval(values, 10000, sampling="binomial", population=10000).half == 0.0
    part = metrics.interval(values, 100, sampling="binomial", population=10000)
    assert part.half == pytest.approx((1 - 0.025**0.01) * math.sqrt(9900 / 9999))
    assert part.kind == "t + sampling"
    wide = metrics.interval([0.4, 0.5, 0.6], 100, sampling="binomial", population=10000).half
    assert wide > metrics.interval([0.4, 0.5, 0.6], 100, sampling="binomial").half
    assert metrics.interval([0.4, 0.5, 0.6], 100, sampling="none", population=10000).kind == "t"
    assert metrics.interval([0.4, 0.5, 0.6], 100, sampling="unknown", population=10000) is metrics.NO_INTERVAL
    assert metrics.interval([], 0, sampling="none") is metrics.NO_INTERVAL


# ---- cells.csv


def metadata(attack: str, **changes: Any) -> dict[str, Any]:
    cell = {"run": "demo", "study": "toy", "original": "mnist", "dataset": "digits", "model": "lenet"}
    cell |= {"defense": "std", "seed": 0, "attack": attack}
    threat = {"norm": "linf", "space": "pixel", "epsilons": [0.1, 0.3], "bounds": "data"}
    base = {"cell": cell, "threat": threat, "protocol": "published", "fn": "pgd", "kind": "fixed", "options": {}}
    return {**base, "status": "ok", "reason": "", **changes}


CLEAN = {"fn": "clean", "kind": "none", "threat": None}
MEMBERS = {"members": [{"slug": "pgd-ce"}, {"slug": "square"}]}
CASCADE = {"fn": "cascade", "kind": "suite", "protocol": "worst", "options": MEMBERS}


def save(folder: Path, attack: str, frame: pd.DataFrame, **changes: Any) -> Path:
    path = folder / attack / "records.parquet"
    records.write(path, frame, metadata(attack, **changes))
    return path


def save_model(folder: Path, weights: Any, **changes: Any) -> Path:
    folder.mkdir()
    save_file({"net.conv1.weight": np.asarray(weights, dtype="float32")}, folder / "model.safetensors")
    run = {"cell": metadata("")["cell"], "status": "ok", "reason": "", **changes}
    (folder / "run.json").write_text(json.dumps(run))
    return folder / "run.json"


def number(table: pd.DataFrame, **where: Any) -> pd.Series:
    found = table
    for key, value in where.items():
        found = found[found[key] == value]
    assert len(found) == 1, found
    return found.iloc[0]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    clean = points(epsilon=[np.nan] * 4, norm="none", clean_pred=[0, 0, 0, 1])
    grid = {"sample": [0, 1, 2, 3] * 2, "epsilon": [0.1] * 4 + [0.3] * 4, "clean_pred": [0, 0, 0, 1] * 2}
    pgd = points(**grid, success=[False] * 3 + [True] + [True, False, False, True], dist_linf=[0.1] * 4 + [0.3] * 4)
    far = points(**grid, success=[True] * 8, dist_linf=[0.01] * 8)
    cascade = points(
        **grid, success=[False] * 5 + [True, False, True], dist_linf=[0.1] * 4 + [0.3] * 4, member="pgd-ce"
    )
    cw = points(epsilon=[np.nan] * 4, success=[True] * 3 + [False], dist_l2=[1.0, 2.0, 4.0, 0.0], norm="l2")
    normalized = {"norm": "linf", "space": "normalized", "epsilons": [0.1, 0.3], "bounds": "data"}
    l2 = {"norm": "l2", "space": "normalized", "epsilons": [0.3], "bounds": "data"}
    return [
        save(tmp_path, "clean", clean, **CLEAN),
        save(tmp_path, "pgd-px", pgd),
        save(tmp_path, "pgd", far, threat=normalized),
        save(tmp_path, "worst-linf", cascade, **CASCADE),
        save(tmp_path, "cw", cw, fn="cw", kind="minimal", threat=l2),
    ]


def test_cells_hold_every_number_of_the_records(paths: list[Path]) -> None:
    table = metrics.cells(paths, [])
    assert list(table) == metrics.CELL_COLUMNS
    clean = number(table, attack="clean")
    assert (clean["value"], clean["n"], clean["norm"]) == (0.75, 4, "none")
    assert (clean["dataset"], clean["original_dataset"], clean["space"]) == ("digits", "mnist", "")
    assert number(table, attack="pgd-px", epsilon=0.3)["value"] == 0.5
    assert number(table, attack="pgd", epsilon=0.3)["value"] == 0.0
    assert number(table, attack="cw", metric="accuracy")["value"] == 0.25
    assert math.isnan(number(table, attack="cw", metric="accuracy")["epsilon"])
    assert number(table, attack="cw", metric="success_rate")["value"] == 0.75
    assert number(table, attack="cw", metric="median_dist")["value"] == 3.0
    assert number(table, attack="cw", metric="mean_dist")["value"] == pytest.approx(7 / 3)
    assert set(table["member"]) == set(table["attack"])
    assert (table["metric"] == "accuracy").sum() == 6, "a cascade has a worst case, and no accuracy of its own"


def test_the_worst_case_unites_attacks_in_pixels_only(paths: list[Path]) -> None:
    table = metrics.cells(paths, [])
    small, large = (number(table, metric="worst_accuracy", epsilon=eps) for eps in (0.1, 0.3))
    assert (small["value"], large["value"]) == (0.75, 0.25)
    assert (large["attack"], large["protocol"], large["space"], large["n"]) == ("worst-linf", "worst", "pixel", 4)
    assert (large["status"], large["reason"]) == ("incomplete", "missing square")


def test_an_attack_that_the_worst_case_needs_can_be_named(paths: list[Path]) -> None:
    table = metrics.cells(paths, [], required={"worst-linf": ["ddn"]})
    assert number(table, metric="worst_accuracy", epsilon=0.3)["reason"] == "missing square, ddn"


def test_points_cut_back_to_a_budget_are_no_minimal_norms(tmp_path: Path) -> None:
    frame = points(
        sample=[0, 1, 0, 1],
        epsilon=[np.nan, np.nan, 0.1, 0.1],
        success=[True, False, True, True],
        dist_l2=[2.0, 0, 0.1, 0.1],
    )
    table = metrics.cells(
        [save(tmp_path, "cw", frame, kind="minimal", threat=metadata("")["threat"] | {"norm": "l2"})], []
    )
    assert number(table, metric="mean_dist")["value"] == 2.0
    assert number(table, metric="accuracy", epsilon=0.1)["value"] == 0.0


def test_a_failed_model_leaves_rows_without_a_value(tmp_path: Path) -> None:
    failed = {"status": "failed", "reason": "loss is nan in epoch 3"}
    empty = records.empty()
    paths = [
        save(tmp_path, "clean", empty, **CLEAN, **failed),
        save(tmp_path, "pgd", empty, **failed),
        save(tmp_path, "cw", empty, kind="minimal", **failed),
        save(tmp_path, "worst-linf", empty, **CASCADE, **failed),
    ]
    table = metrics.cells(paths, [save_model(tmp_path / "model", [np.nan], **failed)], thresholds=[0.01])
    assert set(table["status"]) == {"failed"}
    assert set(table["reason"]) == {"loss is nan in epoch 3"}
    assert table["value"].isna().all()
    assert set(table.loc[table["attack"] == "cw", "metric"]) == {"accuracy", *metrics.NORM_METRICS}
    assert table.loc[table["attack"] == "cw", "epsilon"].isna().all()
    assert table.loc[table["attack"] == "pgd", "epsilon"].tolist() == [0.1, 0.3]
    assert set(table.loc[table["attack"] == "worst-linf", "metric"]) == {"worst_accuracy"}
    assert "near_zero_0.01" in set(table["metric"])


def test_weights_are_measured_beside_their_run(tmp_path: Path) -> None:
    table = metrics.cells([], [save_model(tmp_path / "model", [[0.001, 1.0], [0.02, -2.0]])], thresholds=[0.01, 0.05])
    found = table.set_index("metric")["value"].to_dict()
    assert found == pytest.approx(
        {
            "fuzziness": weights.fuzziness(np.float32([0.001, 1, 0.02, 2])),
            "near_zero_0.01": 0.25,
            "near_zero_0.05": 0.5,
            "max_abs_conv": 2.0,
            "rho_extreme": 0.5,
        }
    )
    assert set(table["attack"]) == {"clean"}
    assert table["n"].tolist() == [4] * 5
    assert metrics.cells([], [tmp_path / "model" / "run.json"], first_conv=None).empty


def test_cells_do_not_depend_on_the_order_of_the_files(paths: list[Path]) -> None:
    pd.testing.assert_frame_equal(metrics.cells(paths, []), metrics.cells(paths[::-1], []))


def test_cells_survive_the_disk(tmp_path: Path, paths: list[Path]) -> None:
    table = metrics.cells(paths, [])
    table.to_csv(tmp_path / "cells.csv", index=False)
    pd.testing.assert_frame_equal(metrics.read_cells(tmp_path / "cells.csv"), table, check_dtype=False)
    table.drop(columns="n").to_csv(tmp_path / "cells.csv", index=False)
    with pytest.raises(ValueError, match=r"cells\.csv: expected columns dataset, .*, n, status"):
        metrics.read_cells(tmp_path / "cells.csv")


def test_a_worst_case_outside_pixels_is_refused(tmp_path: Path) -> None:
    threat = {"norm": "linf", "space": "normalized", "epsilons": [0.1], "bounds": "data"}
    path = save(tmp_path, "worst-linf", points(epsilon=[0.1]), **CASCADE | {"threat": threat})
    with pytest.raises(ValueError, match=r"worst-linf: .* pixels inside .*; got space 'normalized'"):
        metrics.cells([path], [])
    path = save(
        tmp_path,
        "worst-linf",
        points(epsilon=[0.1]),
        **CASCADE | {"threat": {**threat, "space": "pixel", "bounds": "none"}},
    )
    with pytest.raises(ValueError, match="bounds 'none'"):
        metrics.cells([path], [])


def test_a_broken_run_json_names_itself(tmp_path: Path) -> None:
    path = save_model(tmp_path / "model", [1.0])
    path.write_text('{"cell": ')
    with pytest.raises(ValueError, match=r"run\.json: expected JSON, .*\(rule train\)"):
        metrics.cells([], [path])
