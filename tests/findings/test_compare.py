"""Two runs beside each other."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_records import clean, header, points, worst
from toy_runs import CLAIMS, STATEMENTS, finished

from touchstone.cell import ThreatSpec
from touchstone.findings import compare
from touchstone.findings.compare import Change, Comparison
from touchstone.findings.results import load_run
from touchstone.records import Attacked, Batch

N = 40
L2 = ThreatSpec("l2", epsilons=(0.5,))
BROKEN = np.arange(N) < 20
DISTANCES = np.linspace(0.1, 1.0, N)


def attacks(
    broken: np.ndarray = BROKEN, distances: np.ndarray = DISTANCES, threat: ThreatSpec | None = None, sha256: str = ""
) -> list[Attacked]:
    """The clean pass, a fixed attack with a worst case, and a minimal-norm attack that breaks what is not inf."""
    made = {"dataset_sha256": sha256}
    found = np.isfinite(distances)
    fixed = {"epsilon": [0.3] * N, "label": [1] * N, "clean_pred": [1] * N}
    fixed |= {"success": broken, "adv_pred": np.where(broken, 0, 1), "dist_linf": [0.3] * N}
    nearest = {
        "norm": "l2",
        "epsilon": [np.nan] * N,
        "success": found,
        "dist_l2": distances,
        "dist_linf": distances + 1.0,
    }
    about = {"kind": "minimal", "budget_rule": "distance", "threat": L2, "made": made}
    return [
        Attacked(clean(made=made), points(epsilon=[np.nan] * N, norm="none")),
        Attacked(header("pgd", made=made, **({"threat": threat} if threat else {})), points(**fixed)),
        Attacked(worst(made=made), points(**fixed)),
        Attacked(header("ddn", **about), points(**nearest)),
    ]


def compared(other: list[Attacked], one: Sequence[Attacked] = ()) -> Comparison:
    """Compare `attacks` with others."""
    return compare.compare_cells([Batch([*one] or attacks(), [])], [Batch(other, [])])


# ---- tests on pairs


@pytest.mark.parametrize(
    ("more", "less", "p"), [(0, 0, 1.0), (1, 1, 1.0), (0, 5, 2 / 2**5), (1, 9, 2 * 11 / 2**10), (9, 1, 2 * 11 / 2**10)]
)
def test_mcnemar_is_a_coin_on_samples_that_one_run_alone_breaks(more: int, less: int, p: float) -> None:
    one = pd.Series([1.0] * more + [0.0] * less + [1.0, 0.0])
    other = pd.Series([0.0] * more + [1.0] * less + [1.0, 0.0])
    assert compare.mcnemar(one, other) == pytest.approx(p)


@pytest.mark.parametrize(
    ("apart", "p"),
    [
        ([0.0] * 9, 1.0),
        ([5e-7] * 9, 1.0),  # the judge cannot tell them apart
        ([0.1, 0.2, 0.3, 0.4, 0.5], 2 / 2**5),
        ([-0.1, 0.2, 0.3, 0.4, np.inf], 4 / 2**5),
        ([0.1, 0.2, 0.3, 0.4, -np.inf], 20 / 2**5),  # rank sums 10 and 5: of 32 signs 10 give no more than 5
    ],
)
def test_signed_rank_counts_what_one_run_alone_breaks_as_farthest(apart: list[float], p: float) -> None:
    """The two-sided p of ranks 1 to 5, counted by hand."""
    one = pd.Series([np.inf if x == np.inf else 1.0 + x if x != -np.inf else 1.0 for x in apart] + [np.inf])
    other = pd.Series([np.inf if x == -np.inf else 1.0 for x in apart] + [np.inf])
    assert compare.signed_rank(one, other) == pytest.approx(p)


# ---- two runs


def test_a_run_and_itself_have_no_difference() -> None:
    found = compared(attacks())
    assert found.verdict == "no difference: 7 cells are equal, sample by sample"
    assert (found.changes, found.only_one, found.only_other, found.unlike) == ((), (), (), ())
    assert set(found.cells["p"]) == set(found.cells["q"]) == {1.0}


def test_each_cell_is_compared_by_its_test() -> None:
    pairs = compared(attacks(distances=DISTANCES * 2)).pairs
    at_half, _, distance = (pair for pair in pairs if pair.attack == "ddn")
    assert (at_half.epsilon, at_half.test, distance.test) == (0.5, "McNemar, exact", "Wilcoxon, signed rank")
    assert (at_half.one, at_half.other) == (pytest.approx(22 / 40), pytest.approx(33 / 40))  # farther than 0.5
    assert (at_half.more, at_half.less) == (0, 11)
    assert (distance.one, distance.other) == (pytest.approx(0.55), pytest.approx(1.1))
    assert (distance.more, distance.less) == (0, N)


def test_a_distance_is_of_samples_that_both_nets_have_right() -> None:
    rows = attacks()
    wrong = rows[3]._replace(frame=rows[3].frame.assign(clean_pred=[5] * 10 + [0] * (N - 10)))
    (pair,) = (p for p in compared([*rows[:3], wrong]).pairs if p.measure == "distance")
    assert (pair.n, pair.alone, pair.more, pair.less) == (N - 10, 10, 0, 0)


def test_differences_are_discoveries_at_a_rate() -> None:
    """Five samples of forty have p = 0.06: not one of the cells is a discovery; twenty are."""
    few = compared(attacks(BROKEN & (np.arange(N) >= 5)))
    assert not few.differing
    assert few.verdict.startswith("no difference in 7 cells at a false discovery rate of 5 %; samples differ in 2")
    many = compared(attacks(~BROKEN & False))
    assert [pair.attack for pair in many.differing] == ["pgd", "worst-linf"]
    assert many.differing[0].q == pytest.approx(many.differing[0].p * 7 / 2)
    assert many.verdict == "2 of 7 cells differ, at a false discovery rate of 5 %"


def test_a_radius_is_one_as_the_judge_takes_it() -> None:
    """What stands in one run alone is named."""
    near = compared([one for one in attacks() if one.header.attack != "ddn"])
    assert not near.only_other
    assert near.only_one == (
        "toy/mnist/lenet/std/0 ddn accuracy at 0.5 (digits)",
        "toy/mnist/lenet/std/0 ddn accuracy (digits)",
        "toy/mnist/lenet/std/0 ddn distance (digits)",
    )
    rows = attacks()
    moved = rows[1]._replace(frame=rows[1].frame.assign(epsilon=0.3000004))
    assert not compared([rows[0], moved, *rows[2:]]).only_one


def test_samples_that_one_run_alone_met_are_counted() -> None:
    rows = attacks()
    half = rows[1]._replace(frame=rows[1].frame.iloc[:30])
    (pair,) = (p for p in compared([rows[0], half, *rows[2:]]).pairs if p.attack == "pgd")
    assert (pair.n, pair.alone, pair.one) == (30, 10, pytest.approx(10 / 30))


def test_other_data_of_one_name_are_not_compared() -> None:
    found = compared(attacks(sha256="a"), attacks(sha256="b"))
    assert (len(found.pairs), len(found.unlike)) == (0, 7)
    assert found.verdict == "nothing to compare: the runs share no sample"


def of_samples(first: int, stop: int) -> list[Attacked]:
    """`attacks` on some of the samples alone."""
    return [Attacked(one.header, one.frame.iloc[first:stop]) for one in attacks()]


def test_cells_without_a_common_sample_are_not_compared() -> None:
    found = compared(of_samples(0, 10), of_samples(10, N))
    assert (len(found.pairs), len(found.disjoint)) == (0, 7)
    assert found.verdict == "nothing to compare: the runs share no sample"


def test_cells_without_a_common_sample_do_not_water_down_the_rate() -> None:
    """Each further cell with p = 1 would raise the others' q."""
    broken = attacks(~BROKEN & False)
    apart = [Attacked(one.header, one.frame.iloc[:10]) for one in broken[:1]]
    found = compared([*apart, *broken[1:]], [*of_samples(20, N)[:1], *attacks()[1:]])
    assert found.disjoint == ("toy/mnist/lenet/std/0 clean accuracy (digits)",)
    assert found.differing[0].q == pytest.approx(found.differing[0].p * 6 / 2)


