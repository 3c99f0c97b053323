import csv
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from touchstone import claims, metrics
from touchstone.claims import Caps, Check
from touchstone.config import ConfigError
from touchstone.validation import load_study

STUDY = Path(claims.__file__).parents[1] / "studies" / "minmax"
KNOWN = {
    "dataset": {"mnist", "cifar10"},
    "model": {"lenet"},
    "defense": {"std", "std+l1", "minmax-printed", "minmax-coded"},
    "attack": {"clean", "pgd40-linf", "cw-l2", "pgd40-linf-px"},
}
READINGS = {
    "headline": {"mark": "", "defense": {}, "attack": {}},
    "coded": {"mark": "only as coded", "defense": {"minmax-printed": "minmax-coded"}},
    "pixel": {"mark": "only with epsilon in pixels", "attack": {"pgd40-linf": "pgd40-linf-px"}},
}
WORST = {
    ("mnist", "pgd40-linf", "headline"): ("worst-linf", 0.0924),
    ("mnist", "cw-l2", "headline"): "C&W is unbounded",
}
ROW = {
    **dict.fromkeys([*claims.COLUMNS, *claims.OPTIONAL], ""),
    **{"id": "a", "paper": "toy", "source_table": "Table 1", "dataset": "mnist", "model": "lenet", "defense": "std"},
    **{"attack": "pgd", "norm": "linf", "epsilon": "0.3", "metric": "accuracy", "value": "0.5000", "unit": "fraction"},
    **{"certainty": "certain", "cell_dataset": "mnist", "cell_model": "lenet", "cell_defense": "std"},
    **{"cell_attack": "pgd40-linf", "cell_epsilon": "0.3", "cell_metric": "accuracy"},
}
CLEAN = {"attack": "clean", "norm": "none", "epsilon": "", "cell_attack": "clean", "cell_epsilon": ""}
NO_CELL = dict.fromkeys([*claims.CELL, "cell_epsilon", "cell_metric"], "")


def write(folder: Path, *rows: Mapping[str, str], name: str = "claims.csv") -> Path:
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def load(folder: Path, *rows: Mapping[str, str], **more: Any) -> pd.DataFrame:
    return claims.load(write(folder, *rows), KNOWN, **more)


