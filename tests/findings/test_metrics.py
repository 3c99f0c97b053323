import math

import numpy as np
import pandas as pd
import pytest
from toy_records import points

from touchstone.findings import metrics


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
    found = {name: (number.value, number.n) for name, number in metrics.norms(frame, "l2").items()}
    assert found == {"success_rate": (2 / 3, 3), "median_norm": (1.0, 3), "mean_norm": (0.75, 2)}
    none = metrics.norms(frame.assign(success=False), "l2")
    assert none["success_rate"].value == 0
    assert none["median_norm"].value == math.inf
    assert math.isnan(none["mean_norm"].value)


def test_norms_are_over_what_is_classified_correctly() -> None:
    """85 of 100 samples are, 80 of them are broken; each clean error is a success at distance 0."""
    norm = np.concatenate([np.linspace(0.627, 1.627, 80), np.full(5, 9.0), np.zeros(15)])
    wrong = (np.arange(100) >= 85).astype(int)
    frame = points(clean_pred=wrong, success=(norm < 9.0).tolist(), dist_l2=norm.tolist())
    found = metrics.norms(frame, "l2")
    assert found["mean_norm"][:2] == pytest.approx((1.127, 80)), "0.949 with the clean errors"
    assert found["mean_norm"].half == pytest.approx(1.990450 * np.std(norm[:80], ddof=1) / math.sqrt(80))
    assert found["success_rate"][:2] == pytest.approx((80 / 85, 85)), "95 of 100 with them"
    assert found["median_norm"][:2] == pytest.approx((np.median(norm[:85]), 85))
    nothing = metrics.norms(frame.assign(clean_pred=1), "l2")
    assert {number.n for number in nothing.values()} == {0}
    assert all(math.isnan(number.value) for number in nothing.values())


def test_attacks_are_compared_on_the_samples_that_all_of_them_break() -> None:
    """Which mean is smaller says nothing while one attack leaves out the hard samples."""
    strong = points(dist_l2=[1.0, 2.0, 9.0, 9.0], success=[True] * 4)
    weak = points(dist_l2=[1.5, 2.5, 9.5, 0.0], success=[True, True, False, True], clean_pred=[0, 0, 0, 1])
    few = points(dist_l2=[3.0, 3.0], success=[True] * 2, sample=[1, 2])
    assert metrics.norms(strong, "l2")["mean_norm"].value > metrics.norms(weak, "l2")["mean_norm"].value
    found = metrics.common_norms({"strong": strong, "weak": weak}, "l2")
    assert {slug: number[:2] for slug, number in found.items()} == {"strong": (1.5, 2), "weak": (2.0, 2)}
    third = metrics.common_norms({"strong": strong, "weak": weak, "few": few}, "l2")
    assert [number[:2] for number in third.values()] == [(2.0, 1), (2.5, 1), (3.0, 1)]


def worst_by_hand(frames: list[pd.DataFrame], norm: str, eps: float) -> tuple[float, int]:
    common = set.intersection(*(set(frame["sample"]) for frame in frames))
    robust = 0
    for sample in common:
        rows = [row for frame in frames for row in frame[frame["sample"] == sample].to_dict("records")]
        wrong = any(row["clean_pred"] != row["label"] for row in rows)
        robust += not wrong and not any(row["success"] and row[f"dist_{norm}"] <= eps + 1e-6 for row in rows)
    return robust / len(common), len(common)


@pytest.mark.parametrize("seed", range(2))
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


# ---- inside the threat of a published attack


def in_threat(own: pd.DataFrame, pixels: list[float], epsilon: float = 0.3) -> tuple[float, ...]:
    reached = metrics.reach(own)
    found = metrics.under_threat(own, reached, pd.Series(pixels), epsilon=epsilon, radius=0.1)
    assert found is not None
    return found


def test_the_worst_case_is_no_better_than_the_published_attack() -> None:
    """It breaks 553 of 1000 samples in its own space; the pixel ball that surely lies inside breaks 510 others."""
    own = points(epsilon=[0.3] * 1000, success=[True] * 553 + [False] * 447, dist_linf=[0.3] * 1000)
    pixels = [math.inf] * 490 + [0.1] * 510
    assert in_threat(own, pixels) == pytest.approx((0.0, 0.447, 1000))
    assert in_threat(own, [0.1] * 510 + [math.inf] * 490) == pytest.approx((0.447, 0.0, 1000)), "not 0.490"


