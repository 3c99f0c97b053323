import math

import numpy as np
import pytest
from scipy import stats

from touchstone.findings import intervals
from touchstone.findings.intervals import EXACT, Deviation, Margins

# ---- seeds


def test_three_seeds_give_students_t() -> None:
    found = intervals.interval([0.96, 0.97, 0.98])
    assert found.half == pytest.approx(4.302652729911275 * 0.01 / math.sqrt(3))  # t with 2 degrees of freedom
    assert found.kind == "t"
    values = [3.1, 2.7, 3.3, 2.9]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert intervals.interval(values) == pytest.approx((low, high, (high - low) / 2, "t"))


def test_a_share_has_its_interval_cut_at_0_and_1() -> None:
    found = intervals.interval([0.99, 1.0, 0.98], share=True)
    assert found.high == 1.0
    assert found.half > 1.0 - 0.99
    assert intervals.interval([0.99, 1.0, 0.98]).high > 1.0


def test_pooled_deviation_is_the_root_mean_square_within_groups() -> None:
    groups = [[1.0, 3.0], [5.0], [], [2.0, 2.0, 5.0]]
    assert intervals.pooled_deviation(groups) == pytest.approx((math.sqrt((2.0 + 6.0) / 3), 3))
    assert intervals.pooled_deviation([[1.0], []]) is None


@pytest.mark.parametrize("values", [[0.5, 0.7], [0.5]])
def test_few_seeds_borrow_the_deviation_of_the_study(values: list[float]) -> None:
    found = intervals.interval(values, pooled=Deviation(0.02, 10))
    assert found.half == pytest.approx(2.2281388519649385 * 0.02 / math.sqrt(len(values)))
    assert found.kind == "pooled"
    assert intervals.interval(values) is intervals.NO_INTERVAL


def test_a_number_that_is_infinite_has_no_interval() -> None:
    assert intervals.deviation([1.0, math.inf, 2.0]) is None
    assert intervals.interval([1.0, math.inf, 2.0]) is intervals.NO_INTERVAL


# ---- samples


@pytest.mark.parametrize(("broken", "low", "high"), [(0, 0.0, 0.036994), (1, 0.001767, 0.054486), (50, 0.4038, 0.5962)])
def test_a_share_has_wilsons_interval(broken: int, low: float, high: float) -> None:
    share = broken / 100
    found = intervals.share_margins(share, 100)
    assert (share - found.below, share + found.above) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("n", [1, 2, 10, 100, 200])
@pytest.mark.parametrize("part", [1.0, 0.1])
def test_the_interval_never_falls_when_one_more_sample_breaks(n: int, part: float) -> None:
    shares = [k / n for k in range(n + 1)]
    margins = [intervals.share_margins(share, n, part) for share in shares]
    ends = np.array([(share - found.below, share + found.above) for share, found in zip(shares, margins, strict=True)])
    assert (np.diff(ends, axis=0) > 0).all()
    assert ends.min() >= -1e-12
    assert ends.max() <= 1 + 1e-12


def coverage(n: int, population: int, marked: int) -> float:
    """How often the interval of n draws without replacement holds the share of a population, exactly."""
    counts = np.arange(max(0, n - population + marked), min(n, marked) + 1)
    part, inside = intervals.remainder(n, population), []
    for share in counts / n:
        below, above = intervals.share_margins(share, n, part)
        inside.append(share - below - 1e-12 <= marked / population <= share + above + 1e-12)
    return float(stats.hypergeom.pmf(counts, population, marked, n)[inside].sum())


@pytest.mark.parametrize(("n", "population"), [(200, 10**6), (200, 10000), (200, 400)])
def test_the_interval_of_a_share_holds_it_in_19_of_20_draws(n: int, population: int) -> None:
    found = [coverage(n, population, round(share * population)) for share in (0.0, 0.02, 0.05, 0.1, 0.3, 0.5, 0.9, 1.0)]
    assert min(found) > 0.92, "counts are whole, so that coverage swings around 95 %"
    assert np.mean(found) > 0.945