def cell(value: float, *, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """One row of cells.csv."""
    base = {"dataset": "mnist", "original_dataset": "mnist", "model": "lenet", "defense": "std", "seed": seed}
    base |= {"attack": "pgd40-linf", "member": "pgd40-linf", "protocol": "published", "space": "normalized"}
    base |= {"norm": "linf", "epsilon": 0.3, "metric": "accuracy", "value": value, "n": 10000}
    return {**base, "status": "ok", "reason": "", **changes}


def seeds(*values: float, **changes: Any) -> list[dict[str, Any]]:
    return [cell(value, seed=seed, **changes) for seed, value in enumerate(values)]


def worst(*values: float, **changes: Any) -> list[dict[str, Any]]:
    place = {"attack": "worst-linf", "protocol": "worst", "space": "pixel", "epsilon": 0.0924}
    return seeds(*values, **place | {"metric": "worst_accuracy"} | changes)


def judged(folder: Path, rows: list[dict[str, str]], cells: list[dict[str, Any]], **more: Any) -> pd.DataFrame:
    given = {"readings": READINGS, "worst": WORST, "caps": {}, "near_zero": "near_zero_0.01"} | more
    table = pd.DataFrame(cells, columns=metrics.CELL_COLUMNS)
    return claims.verdicts(load(folder, *rows), table, **given)


# ---- the study's own files


@pytest.fixture(scope="module")
def study() -> pd.DataFrame:
    return claims.load(STUDY, _known())


def _known() -> dict[str, Any]:
    definition = load_study(STUDY / "study.yaml")
    slots = (definition.recipes, definition.models, definition.defenses, definition.attacks)
    return dict(zip(claims.SLOTS, slots, strict=True))


def test_every_published_number_is_a_claim(study: pd.DataFrame) -> None:
    printed = pd.read_csv(STUDY / "claims.csv", dtype=str, keep_default_na=False)
    assert len(printed) == 67
    assert printed["source_table"].value_counts().to_dict() == {
        "Table 1": 28,
        "Table 2": 28,
        "Table 3": 6,
        "text 5.3": 4,
        "text 5.4": 1,
    }
    assert len(study) == 65, "two intervals were printed as two numbers each"
    assert printed["certainty"].value_counts().to_dict() == {"certain": 62, "uncertain": 5}
    by_id = study.set_index("id")
    assert by_id.loc["t1-minmax-pgd", ["value", "cell_defense", "cell_attack", "cell_epsilon"]].tolist() == [
        "0.8369",
        "minmax-printed",
        "pgd40-linf",
        0.3,
    ]
    assert math.isnan(by_id.loc["t2-std-cw", "cell_epsilon"])
    assert by_id.loc["x53-cifar10-near-zero", ["low", "high"]].tolist() == [140.0, 150.0]
    swapped = by_id.loc[["t2-std+l2-clean", "t2-minmax-clean"], ["value", "alternative"]].to_numpy().tolist()
    assert swapped == [["0.6573", "0.5668"], ["0.5668", "0.6573"]], "the paper's Table 2 seems to swap two entries"


def test_the_study_asks_for_its_cells_in_every_reading() -> None:
    asked = claims.cells(STUDY, load_study(STUDY / "study.yaml"))
    defenses = {(c["defense"], c["attack"]) for c in asked if c["dataset"] == "mnist"}
    assert {("std", "pgd40-linf"), ("minmax-coded", "pgd40-linf"), ("minmax-printed", "pgd40-linf-px")} <= defenses
    assert ("minmax-coded", "pgd40-linf-px") not in defenses, "readings are not crossed"
    assert ("adv", "clean") in defenses
    assert len({tuple(c.values()) for c in asked}) == len(asked)


def test_a_comparing_metric_asks_for_the_reference(tmp_path: Path) -> None:
    shutil.copy(STUDY / "qualitative.csv", tmp_path)
    row = ROW | CLEAN | {"metric": "drop", "cell_metric": "clean_accuracy_drop", "cell_defense": "minmax-printed"}
    asked = claims.cells(write(tmp_path, row), load_study(STUDY / "study.yaml"))
    assert {c["defense"] for c in asked} == {"minmax-printed", "minmax-coded", "std"}


def test_problems_of_both_files_are_reported_together(tmp_path: Path) -> None:
    shutil.copy(STUDY / "qualitative.csv", tmp_path)
    text = (tmp_path / "qualitative.csv").read_text().replace("above minmax-printed", "abov minmax-printed")
    (tmp_path / "qualitative.csv").write_text(text)
    write(tmp_path, ROW | {"cell_attack": "pgd40-lnf"})
    with pytest.raises(ConfigError) as caught:
        claims.cells(tmp_path, load_study(STUDY / "study.yaml"))
    assert len(caught.value.problems) == 3
    assert "claims.csv:2: cell_attack: unknown attack 'pgd40-lnf'" in caught.value.problems[0]
    assert "did you mean 'pgd40-linf'?" in caught.value.problems[0]
    assert "qualitative.csv:2: test: unknown test 'abov'; allowed: above" in caught.value.problems[1]


# ---- malformed claims


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "T1 std"}, r"2: id: must match .*, got 'T1 std'"),
        ({"id": ""}, "2: id: must match .*, got ''"),
        ({"unit": "percnt"}, "2: unit: unknown unit 'percnt'; allowed: .*; did you mean 'percent'"),
        ({"certainty": "sure"}, "2: certainty: unknown certainty 'sure'; allowed: certain, inferred, uncertain"),
        ({"value": ""}, "2: value: expected a number, got ''"),
        ({"value": "0,5"}, "2: value: expected a number, got '0,5'"),
        ({"value": "nan"}, "2: value: expected a number, got 'nan'"),
        ({"value": "1_0"}, "2: value: expected a number, got '1_0'"),
        ({"value": "50.00"}, "2: value: expected 0 to 1 for accuracy in fraction, got '50.00'"),
        ({"std": "±1"}, "2: std: expected a number, got '±1'"),
        ({"n_runs": "0"}, "2: n_runs: expected a count of at least 1, got '0'"),
        ({"n_runs": "2.5"}, "2: n_runs: expected a count of at least 1, got '2.5'"),
        ({"alternative": "0.4;x"}, "2: alternative: expected numbers separated by ';', got 'x'"),
        ({"cell_epsilon": "8/255"}, "2: cell_epsilon: expected a number, got '8/255'"),
        ({"cell_dataset": "minst"}, "2: cell_dataset: unknown dataset 'minst'; .* did you mean 'mnist'"),
        ({"cell_defense": "minmax"}, "2: cell_defense: unknown defense 'minmax'; .* did you mean 'minmax-"),
        ({"cell_attack": "pgd"}, "2: cell_attack: unknown attack 'pgd'; allowed: clean, cw-l2, pgd40-linf"),
        ({"cell_metric": "acuracy"}, "2: cell_metric: unknown metric 'acuracy'; .* did you mean 'accuracy'"),
        ({"cell_model": ""}, "2: cell_model: required where the claim has a cell"),
        ({"out_of_scope": "cited"}, "2: out_of_scope: give either a cell or a reason, got both: cell_dataset,"),
        (NO_CELL, "2: out_of_scope: give either a cell .* or a reason, got neither"),
        ({"cell_epsilon": "0.2"}, "2: cell_epsilon: 'pgd40-linf' is not run at '0.2'; allowed: 0.1, 0.3"),
        ({"cell_epsilon": ""}, "2: cell_epsilon: 'pgd40-linf' is not run at ''; allowed: 0.1, 0.3"),
        ({"cell_attack": "cw-l2"}, "2: cell_epsilon: 'cw-l2' has no budget: leave it empty, got '0.3'"),
        ({"metric": "ratio_lo"}, "2: metric: 'ratio_lo' needs a row 'ratio_hi' of the same cell"),
        ({"metric": "ratio_hi"}, "2: metric: 'ratio_hi' needs a row 'ratio_lo' of the same cell"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    budgets = {("mnist", "pgd40-linf"): (0.1, 0.3), ("mnist", "cw-l2"): ()}
    with pytest.raises(ConfigError, match=rf"claims\.csv:{message}"):
        load(tmp_path, ROW | changes, budgets=budgets)


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"cell_attack": "x"}, ROW | {"id": "c", "value": "?"}]
    with pytest.raises(ValueError, match="3 problem") as caught:
        load(tmp_path, *rows)
    assert [text.split("claims.csv:")[1].split(": ")[0:2] for text in caught.value.problems] == [
        ["3", "cell_attack"],
        ["3", "id"],
        ["4", "value"],
    ]
    assert "must be unique, 'a' is already on line 2" in caught.value.problems[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"claims\.csv:1: missing column 'id'"),
        (b"id,papr,unit\n", "1: unknown column 'papr'; .* did you mean 'paper'"),
        (",".join([*claims.COLUMNS, "value"]).encode(), "1: column 'value' is there twice"),
        (",".join(claims.COLUMNS).encode() + b"\na,b\n", "2: expected 28 fields, got 2"),
        (",".join(claims.COLUMNS).encode() + b'\n"a', "not valid CSV: unexpected end of data"),
        (b"\xff\xfe", "expected UTF-8 text: invalid start byte at byte 0"),
    ],
)
def test_a_file_that_is_no_table_of_claims_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "claims.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        claims.load(tmp_path, KNOWN)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"claims\.csv: cannot be read: No such file"):
        claims.load(tmp_path, KNOWN)


