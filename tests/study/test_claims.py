import math
from pathlib import Path

import pandas as pd
import pytest
from toy_claims import (
    CLEAN,
    KNOWN,
    NO_CELL,
    READINGS,
    ROW,
    STUDY,
    load,
    printed,
)

from touchstone.study import claims
from touchstone.study.config import ConfigError


@pytest.fixture(scope="module")
def study() -> pd.DataFrame:
    return printed()


# ---- the study's own files


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
        (
            NO_CELL | {"out_of_scope": "no norm is printed", "cited": "A et al."},
            "2: cited: give either whom the paper cites or why it is out of scope, got both: 'A et al.'",
        ),
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


def test_a_cited_number_needs_no_cell_and_may_have_one(tmp_path: Path) -> None:
    rows = [ROW | {"id": "a", "cited": "A et al."}, ROW | NO_CELL | {"id": "b", "cited": "A et al."}]
    loaded = load(tmp_path, *rows, budgets={("mnist", "pgd40-linf"): (0.3,)})
    assert loaded[["cited", "cell_attack"]].to_numpy().tolist() == [["A et al.", "pgd40-linf"], ["A et al.", ""]]
    with pytest.raises(ConfigError, match="cell_attack: unknown attack 'pdg'"):
        load(tmp_path, ROW | {"cited": "A et al.", "cell_attack": "pdg"})


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
