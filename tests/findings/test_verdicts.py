import math
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from toy_claims import (
    CLEAN,
    NO_CELL,
    READINGS,
    ROW,
    cell,
    judged,
    printed,
    printed_as_ours,
    seeds,
    worst,
)

from touchstone.findings import verdicts
from touchstone.findings.evidence import Caps
from touchstone.study import scale


def first(row: pd.Series) -> tuple[str, str]:
    return row["verdict"], row["why"]


def second(row: pd.Series) -> tuple[str, str, float | None]:
    points = row["overstated_by"]
    return row["stands"], row["stands_why"], None if pd.isna(points) else round(points, 6)


STANDS = ("stands", "", None)


@pytest.fixture(scope="module")
def study() -> pd.DataFrame:
    return printed()


# ---- the words


def test_every_word_has_a_mark_of_its_own_and_a_meaning() -> None:
    marks = [meaning.mark for meaning in verdicts.VERDICTS.values()]
    assert len(set(marks)) == len(marks)
    assert all([*marks, *(m.meaning for m in verdicts.VERDICTS.values()), *verdicts.STANDS.values()])
    assert verdicts.mark("failed") == "✗"
    assert verdicts.mark(verdicts.ELSEWHERE) == "(✓)"


def test_an_unknown_word_is_an_error_everywhere() -> None:
    with pytest.raises(ValueError, match=r"unknown verdict 'reproducd'; allowed: .*did you mean 'reproduced'"):
        verdicts.mark("reproducd")
    with pytest.raises(ValueError, match="unknown verdict 'failed: loss is nan'"):
        verdicts.Verdict("failed: loss is nan")
    with pytest.raises(ValueError, match="unknown verdict 'overstated by 3 points'"):
        verdicts.Second("overstated by 3 points")


# ---- tolerance and verdict


@pytest.mark.parametrize(
    ("metric", "value", "tau"),
    [
        ("accuracy", 0.5, 0.02),
        ("accuracy", 0.0, 0.005),
        ("accuracy", 1.0, 0.005),
        ("accuracy", 0.05, 0.005),
        ("accuracy", 0.95, 0.005),
        ("accuracy", 0.0501, 0.02),
        ("accuracy", 0.9499, 0.02),
        ("error", 0.005, 0.002),
        ("error", 0.1, 0.02),
        ("mean_dist", 2.0, 0.2),
        ("rho_adv", 0.3, 0.03),
        ("fuzziness", 0.0016, 0.0004),
        ("near_zero_ratio", 18.0, 4.5),
        ("clean_accuracy_drop", 0.089, 0.02),
        ("confidence_gap", 0.9, 0.02),
    ],
)
def test_the_tolerance_is_that_of_the_design(metric: str, value: float, tau: float) -> None:
    assert scale.METRICS[metric].tolerance(value) == pytest.approx(tau)


@pytest.mark.parametrize(
    ("difference", "tau", "h", "wide", "word"),
    [
        (0.0, 0.02, 0.01, 0.015, "reproduced"),
        (0.02, 0.02, 0.02, 0.03, "reproduced"),
        (0.9861 - 1.0061, 0.02, 0.0, 0.0, "reproduced"),  # -0.02 and some rounding
        (0.0201, 0.02, 0.0, 0.0, "higher"),
        (-0.0201, 0.02, 0.0, 0.0, "lower"),
        (0.0, 0.02, 0.0201, 0.03, "inconclusive"),
        (0.03, 0.02, 0.005, 0.01, "inconclusive"),  # exactly tau + H
        (0.63 - 0.59, 0.02, 0.0, 0.02, "inconclusive"),  # 0.04 and some rounding
        (0.0301, 0.02, 0.005, 0.01, "higher"),
        (-0.0301, 0.02, 0.005, 0.01, "lower"),
        (0.5, 0.02, math.nan, math.nan, "inconclusive"),
        (0.0, 0.02, math.nan, math.nan, "inconclusive"),
        (0.0, 0.0, 0.0, 0.0, "reproduced"),
    ],
)
def test_the_verdict_at_its_edges(difference: float, tau: float, h: float, wide: float, word: str) -> None:
    assert verdicts.verdict(difference, tau, h, wide).word == word