def test_an_interval_printed_as_two_rows_is_one_claim(tmp_path: Path) -> None:
    row = ROW | {"unit": "ratio", "metric": "ratio_hi", "value": "19", "id": "r-hi", "cell_metric": "near_zero_ratio"}
    other = row | {"id": "r-lo", "metric": "ratio_lo", "value": "17", "note": "text"}
    loaded = load(tmp_path, row, ROW | {"id": "x"}, other)
    assert loaded[["id", "metric", "value", "low", "high"]].to_numpy().tolist() == [
        ["x", "accuracy", "0.5000", 0.5, 0.5],
        ["r", "ratio", "17 to 19", 17.0, 19.0],
    ]
    with pytest.raises(ConfigError, match="expected the low end below the high end, got 17 and 1"):
        load(tmp_path, row | {"value": "1"}, other)


def test_numbers_keep_their_digits_and_alternative_is_optional(tmp_path: Path) -> None:
    bare = {key: value for key, value in ROW.items() if key != "alternative"}
    loaded = load(tmp_path, bare)
    assert loaded.loc[0, ["value", "alternative", "std"]].tolist() == ["0.5000", "", ""]


# ---- readings


def test_a_reading_has_only_the_claims_that_it_changes(tmp_path: Path) -> None:
    rows = [ROW | {"id": "a"}, ROW | CLEAN | {"id": "b"}, ROW | {"id": "c", "cell_defense": "minmax-printed"}]
    rows.append(ROW | NO_CELL | {"id": "d", "out_of_scope": "cited"})
    found = claims.expand(load(tmp_path, *rows), READINGS)
    assert found[["reading", "id", "cell_defense", "cell_attack"]].to_numpy().tolist() == [
        ["headline", "a", "std", "pgd40-linf"],
        ["headline", "b", "std", "clean"],
        ["headline", "c", "minmax-printed", "pgd40-linf"],
        ["headline", "d", "", ""],
        ["coded", "c", "minmax-coded", "pgd40-linf"],
        ["pixel", "a", "std", "pgd40-linf-px"],
        ["pixel", "c", "minmax-printed", "pgd40-linf-px"],
    ]