def test_a_population_that_is_met_whole_leaves_nothing_open() -> None:
    assert intervals.remainder(10000, 10000) == intervals.remainder(100, None) == 0.0
    assert intervals.remainder(100, 10000) == pytest.approx(math.sqrt(9900 / 9999))
    assert intervals.share_margins(0.3, 100, part=0.0) is EXACT


@pytest.mark.parametrize(("name", "truth"), [("mean_half", math.exp(0.125)), ("median_half", 1.0)])
def test_norms_over_some_samples_hold_the_truth_in_19_of_20_draws(name: str, truth: float) -> None:
    """Distances are skewed: here lognormal."""
    rng = np.random.default_rng(0)
    centre = np.mean if name == "mean_half" else np.median
    draws = [np.exp(rng.normal(0.0, 0.5, 100)) for _ in range(500)]
    inside = [abs(centre(draw) - truth) <= getattr(intervals, name)(draw) for draw in draws]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.025)


def test_the_half_width_of_a_mean_is_that_of_a_bootstrap() -> None:
    values = np.exp(np.random.default_rng(0).normal(0.0, 0.5, 200))
    found = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert intervals.mean_half(values.tolist()) == pytest.approx((found.high - found.low) / 2, rel=0.05)


def test_a_median_may_have_failures_above_it() -> None:
    values = [*np.linspace(1, 2, 80), *[math.inf] * 20]
    assert 0.05 < intervals.median_half(values) < 0.3
    assert math.isnan(intervals.median_half([*values[:50], *[math.inf] * 50]))
    assert math.isnan(intervals.mean_half([1.0]))
    assert math.isnan(intervals.median_half([]))


def test_more_samples_leave_less_open() -> None:
    share, mean = intervals.Samples(90, 100, 10000), intervals.Samples(90, 100, 10000, half=0.2)
    assert share.margins(0.5) == intervals.share_margins(0.5, 90, intervals.remainder(100, 10000))
    assert share.margins(0.5, 400) == intervals.share_margins(0.5, 360, intervals.remainder(400, 10000))
    assert mean.margins(7.0).above == pytest.approx(0.2 * math.sqrt(9900 / 9999))
    assert mean.margins(7.0, 400).below == pytest.approx(0.1 * math.sqrt(9600 / 9999))
    assert share.margins(0.5, 10000) is mean.margins(7.0, 10000) is EXACT
    assert intervals.Samples(90, 100, None).margins(0.5) is EXACT


# ---- both


def test_part_of_a_test_set_adds_the_error_that_the_seeds_share() -> None:
    margins = intervals.share_margins(0.5, 100, intervals.remainder(100, 10000))
    whole, some = (intervals.interval([0.4, 0.5, 0.6], margins=m, share=True) for m in (EXACT, margins))
    assert some.half == pytest.approx(math.hypot(whole.half, margins.above))
    assert (whole.kind, some.kind) == ("t", "t + sampling")


def test_three_seeds_on_few_samples_prove_no_zero() -> None:
    margins = intervals.share_margins(0.0, 100)
    low, high, half, _ = intervals.interval([0.0] * 3, margins=margins, share=True)
    assert (low, high, half) == pytest.approx((0.0, 0.036993, 0.036993), abs=1e-6)


def test_one_seed_has_its_samples_only() -> None:
    margins = intervals.share_margins(0.3, 200)
    found = intervals.interval([0.3], margins=margins)
    assert (found.low, found.high, found.kind) == (0.3 - margins.below, 0.3 + margins.above, "sampling only")


def test_nothing_is_said_of_samples_whose_spread_is_not_known() -> None:
    assert intervals.interval([0.4, 0.5, 0.6], margins=Margins(math.nan, math.nan)) is intervals.NO_INTERVAL
    assert intervals.interval([]) is intervals.NO_INTERVAL


def test_at_an_end_of_its_range_a_number_is_known_to_one_side() -> None:
    ends = (0.0, 100.0)
    assert [intervals.spread(printed, "3.1", *ends) for printed in ("0.0", "97.0", "100.0")] == ["+3.1", "±3.1", "−3.1"]
    assert intervals.spread("0.000", "0.1", 0.0, math.inf) == "+0.1"