@pytest.mark.parametrize("seed", range(20))
def test_verdicts_are_exclusive_and_symmetric(seed: int) -> None:
    rng = np.random.default_rng(seed)
    difference, tau, h = rng.normal(scale=0.05), rng.uniform(0, 0.05), rng.uniform(0, 0.05)
    wide = h * math.sqrt(1 + rng.integers(1, 9) / rng.integers(1, 9))
    word, why = astuple(verdicts.verdict(difference, tau, h, wide))
    mirrored = verdicts.verdict(-difference, tau, h, wide).word
    assert mirrored == {"higher": "lower", "lower": "higher"}.get(word, word)
    assert (word == "inconclusive") == bool(why)
    if word == "reproduced":
        assert max(abs(difference), h) <= tau + 1e-9
    if word in ("higher", "lower"):
        assert abs(difference) > tau + wide


@pytest.mark.parametrize(
    ("ours", "low", "high", "far"), [(16.0, 17.0, 19.0, -1.0), (18.0, 17.0, 19.0, 0.0), (20.5, 17.0, 19.0, 1.5)]
)
def test_the_distance_to_an_interval_is_to_its_nearer_end(ours: float, low: float, high: float, far: float) -> None:
    assert verdicts.distance(ours, low, high) == far


def test_three_seeds_reproduce(tmp_path: Path) -> None:
    row = judged(tmp_path, [ROW], seeds(0.50, 0.505, 0.495)).iloc[0]
    half = 4.302652729911275 * 0.005 / math.sqrt(3)
    assert row["verdict"] == "reproduced"
    assert row["ours"] == pytest.approx(0.5)
    assert row[["h", "H"]].tolist() == pytest.approx([half, half * 2.0]), "H: 3 seeds against 1 run"
    assert row[["interval_lo", "interval_hi"]].tolist() == pytest.approx([0.5 - half, 0.5 + half])
    assert row[["n", "seeds", "interval_kind", "tau"]].tolist() == [10000, 3, "t", 0.02]


def test_the_runs_of_the_paper_narrow_its_spread(tmp_path: Path) -> None:
    row = judged(tmp_path, [ROW | {"n_runs": "3"}], seeds(0.50, 0.505, 0.495)).iloc[0]
    assert row["H"] == pytest.approx(row["h"] * math.sqrt(2.0))


def test_two_seeds_borrow_from_the_study(tmp_path: Path) -> None:
    other = seeds(0.1, 0.102, 0.104, defense="minmax-printed")
    row = judged(tmp_path, [ROW], [*seeds(0.5, 0.504), *other]).iloc[0]
    deviation = math.sqrt((2 * 0.002**2 + 2 * 0.002**2) / 3)
    assert row["interval_kind"] == "pooled"
    assert row["h"] == pytest.approx(stats.t.ppf(0.975, 3) * deviation / math.sqrt(2))
    assert row["verdict"] == "reproduced"


def test_an_attack_is_not_as_certain_as_the_clean_accuracy(tmp_path: Path) -> None:
    clean = {"attack": "clean", "norm": "none", "epsilon": math.nan}
    steady = [row for d in ("std", "std+l1") for row in seeds(0.980, 0.981, defense=d, **clean)]
    cells = [*seeds(0.4, 0.6), *steady]
    found = judged(tmp_path, [ROW, ROW | {"id": "clean"} | CLEAN], cells).query("reading == 'headline'").set_index("id")
    assert found.loc["clean", "h"] == pytest.approx(stats.t.ppf(0.975, 2) * 0.001 / math.sqrt(2) / math.sqrt(2))
    assert found.loc["a", "h"] > 0.5


def test_one_seed_has_its_samples_only(tmp_path: Path) -> None:
    row = judged(tmp_path, [ROW], seeds(0.5)).iloc[0]
    assert row["interval_kind"] == "sampling only"
    assert row["h"] == pytest.approx(1.96 * math.sqrt(0.25 / 10000), rel=0.02)
    assert row["verdict"] == "reproduced"
    few = judged(tmp_path, [ROW], seeds(0.5, n=100)).iloc[0]
    assert few["verdict"] == "inconclusive"
    assert "wider" in few["why"]