def test_readings_need_a_headline_and_marks(tmp_path: Path) -> None:
    loaded = load(tmp_path, ROW)
    with pytest.raises(ValueError, match="expected one named 'headline', got coded"):
        claims.expand(loaded, {"coded": {}})
    with pytest.raises(ValueError, match="readings: coded: expected a mark"):
        claims.expand(loaded, {"headline": {}, "coded": {"defense": {}}})


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
    assert claims.METRICS[metric].tolerance(value) == pytest.approx(tau)


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
    assert claims.verdict(difference, tau, h, wide)[0] == word


@pytest.mark.parametrize("seed", range(20))
def test_verdicts_are_exclusive_and_symmetric(seed: int) -> None:
    rng = np.random.default_rng(seed)
    difference, tau, h = rng.normal(scale=0.05), rng.uniform(0, 0.05), rng.uniform(0, 0.05)
    wide = h * math.sqrt(1 + rng.integers(1, 9) / rng.integers(1, 9))
    word, why = claims.verdict(difference, tau, h, wide)
    mirrored, _ = claims.verdict(-difference, tau, h, wide)
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
    assert claims.distance(ours, low, high) == far


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
    assert (row["verdict"], row["stands"]) == ("higher", "overstated by 40.0 points")


def test_published_numbers_are_compared_with_the_published_protocol(tmp_path: Path) -> None:
    cells = [*seeds(0.5, 0.5, 0.5), *worst(0.1, 0.1, 0.1, attack="pgd40-linf", epsilon=0.3, metric="accuracy")]
    assert judged(tmp_path, [ROW], cells).iloc[0]["ours"] == 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"original_dataset": "cifar10"},
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
    headline = found[found["reading"] == "headline"]["verdict"].tolist()
    assert headline == ["failed: loss is nan", "out of scope: cited from another paper"]
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
    ("cut", "verdict"),
    [
        (Caps(model=("digits for mnist",)), "not comparable: digits for mnist"),
        (Caps(attack=("pgd40-linf: steps 10 of 40",)), "not comparable: pgd40-linf: steps 10 of 40"),
        (Caps(size=("samples 1000 of 10000", "seeds 3 of 5")), "reproduced"),
        (Caps(model=("epochs 1 of 10",), size=("seeds 3 of 5",)), "not comparable: epochs 1 of 10"),
    ],
)
def test_only_a_cap_that_changes_the_quantity_ends_the_comparison(tmp_path: Path, cut: Caps, verdict: str) -> None:
    row = judged(tmp_path, [ROW], seeds(0.5, 0.5, 0.5), caps={("mnist", "lenet", "std", "pgd40-linf"): cut}).iloc[0]
    assert row["verdict"] == verdict
    assert row["caps"] == cut.text()
    assert row["ours"] == 0.5