def test_the_verdict_says_on_how_many_samples() -> None:
    fewer = [*of_samples(0, 30)[:2], *attacks()[2:]]
    assert compared(fewer).verdict == (
        "no difference: 7 cells are equal, sample by sample; "
        "cells have 30 to 40 common samples, and 0 to 10 that one run alone met"
    )
    assert compared(of_samples(0, 30)).verdict.endswith("cells have 30 common samples, and 10 that one run alone met")
    wrong = attacks()
    wrong[3] = wrong[3]._replace(frame=wrong[3].frame.assign(clean_pred=[5] * 10 + [0] * (N - 10)))
    assert "common" not in compared(wrong).verdict  # all were met


def test_what_changed_in_claims_and_statements(tmp_path: Path) -> None:
    claims = CLAIMS.assign(verdict=["lower", "lower"], ours=["0.5", "0.3"])
    one = finished(tmp_path / "one", attacks()[:1])
    other = finished(tmp_path / "other", attacks()[:1], claims, STATEMENTS[:0])
    found = compare.compare(load_run(one), load_run(other))
    assert found.changes == (
        Change("toy", "claim", "t1", "coded", "ours", "0.25", "0.3"),
        Change("toy", "claim", "t1", "headline", "verdict", "reproduced", "lower"),
        Change("toy", "statement", "s1", "", "verdict", "holds", ""),
        Change("toy", "statement", "s1", "", "worst_verdict", "undecided", ""),
    )