def test_one_seed_of_a_number_that_reads_no_samples(tmp_path: Path) -> None:
    weights = {"attack": "clean", "epsilon": math.nan, "metric": "fuzziness", "norm": "none"}
    claim = ROW | CLEAN | {"metric": "fuzziness", "value": "0.4417", "unit": "raw", "cell_metric": "fuzziness"}
    alone = judged(tmp_path, [claim], seeds(0.44, **weights)).iloc[0]
    assert (alone["verdict"], alone["why"]) == ("inconclusive", "our number has no interval")
    assert math.isnan(alone["h"])
    far = judged(tmp_path, [claim], seeds(0.01, **weights)).iloc[0]
    assert far["verdict"] == "inconclusive", "without an interval nothing is certain"
    others = seeds(0.3, 0.31, 0.32, defense="std+l1", **weights)
    row = judged(tmp_path, [claim], [*seeds(0.44, **weights), *others]).iloc[0]
    assert (row["verdict"], row["interval_kind"]) == ("reproduced", "pooled")


@pytest.mark.parametrize(("value", "ours"), [("0.0000", 0.0), ("1.0000", 1.0)])
def test_an_accuracy_of_0_or_100_needs_enough_samples(tmp_path: Path, value: str, ours: float) -> None:
    claim = ROW | {"value": value}
    few, many = (judged(tmp_path, [claim], seeds(ours, n=n)).iloc[0] for n in (100, 10000))
    assert (few["verdict"], few["tau"]) == ("inconclusive", 0.005)
    assert many["verdict"] == "reproduced"


def test_three_seeds_on_few_samples_prove_no_zero(tmp_path: Path) -> None:
    caps = {("mnist", "lenet", "std", "pgd40-linf"): Caps(size=("samples 100 of 10000",), population=10000)}
    claim = ROW | {"value": "0.0000"}
    row = judged(tmp_path, [claim], seeds(0.0, 0.0, 0.0, n=100), caps=caps).iloc[0]
    assert (row["verdict"], row["interval_kind"]) == ("inconclusive", "t + sampling")
    assert row["caps"] == "samples 100 of 10000"
    assert judged(tmp_path, [claim], seeds(0.0, 0.0, 0.0)).iloc[0]["verdict"] == "reproduced"


@pytest.mark.parametrize(
    ("unit", "value", "factor"), [("fraction", "0.5", 1), ("percent", "50", 100), ("x1e-2", "50", 100)]
)
def test_numbers_are_in_the_unit_of_the_claim(tmp_path: Path, unit: str, value: str, factor: float) -> None:
    cells = [*seeds(0.53, 0.531, 0.529), *worst(0.1, 0.1, 0.1)]
    row = judged(tmp_path, [ROW | {"unit": unit, "value": value}], cells).iloc[0]
    names = ["ours", "difference", "tau", "worst", "interval_hi"]
    assert [row[name] / factor for name in names] == pytest.approx([0.53, 0.03, 0.02, 0.1, 0.53 + row["h"] / factor])
    assert (row["verdict"], *second(row)) == ("higher", "overstated", "", 40.0)