def test_a_comparing_metric_is_capped_with_its_reference(tmp_path: Path) -> None:
    clean = {"attack": "clean", "epsilon": math.nan, "norm": "none"}
    claim = ROW | CLEAN | {"cell_metric": "clean_accuracy_drop", "cell_defense": "std+l1", "value": "0.05"}
    cells = [*seeds(0.9, 0.9, 0.9, **clean), *seeds(0.85, 0.85, 0.85, defense="std+l1", **clean)]
    caps = {("mnist", "lenet", "std", "clean"): Caps(model=("std: epochs 1 of 10",))}
    assert judged(tmp_path, [claim], cells).iloc[0]["verdict"] == "reproduced"
    assert judged(tmp_path, [claim], cells, caps=caps).iloc[0]["verdict"] == "not comparable: std: epochs 1 of 10"


# ---- derived metrics


def test_derived_metrics_pair_the_seeds() -> None:
    clean = {"attack": "clean", "epsilon": math.nan, "norm": "none"}
    zeros = {**clean, "metric": "near_zero_0.01"}
    cells = pd.DataFrame(
        [
            *seeds(0.98, 0.97, **clean),
            *seeds(0.95, 0.96, 0.5, defense="std+l1", **clean),
            *seeds(0.05, 0.0, **zeros),
            *seeds(0.9, 0.9, defense="std+l1", **zeros),
        ],
        columns=metrics.CELL_COLUMNS,
    )
    found = claims.derive(cells, near_zero="near_zero_0.01", reference="std")
    drop = found[found["metric"] == "clean_accuracy_drop"]
    assert drop["value"].tolist() == pytest.approx([0.03, 0.01])
    assert drop["defense"].unique().tolist() == ["std+l1"]
    ratio = found[found["metric"] == "near_zero_ratio"]
    assert ratio["value"].tolist() == pytest.approx([18.0, math.nan], nan_ok=True)
    assert ratio["status"].tolist() == ["ok", "failed"]
    assert ratio["reason"].tolist() == ["", "std has 0, nothing to divide by"]
    assert found[found["metric"] == "error"]["value"].tolist() == pytest.approx([0.02, 0.03, 0.05, 0.04, 0.5])


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
    found = judged(tmp_path, [claim], [*coded, *printed]).set_index("reading")["verdict"]
    assert found.to_dict() == {"headline": "higher", "coded": "only as coded", "pixel": "not run"}
    both = [*coded, *seeds(0.5, 0.5, 0.5, defense="minmax-printed")]
    assert judged(tmp_path, [claim], both)["verdict"].tolist() == ["reproduced", "reproduced", "not run"]


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
        (0.48, 0.5, 0.02, "stands"),
        (0.9, 0.5, 0.02, "stands"),
        (0.4799, 0.5, 0.02, "overstated by 2.0 points"),
        (0.0, 0.8369, 0.02, "overstated by 83.7 points"),
        (0.0, 0.0, 0.005, "stands"),
    ],
)
def test_a_claim_stands_down_to_its_tolerance(worst_value: float, claim: float, tau: float, expected: str) -> None:
    assert claims.stands(worst_value, claim, tau) == expected


def test_a_reproduced_number_can_be_overstated(tmp_path: Path) -> None:
    row = judged(tmp_path, [ROW], [*seeds(0.5, 0.5, 0.5), *worst(0.1, 0.12, 0.08, n=900)]).iloc[0]
    assert (row["verdict"], row["stands"]) == ("reproduced", "overstated by 40.0 points")
    assert row[["worst", "worst_n"]].tolist() == pytest.approx([0.1, 900])
    assert row["worst_h"] == pytest.approx(4.302652729911275 * 0.02 / math.sqrt(3))