@pytest.mark.parametrize("change", [{"verdict": "reproducd"}, {"stands": "standz"}])
def test_a_word_that_is_no_verdict_is_no_change_but_an_error(tmp_path: Path, change: dict[str, str]) -> None:
    one = finished(tmp_path / "one", attacks()[:1])
    other = finished(tmp_path / "other", attacks()[:1], CLAIMS.assign(**change))
    with pytest.raises(ValueError, match=r"unknown verdict '(reproducd|standz)'.*did you mean"):
        compare.compare(load_run(one), load_run(other))


def of_study(study: str, broken: np.ndarray = BROKEN) -> list[Attacked]:
    """`attacks` on the model of another study."""
    return [
        Attacked(replace(one.header, model=one.header.model._replace(study=study)), one.frame)
        for one in attacks(broken)
    ]


def test_two_nets_of_a_users_own_are_compared_though_their_studies_have_names(tmp_path: Path) -> None:
    """Each `touchstone evaluate` makes a run of one study, named after its file of weights, without claims."""
    empty = {"claims": CLAIMS[:0], "statements": STATEMENTS[:0]}
    one = load_run(finished(tmp_path / "own-a", of_study("a"), **empty))
    other = load_run(finished(tmp_path / "own-b", of_study("b", ~BROKEN & False), **empty))
    found = compare.compare(one, other)
    assert found.verdict == "2 of 7 cells differ, at a false discovery rate of 5 %"
    assert (found.only_one, found.only_other, found.changes) == ((), (), ())
    assert {pair.study for pair in found.pairs} == {"own"}
    assert {pair.study for pair in compare.compare(one, one).pairs} == {"a"}


def test_studies_of_papers_share_no_cell(tmp_path: Path) -> None:
    one = load_run(finished(tmp_path / "one", of_study("a")))
    other = load_run(finished(tmp_path / "other", of_study("b")))
    assert compare.compare(one, other).verdict == "nothing to compare: the runs share no cell"