def test_published_numbers_are_compared_with_the_published_protocol(tmp_path: Path) -> None:
    cells = [*seeds(0.5, 0.5, 0.5), *worst(0.1, 0.1, 0.1, attack="pgd40-linf", epsilon=0.3, metric="accuracy")]
    assert judged(tmp_path, [ROW], cells).iloc[0]["ours"] == 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "cifar10"},
        {"model": "mlp"},
        {"defense": "std+l1"},
        {"attack": "cw-l2"},
        {"epsilon": 0.1},
        {"epsilon": math.nan},
        {"metric": "success_rate"},
    ],
)
def test_a_number_of_another_cell_is_not_taken(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert judged(tmp_path, [ROW], seeds(0.5, 0.5, 0.5, **changes)).iloc[0]["verdict"] == "not run"


def test_two_numbers_for_one_cell_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected one number per cell and seed, got two for .*pgd40-linf"):
        judged(tmp_path, [ROW], [cell(0.5), cell(0.6)])


def test_claims_without_a_number(tmp_path: Path) -> None:
    rows = [ROW | {"id": "a"}, ROW | NO_CELL | {"id": "b", "out_of_scope": "cited from another paper"}]
    failed = seeds(math.nan, math.nan, status="failed", reason="loss is nan")
    found = judged(tmp_path, rows, failed)
    headline = [first(row) for _, row in found[found["reading"] == "headline"].iterrows()]
    assert headline == [("failed", "loss is nan"), ("out of scope", "cited from another paper")]
    assert found.loc[found["reading"] == "pixel", "verdict"].tolist() == ["not run"]
    assert found[["ours", "h", "H", "difference"]].isna().all(axis=None)
    assert found[["n", "seeds", "worst_n"]].isna().all(axis=None)


def test_a_failed_seed_is_told(tmp_path: Path) -> None:
    cells = [*seeds(0.5, 0.501, 0.499), cell(math.nan, seed=3, status="failed", reason="loss is nan")]
    row = judged(tmp_path, [ROW], cells).iloc[0]
    assert (row["verdict"], row["seeds"]) == ("reproduced", 3)
    assert row["why"] == "1 of 4 seeds failed: loss is nan"


# ---- caps


@pytest.mark.parametrize(
    ("cut", "verdict", "why"),
    [
        (Caps(model=("digits for mnist",)), "not comparable", "digits for mnist"),
        (Caps(attack=("pgd40-linf: steps 10 of 40",)), "not comparable", "pgd40-linf: steps 10 of 40"),
        (Caps(model=("a",), attack=("b", "c")), "not comparable", "a; b; c"),
        (Caps(size=("samples 1000 of 10000", "seeds 3 of 5")), "reproduced", ""),
        (Caps(model=("epochs 1 of 10",), size=("seeds 3 of 5",)), "not comparable", "epochs 1 of 10"),
    ],
)
def test_only_a_cap_that_changes_the_quantity_ends_the_comparison(
    tmp_path: Path, cut: Caps, verdict: str, why: str
) -> None:
    row = judged(tmp_path, [ROW], seeds(0.5, 0.5, 0.5), caps={("mnist", "lenet", "std", "pgd40-linf"): cut}).iloc[0]
    assert first(row) == (verdict, why)
    assert row["caps"] == cut.text()
    assert row["ours"] == 0.5


def test_a_comparing_metric_is_capped_with_its_reference(tmp_path: Path) -> None:
    clean = {"attack": "clean", "epsilon": math.nan, "norm": "none"}
    claim = ROW | CLEAN | {"cell_metric": "clean_accuracy_drop", "cell_defense": "std+l1", "value": "0.05"}
    cells = [*seeds(0.9, 0.9, 0.9, **clean), *seeds(0.85, 0.85, 0.85, defense="std+l1", **clean)]
    caps = {("mnist", "lenet", "std", "clean"): Caps(model=("std: epochs 1 of 10",))}
    assert judged(tmp_path, [claim], cells).iloc[0]["verdict"] == "reproduced"
    capped = judged(tmp_path, [claim], cells, caps=caps).iloc[0]
    assert first(capped) == ("not comparable", "std: epochs 1 of 10")


def test_what_failed_is_told_beside_what_was_cut_short(tmp_path: Path) -> None:
    cells = [*seeds(0.5, 0.5, 0.5), cell(math.nan, seed=3, status="failed", reason="loss is nan")]
    caps = {("mnist", "lenet", "std", "pgd40-linf"): Caps(model=("epochs 1 of 10",))}
    row = judged(tmp_path, [ROW], cells, caps=caps).iloc[0]
    assert first(row) == ("not comparable", "epochs 1 of 10; 1 of 4 seeds failed: loss is nan")


# ---- intervals as claims


def test_an_interval_claim_has_the_tolerance_of_its_middle(tmp_path: Path) -> None:
    base = ROW | CLEAN | {"unit": "ratio", "cell_metric": "near_zero_ratio", "cell_defense": "minmax-printed"}
    ends = {"lo": "17", "hi": "19"}
    rows = [base | {"id": f"r-{end}", "metric": f"r_{end}", "value": value} for end, value in ends.items()]
    zeros = {"attack": "clean", "epsilon": math.nan, "norm": "none", "metric": "near_zero_0.01"}
    for share, verdict, far in ((0.9, "reproduced", 0.0), (0.625, "reproduced", -4.5), (0.62, "lower", -4.6)):
        cells = [*seeds(0.05, 0.05, 0.05, **zeros), *seeds(share, share, share, defense="minmax-printed", **zeros)]
        row = judged(tmp_path, rows, cells).iloc[0]
        assert (row["verdict"], row["tau"]) == (verdict, 4.5)
        assert row["difference"] == pytest.approx(far, abs=1e-9)


# ---- readings and doubtful labels


def test_another_reading_never_counts_as_the_headline(tmp_path: Path) -> None:
    claim = ROW | {"cell_defense": "minmax-printed"}
    coded, printed = seeds(0.5, 0.5, 0.5, defense="minmax-coded"), seeds(0.9, 0.9, 0.9, defense="minmax-printed")
    found = judged(tmp_path, [claim], [*coded, *printed]).set_index("reading")
    assert found["verdict"].to_dict() == {"headline": "higher", "coded": verdicts.ELSEWHERE, "pixel": "not run"}
    assert found["only"].to_dict() == {"headline": "", "coded": "only as coded", "pixel": ""}
    both = judged(tmp_path, [claim], [*coded, *seeds(0.5, 0.5, 0.5, defense="minmax-printed")])
    assert both["verdict"].tolist() == ["reproduced", "reproduced", "not run"]
    assert both["only"].tolist() == ["", "", ""]


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [(0.66, "label ambiguous"), (0.57, "label ambiguous"), (0.3, "lower"), (0.9, "higher"), (0.61, "label ambiguous")],
)
def test_a_doubtful_label_is_settled_only_where_its_readings_agree(tmp_path: Path, ours: float, verdict: str) -> None:
    claim = ROW | {"value": "0.6573", "alternative": "0.5668", "certainty": "uncertain"}
    row = judged(tmp_path, [claim], seeds(ours, ours, ours)).iloc[0]
    assert row["verdict"] == verdict
    if verdict == "label ambiguous":
        assert row["why"].startswith("if 0.6573: ")
        assert "; if 0.5668: " in row["why"]


