import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from touchstone.findings import intervals


def test_three_seeds_give_students_t() -> None:
    found = intervals.interval([0.96, 0.97, 0.98], 100, sampling="binomial")
    assert found.half == pytest.approx(4.302652729911275 * 0.01 / math.sqrt(3))  # t with 2 degrees of freedom
    assert found.kind == "t"
    values = [3.1, 2.7, 3.3, 2.9]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert intervals.interval(values, 100, sampling="none") == pytest.approx((low, high, (high - low) / 2, "t"))


def test_a_share_has_its_interval_cut_at_0_and_1() -> None:
    found = intervals.interval([0.99, 1.0, 0.98], 100, sampling="binomial")
    assert found.high == 1.0
    assert found.half > 1.0 - 0.99
    assert intervals.interval([0.99, 1.0, 0.98], 100, sampling="none").high > 1.0


def test_pooled_deviation_is_the_root_mean_square_within_groups() -> None:
    groups = [[1.0, 3.0], [5.0], [], [2.0, 2.0, 5.0]]
    assert intervals.pooled_deviation(groups) == pytest.approx((math.sqrt((2.0 + 6.0) / 3), 3))
    assert intervals.pooled_deviation([[1.0], []]) is None


@pytest.mark.parametrize(("values", "sampling"), [([0.5, 0.7], "binomial"), ([0.5, 0.7], "none"), ([0.5], "none")])
def test_few_seeds_borrow_the_deviation_of_the_study(values: list[float], sampling: Any) -> None:
    found = intervals.interval(values, 100, sampling=sampling, pooled=intervals.Deviation(0.02, 10))
    assert found.half == pytest.approx(2.2281388519649385 * 0.02 / math.sqrt(len(values)))
    assert found.kind == "pooled"
    assert intervals.interval(values, 100, sampling=sampling).kind == "none"


def test_one_seed_of_a_share_has_sampling_only() -> None:
    found = intervals.interval([0.3], 200, sampling="binomial", pooled=intervals.Deviation(0.02, 10))
    assert found == intervals.binomial_interval(0.3, 200)
    assert found.kind == "sampling only"


def test_the_binomial_interval_is_that_of_a_bootstrap() -> None:
    data = np.array([1] * 30 + [0] * 170)
    rng = np.random.default_rng(0)
    draws = rng.choice(data, (20000, 200)).mean(axis=1)
    found = intervals.binomial_interval(0.15, 200)
    assert (found.low, found.high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.006)
    assert found.half == max(0.15 - found.low, found.high - 0.15)


@pytest.mark.parametrize("successes", [0, 50])
def test_at_0_and_1_the_limit_is_that_of_clopper_and_pearson(successes: int) -> None:
    found = intervals.binomial_interval(successes / 50, 50)
    exact = stats.binomtest(successes, 50).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert found.half == pytest.approx(exact.high - exact.low)


def test_part_of_a_test_set_adds_the_error_that_the_seeds_share() -> None:
    values = [0.0, 0.0, 0.0]
    assert intervals.interval(values, 10000, sampling="binomial", population=10000).half == 0.0
    part = intervals.interval(values, 100, sampling="binomial", population=10000)
    assert part.half == pytest.approx((1 - 0.025**0.01) * math.sqrt(9900 / 9999))
    assert part.kind == "t + sampling"
    wide = intervals.interval([0.4, 0.5, 0.6], 100, sampling="binomial", population=10000).half
    assert wide > intervals.interval([0.4, 0.5, 0.6], 100, sampling="binomial").half
    assert intervals.interval([0.4, 0.5, 0.6], 100, sampling="none", population=10000).kind == "t"
    assert intervals.interval([0.4, 0.5, 0.6], 100, sampling="unknown", population=10000) is intervals.NO_INTERVAL
    assert intervals.interval([], 0, sampling="none") is intervals.NO_INTERVAL


def test_another_word_for_the_sampling_is_an_error() -> None:
    with pytest.raises(ValueError, match="sampling: expected binomial, unknown, none, got 'normal'"):
        intervals.interval([0.1, 0.2], 10, sampling="normal")