@pytest.mark.parametrize(
    ("cells", "caps", "expected"),
    [
        (worst(0.5), {}, "stands"),
        ([], {}, "not tested: the worst case was not run"),
        (worst(math.nan, status="failed", reason="loss is nan"), {}, "not tested: loss is nan"),
        (worst(0.5, status="incomplete", reason="missing square"), {}, "not tested: missing square"),
        (worst(0.1, status="incomplete", reason="missing square"), {}, "overstated by 40.0 points"),
        (worst(0.5), {"attack": ("square: queries 9 of 1000",)}, "not tested: square: queries 9 of 1000"),
        (worst(0.1), {"attack": ("square: queries 9 of 1000",)}, "overstated by 40.0 points"),
        (worst(0.1), {"model": ("digits for mnist",)}, "not tested: digits for mnist"),
        (worst(0.5), {"size": ("samples 100 of 10000",)}, "stands"),
    ],
)
def test_a_weak_worst_case_can_refute_but_not_confirm(
    tmp_path: Path, cells: list[dict], caps: dict[str, Any], expected: str
) -> None:
    cut = {("mnist", "lenet", "std", "worst-linf"): Caps(**caps)}
    assert judged(tmp_path, [ROW], [*seeds(0.5), *cells], caps=cut).iloc[0]["stands"] == expected


def test_what_no_worst_case_covers_is_not_tested(tmp_path: Path) -> None:
    rows = [
        ROW | {"id": "cw", "attack": "cw", "cell_attack": "cw-l2", "cell_epsilon": ""},
        ROW | {"id": "clean"} | CLEAN,
        ROW | {"id": "other", "cell_dataset": "cifar10"},
    ]
    found = judged(tmp_path, rows, seeds(0.5))
    assert found[found["reading"] == "headline"]["stands"].tolist() == [
        "not tested: C&W is unbounded",
        "",
        "not tested: no worst case is defined for pgd40-linf",
    ]
    assert found[found["reading"] == "pixel"]["stands"].tolist() == [
        "not tested: no worst case is defined for pgd40-linf-px"
    ]


def test_a_doubtful_label_is_doubtful_in_the_second_verdict_too(tmp_path: Path) -> None:
    claim = ROW | {"value": "0.6512", "alternative": "0.5561"}
    for value, expected in ((0.6, "label ambiguous"), (0.7, "stands"), (0.1, "overstated by 55.1 points")):
        assert judged(tmp_path, [claim], [*seeds(0.5), *worst(value)]).iloc[0]["stands"] == expected


# ---- the whole study, with the paper's own numbers as ours