def test_close_readings_of_a_label_can_both_be_reproduced(tmp_path: Path) -> None:
    claim = ROW | {"value": "0.5000", "alternative": "0.51;0.49", "certainty": "uncertain"}
    assert judged(tmp_path, [claim], seeds(0.5, 0.5, 0.5)).iloc[0]["verdict"] == "reproduced"


# ---- the second verdict


@pytest.mark.parametrize(
    ("worst_value", "claim", "tau", "expected"),
    [
        (0.48, 0.5, 0.02, ("stands", None)),
        (0.9, 0.5, 0.02, ("stands", None)),
        (0.4799, 0.5, 0.02, ("overstated", 2.01)),
        (0.0, 0.8369, 0.02, ("overstated", 83.69)),
        (0.0, 0.0, 0.005, ("stands", None)),
    ],
)
def test_a_claim_stands_down_to_its_tolerance(
    worst_value: float, claim: float, tau: float, expected: tuple[str, float | None]
) -> None:
    found = verdicts.stands(worst_value, claim, tau)
    assert (found.word, found.points) == (expected[0], pytest.approx(expected[1]) if expected[1] else None)


def test_a_reproduced_number_can_be_overstated(tmp_path: Path) -> None:
    row = judged(tmp_path, [ROW], [*seeds(0.5, 0.5, 0.5), *worst(0.1, 0.12, 0.08, n=900)]).iloc[0]
    assert (row["verdict"], *second(row)) == ("reproduced", "overstated", "", 40.0)
    assert row[["worst", "worst_n"]].tolist() == pytest.approx([0.1, 900])
    assert row["worst_h"] == pytest.approx(4.302652729911275 * 0.02 / math.sqrt(3))