def test_points_at_a_smaller_radius_count_too() -> None:
    radii = [0.1] * 3 + [0.3] * 3
    own = points(sample=[0, 1, 2] * 2, epsilon=radii, dist=radii, success=[True, False, False, False, True, False])
    assert in_threat(own, [math.inf] * 3) == pytest.approx((1 / 3, 1 / 3, 3))
    assert in_threat(own, [math.inf] * 3, epsilon=0.1) == pytest.approx((2 / 3, 0.0, 3))


def test_a_gap_is_read_on_the_samples_that_both_met() -> None:
    own = points(sample=[1, 2, 3, 9], epsilon=[0.3] * 4, success=[True, False, False, False])
    assert in_threat(own, [0.0, 0.0, 0.05, 0.2]) == pytest.approx((1 / 3, 1 / 3, 3))
    nothing = in_threat(own.assign(sample=[11, 12, 13, 19]), [0.0, 0.0, 0.05, 0.2])
    assert nothing == pytest.approx((math.nan, math.nan, 0), nan_ok=True)
    assert metrics.under_threat(own, metrics.reach(own), pd.Series([0.0]), epsilon=0.2, radius=1.0) is None


def test_the_reach_of_an_attack_is_where_its_point_lies_in_its_own_space() -> None:
    """Whatever radius it was made for, none among them, and short of the confidence that it aimed at too."""
    own = points(
        sample=[0, 0, 1, 2, 3, 4],
        epsilon=[0.1, 0.3, 0.3, np.nan, 0.3, 0.3],
        success=[False, True, False, True, False, False],
        adv_pred=[0, 1, 0, 1, 1, 1],
        rejected=[False] * 5 + [True],
        dist=[0.08, 0.25, 0.3, 0.2, 0.15, 0.15],
        dist_linf=[0.02, 0.05, 0.05, 0.04, 0.03, 0.03],
    )
    assert metrics.reach(own).tolist() == [0.25, math.inf, 0.2, 0.15, math.inf]


# ---- what else is read from records


def test_rho_is_over_what_is_right_or_over_everyone_and_with_or_without_end_points() -> None:
    frame = points(
        norm="l2",
        x_l2=[10.0, 10.0, 5.0, 10.0, 0.0],
        dist_l2=[1.0, 3.0, 2.0, 0.0, 1.0],
        success=[True, False, True, True, True],
        clean_pred=[0, 0, 0, 1, 0],
    )
    found = {name: metrics.rho(frame, over)[:2] for name, over in metrics.RHO.items()}
    assert found == {
        "rho_adv": (pytest.approx((0.1 + 0.4) / 2), 2),
        "rho_adv_ends": (pytest.approx((0.1 + 0.3 + 0.4) / 3), 3),
        "rho_adv_all": (pytest.approx((0.1 + 0.4 + 0.0) / 3), 3),
        "rho_adv_all_ends": (pytest.approx((0.1 + 0.3 + 0.4 + 0.0) / 4), 4),
    }
    still = points(norm="l2", x_l2=[10.0], dist_l2=[0.0], success=[False])
    assert metrics.rho(still, metrics.RHO["rho_adv_ends"]).n == 0, "an attack that ended where it began"


def test_rho_is_measured_where_the_attack_works() -> None:
    whitened = points(norm="l2", success=[True], dist_l2=[0.3], x_l2=[9.0], dist=[2.0], x_l2_space=[20.0])
    assert metrics.rho(whitened, metrics.RHO["rho_adv"]).value == 0.1


def test_confidence_is_that_of_the_prediction() -> None:
    frame = points(
        clean_conf=[0.9, 0.7, 0.5], adv_conf=[0.6, 0.8, 1.0], clean_pred=[0, 0, 1], success=[True, False, True]
    )
    assert metrics.confidence(frame, clean=True)[:2] == (pytest.approx(0.7), 3)
    assert metrics.confidence(frame)[:2] == (0.6, 1), "of what is broken and was right"
    assert metrics.confidence(frame).half != metrics.confidence(frame, clean=True).half
    assert metrics.prob_gap(points(clean_gap=[0.5, -0.1]))[:2] == (pytest.approx(0.2), 2)


def test_a_minimal_norm_is_read_at_a_radius() -> None:
    frame = points(epsilon=[math.nan] * 3, dist_l2=[0.0, 1.0, 2.0], success=[True, True, False], clean_pred=[1, 0, 0])
    read = metrics.within(frame, (0.5, 1.0, 3.0), "l2")
    assert metrics.accuracy(read)["value"].tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3])
    assert metrics.within(frame, (), "l2").empty