def printed_as_ours(study: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for claim in study[study["cell_metric"].isin(["accuracy", "fuzziness"])].to_dict("records"):
        place = {"original_dataset": claim["cell_dataset"], "norm": "none" if claim["attack"] == "clean" else "linf"}
        place |= {"defense": claim["cell_defense"], "attack": claim["cell_attack"], "epsilon": claim["cell_epsilon"]}
        rows += seeds(*[float(claim["value"])] * 3, **place, metric=claim["cell_metric"])
    zeros = {"attack": "clean", "epsilon": math.nan, "norm": "none", "metric": "near_zero_0.01"}
    for dataset, low, high in (("mnist", 0.05, 0.9), ("cifar10", 0.006, 0.87)):
        for defense, share in (("std", low), ("minmax-printed", high), ("adv", 0.2)):
            rows += seeds(*[share] * 3, original_dataset=dataset, defense=defense, **zeros)
    return pd.DataFrame(rows, columns=metrics.CELL_COLUMNS)


def test_the_papers_own_numbers_are_reproduced_unless_their_label_is_in_doubt(study: pd.DataFrame) -> None:
    given = {"readings": READINGS, "worst": {}, "caps": {}, "near_zero": "near_zero_0.01"}
    found = claims.verdicts(study, printed_as_ours(study), **given)
    headline = found[found["reading"] == "headline"]
    assert headline["verdict"].value_counts().to_dict() == {"reproduced": 60, "label ambiguous": 5}
    assert (headline["verdict"] == "label ambiguous").tolist() == (headline["certainty"] == "uncertain").tolist()
    assert set(found.loc[found["reading"] != "headline", "verdict"]) == {"not run"}
    assert list(found) == [*study.columns, *claims.RESULT]


# ---- statements


ATTACKS = ["fgsm-linf", "pgd40-linf", "cw-l2"]


def means(values: dict[tuple[str, ...], float], datasets: tuple[str, ...] = ("mnist",)) -> claims.Means:
    """Keys (defense, attack or metric) for mnist, or (dataset, defense, attack or metric)."""
    table = {}
    for key, value in values.items():
        dataset, defense, name = key if len(key) == 3 else ("mnist", *key)
        place = (name, "accuracy") if name in [*ATTACKS, "clean"] else ("clean", name)
        table[dataset, defense, *place] = value
    attacks = {dataset: ATTACKS[1:] for dataset in datasets}
    pairs = {(dataset, attack): ["std", "mm"] for dataset in datasets for attack in ATTACKS}
    return claims.Means(table, attacks, pairs, {("mnist", "near_zero_ratio"): (17.0, 19.0)})


TWO = {("std", "pgd40-linf"): 0.5, ("std", "cw-l2"): 0.4}
BETTER = {("l2", "pgd40-linf"): 0.61, ("l2", "cw-l2"): 0.51}
FUZZY = {("std", "fuzziness"): 0.4, ("adv", "fuzziness"): 0.3}


@pytest.mark.parametrize(
    ("test", "values", "holds"),
    [
        ("above mm std mnist", {("mm", "pgd40-linf"): 0.6, ("mm", "cw-l2"): 0.5}, "yes"),
        ("above mm std mnist", {("mm", "pgd40-linf"): 0.6, ("mm", "cw-l2"): 0.4}, "partly"),
        ("above mm std mnist", {("mm", "pgd40-linf"): 0.5, ("mm", "cw-l2"): 0.4}, "no"),
        ("above mm std mnist", {("mm", "pgd40-linf"): 0.6}, "not run"),
        ("not-above mm std", {("mm", "pgd40-linf"): 0.4, ("mm", "cw-l2"): 0.3}, "yes"),
        ("not-above mm std", {("mm", "pgd40-linf"): 0.6, ("mm", "cw-l2"): 0.3}, "partly"),
        ("little-above mm std", {("mm", "pgd40-linf"): 0.54, ("mm", "cw-l2"): 0.44}, "yes"),
        ("little-above mm std", {("mm", "pgd40-linf"): 0.64, ("mm", "cw-l2"): 0.54}, "partly"),
        ("best-on-most mm std", {("mm", "pgd40-linf"): 0.6, ("mm", "cw-l2"): 0.5}, "yes"),
        ("best-on-most mm std", {("mm", "pgd40-linf"): 0.6, ("mm", "cw-l2"): 0.4}, "no"),
        ("best-on-most mm std l2", {("mm", "pgd40-linf"): 0.6, ("mm", "cw-l2"): 0.5} | BETTER, "no"),
        ("best-on-most mm std l1", {("mm", "pgd40-linf"): 0.6, ("mm", "cw-l2"): 0.4}, "not run"),
        ("broken cw-l2 mnist", {("std", "cw-l2"): 0.0, ("mm", "cw-l2"): 0.005}, "yes"),
        ("broken cw-l2 mnist", {("std", "cw-l2"): 0.0, ("mm", "cw-l2"): 0.006}, "partly"),
        ("broken fgsm-linf mnist", {("std", "fgsm-linf"): 0.1, ("mm", "fgsm-linf"): 0.2}, "no"),
        ("mean-gain mm std", {("mm", "pgd40-linf"): 0.7, ("mm", "cw-l2"): 0.3}, "yes"),
        ("mean-gain mm std", {("mm", "pgd40-linf"): 0.5, ("mm", "cw-l2"): 0.3}, "no"),
        ("decreasing fuzziness std adv mm", FUZZY | {("mm", "fuzziness"): 0.1}, "yes"),
        ("decreasing fuzziness std adv mm", FUZZY | {("mm", "fuzziness"): 0.35}, "partly"),
        ("near-zero mm adv", {("mm", "near_zero_ratio"): 23.5, ("adv", "near_zero_ratio"): 1.1}, "yes"),
        ("near-zero mm adv", {("mm", "near_zero_ratio"): 23.6, ("adv", "near_zero_ratio"): 1.1}, "partly"),
        ("near-zero mm adv", {("mm", "near_zero_ratio"): 12.0, ("adv", "near_zero_ratio"): 1.0}, "no"),
        ("near-zero mm adv", {("adv", "near_zero_ratio"): 1.0}, "not run"),
    ],
)  # fmt: skip
def test_a_statement_holds_where_its_comparisons_do(test: str, values: dict[tuple, float], holds: str) -> None:
    name, *words = test.split()
    assert claims.conclude(list(claims.TESTS[name](means(TWO | values), *words)))[0] == holds


@pytest.mark.parametrize(
    ("slight", "clear", "holds"),
    [(0.01, 0.08, "yes"), (0.03, 0.08, "partly"), (-0.01, 0.08, "partly"), (0.02, 0.02, "partly")],
)
def test_a_cost_in_clean_accuracy(slight: float, clear: float, holds: str) -> None:
    drop = {("mnist", "mm", "clean_accuracy_drop"): slight, ("cifar10", "mm", "clean_accuracy_drop"): clear}
    found = claims.TESTS["costs-clean"](means(drop), "mm", "mnist", "cifar10")
    assert claims.conclude(list(found))[0] == holds


def test_the_detail_says_what_fails_and_what_is_missing() -> None:
    checks = [Check("a: 1 > 0", True), Check("b: 0 > 1", False), Check("c: nan > 1", None)]
    assert claims.conclude(checks) == ("not run", "1 of 3; not: b: 0 > 1; no number: c")
    assert claims.conclude(checks[:2]) == ("partly", "1 of 2; not: b: 0 > 1")
    assert claims.conclude([]) == ("not run", "0 of 0")


def test_the_statements_of_the_study_are_tested_on_the_claimed_cells(study: pd.DataFrame) -> None:
    known = _known()
    words = {*claims.METRICS, "rho_extreme"}.union(*known.values())
    statements = claims.load_qualitative(STUDY, words)
    assert len(statements) == 13
    stray = seeds(0.123, defense="minmax-printed", attack="pgd40-linf", epsilon=0.9)  # a radius of no claim
    table = pd.concat([printed_as_ours(study), pd.DataFrame(stray)], ignore_index=True)
    found = claims.qualitative(statements, study, table, near_zero="near_zero_0.01").set_index("id")
    expected = {"mm01": "yes", "mm02": "partly", "mm03": "yes", "mm04": "partly", "mm05": "partly", "mm06": "yes"}
    expected |= {"mm07": "yes", "mm08": "yes", "mm09": "yes", "mm10": "see figure 3", "mm11": "see figure 2"}
    assert found["holds"].to_dict() == expected | {"mm12": "not run", "mm13": "yes"}
    assert found.loc["mm02", "detail"] == "5 of 6; not: cw-l2: 0 > 0"
    agree = found["published_numbers_agree"].str.partition(":")[0]
    assert agree[["mm01", "mm02", "mm03", "mm06"]].tolist() == ["yes", "partly", "yes", "yes"], "as we find them"


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("beats std adv mnist", "unknown test 'beats'; allowed: above"),
        ("above std", "'above' with 1 words: missing a required argument: 'worse'"),
        ("above std std mnist mnist", "'above' with 4 words: too many positional arguments"),
        ("above std stdd mnist", "unknown word 'stdd'; .* did you mean 'std'"),
        ("", "unknown test ''"),
        ("see", "unknown test 'see'"),
    ],
)
def test_a_wrong_test_is_named(tmp_path: Path, test: str, message: str) -> None:
    columns = ["paper", "id", "claim", "evidence_table", "how_to_test", "published_numbers_agree"]
    write(tmp_path, {**dict.fromkeys(columns, "x"), "test": test}, name="qualitative.csv")
    with pytest.raises(ConfigError, match=rf"qualitative\.csv:2: test: {message}"):
        claims.load_qualitative(tmp_path, {"std", "adv", "mnist"})