@pytest.mark.parametrize(
    ("cells", "caps", "expected"),
    [
        (worst(0.5), {}, STANDS),
        ([], {}, ("not tested", "the worst case was not run", None)),
        (worst(math.nan, status="failed", reason="loss is nan"), {}, ("not tested", "loss is nan", None)),
        (worst(0.5, status="incomplete", reason="missing square"), {}, ("not tested", "missing square", None)),
        (worst(0.1, status="incomplete", reason="missing square"), {}, ("overstated", "", 40.0)),
        (worst(0.5), {"attack": ("square: queries 9 of 99",)}, ("not tested", "square: queries 9 of 99", None)),
        (worst(0.1), {"attack": ("square: queries 9 of 99",)}, ("overstated", "", 40.0)),
        (worst(0.1), {"model": ("digits for mnist",)}, ("not tested", "digits for mnist", None)),
        (worst(0.5), {"size": ("samples 100 of 10000",)}, STANDS),
    ],
)
def test_a_weak_worst_case_can_refute_but_not_confirm(
    tmp_path: Path, cells: list[dict], caps: dict[str, Any], expected: tuple[str, str, float | None]
) -> None:
    cut = {("mnist", "lenet", "std", "worst-linf"): Caps(**caps)}
    assert second(judged(tmp_path, [ROW], [*seeds(0.5), *cells], caps=cut).iloc[0]) == expected


def test_what_no_worst_case_covers_is_not_tested(tmp_path: Path) -> None:
    rows = [
        ROW | {"id": "cw", "attack": "cw", "cell_attack": "cw-l2", "cell_epsilon": ""},
        ROW | {"id": "clean"} | CLEAN,
        ROW | {"id": "other", "cell_dataset": "cifar10"},
    ]
    found = judged(tmp_path, rows, seeds(0.5))
    assert [second(row) for _, row in found[found["reading"] == "headline"].iterrows()] == [
        ("not tested", "C&W is unbounded", None),
        ("", "", None),
        ("not tested", "no worst case is defined for pgd40-linf at 0.3", None),
    ]
    assert [second(row) for _, row in found[found["reading"] == "pixel"].iterrows()] == [
        ("not tested", "no worst case is defined for pgd40-linf-px at 0.3", None)
    ]


def test_each_epsilon_has_a_worst_case_of_its_own(tmp_path: Path) -> None:
    judges = {("mnist", "pgd40-linf", "headline"): {0.1: ("worst-linf", 0.03), 0.3: ("worst-linf", 0.09)}}
    rows = [ROW, ROW | {"id": "small", "epsilon": "0.1", "cell_epsilon": "0.1"}]
    cells = [*worst(0.2, epsilon=0.09), *worst(0.4, epsilon=0.03), *seeds(0.5), *seeds(0.5, epsilon=0.1)]
    found = judged(tmp_path, rows, cells, worst=judges).query("reading == 'headline'").set_index("id")
    assert found.loc[["a", "small"], "worst"].tolist() == [0.2, 0.4]


def test_a_doubtful_label_is_doubtful_in_the_second_verdict_too(tmp_path: Path) -> None:
    claim = ROW | {"value": "0.6512", "alternative": "0.5561"}
    for value, expected in ((0.6, ("label ambiguous", "", None)), (0.7, STANDS), (0.1, ("overstated", "", 55.12))):
        assert second(judged(tmp_path, [claim], [*seeds(0.5), *worst(value)]).iloc[0]) == expected


# ---- the whole study, with the paper's own numbers as ours


def test_the_papers_own_numbers_are_reproduced_unless_their_label_is_in_doubt(study: pd.DataFrame) -> None:
    given = {"readings": READINGS, "worst": {}, "caps": {}, "near_zero": "near_zero_0.01"}
    found = verdicts.verdicts(study, printed_as_ours(study), **given)
    headline = found[found["reading"] == "headline"]
    assert headline["verdict"].value_counts().to_dict() == {"reproduced": 60, "label ambiguous": 5}
    assert (headline["verdict"] == "label ambiguous").tolist() == (headline["certainty"] == "uncertain").tolist()
    assert set(found.loc[found["reading"] != "headline", "verdict"]) == {"not run"}
    assert list(found) == [*study.columns, *verdicts.RESULT]
