import math
import re
from pathlib import Path

import numpy as np
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
from toy_records import clean, header, points, save_run

from touchstone.cell import ModelId, ThreatSpec
from touchstone.findings.cells import Cell, derive, of_attacks, of_people, of_weights, table
from touchstone.findings.people import Numbers
from touchstone.records import Attacked, Batch
from touchstone.runs import read_run
from touchstone.study import claims
from touchstone.study.claim import Claim, Place
from touchstone.study.claims import Tried
from touchstone.study.config import ConfigError
from touchstone.study.scale import METRICS
from touchstone.study.schema import Reading


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
        ({"cell_attack": "cw-l2", "norm": "l2"}, "2: cell_epsilon: 'cw-l2' has no budget: leave it empty, got '0.3'"),
        ({"metric": "accuracy_lo"}, "2: metric: 'accuracy_lo' needs a row 'accuracy_hi' of the same cell"),
        ({"metric": "accuracy_hi"}, "2: metric: 'accuracy_hi' needs a row 'accuracy_lo' of the same cell"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"claims\.csv:{message}"):
        load(tmp_path, ROW | changes, tried=TRIED)


TRIED = {
    ("mnist", "std", "clean"): Tried("none", "none", "", ()),
    ("mnist", "std", "pgd40-linf"): Tried("fixed", "linf", "normalized", (0.1, 0.3), steps=40),
    ("mnist", "std", "pgd40-linf-px"): Tried("fixed", "linf", "pixel", (0.031373, 0.3)),
    ("mnist", "std", "cw-l2"): Tried("minimal", "l2", "normalized", ()),
}
CW = {"attack": "cw", "norm": "l2", "cell_attack": "cw-l2", "cell_epsilon": ""}
PIXEL = {"epsilon_unit": "pixel01", "cell_attack": "pgd40-linf-px"}
WEIGHTS = {"metric": "fuzziness", "cell_metric": "fuzziness", "unit": "raw"}
NORM = {"metric": "mean_norm", "cell_metric": "mean_norm", "unit": "raw"}


@pytest.mark.parametrize(
    "changes",
    [
        CLEAN,
        CW,
        PIXEL,
        PIXEL | {"epsilon": "8", "epsilon_unit": "255", "cell_epsilon": "0.031373"},
        CW | NORM,
        CLEAN | WEIGHTS,
        CLEAN | {"metric": "clean_accuracy_drop_vs_std", "cell_metric": "clean_accuracy_drop_vs_std", "value": "-0.01"},
        {"metric": "adv_error", "cell_metric": "adv_error"},
        {"metric": "error", "cell_metric": "error"},
        {"norm": "unknown"},
        NO_CELL | {"out_of_scope": "cited", "metric": "human_change", "epsilon": "8", "epsilon_unit": "255"},
        {"alternative": "0.4;0.6", "std": "0.01"},
        {"attack_params": "step_size=0.1;steps=40"},
        PIXEL | {"attack_params": "steps=200"},
    ],
)
def test_what_is_printed_and_its_cell_agree(tmp_path: Path, changes: dict[str, str]) -> None:
    assert len(load(tmp_path, ROW | changes, tried=TRIED)) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "error"}, "cell_metric: 'accuracy', but 'error' is printed"),
        ({"cell_metric": "error"}, "cell_metric: 'error', but 'accuracy' is printed"),
        ({"metric": "adv_error"}, "cell_metric: 'accuracy', but 'adv_error' is printed"),
        ({"metric": "adv_error", "cell_metric": "error"}, "cell_metric: 'error', but 'adv_error' is printed"),
        (
            CLEAN | {"metric": "adv_error", "cell_metric": "adv_error"},
            "cell_metric: 'adv_error' is of an attack of kind fixed or minimal",
        ),
        ({"metric": "acuracy"}, "metric: unknown metric 'acuracy' with a cell; .* did you mean 'accuracy'"),
        ({"epsilon": "8"}, "cell_epsilon: '0.3', but 8 in normalized is printed"),
        (PIXEL | {"epsilon": "8", "epsilon_unit": "255"}, "cell_epsilon: '0.3', but 8 in 255 is printed"),
        (PIXEL | {"epsilon": "0.30002"}, "cell_epsilon: '0.3', but 0.30002 in pixel01 is printed"),
        ({"epsilon_unit": "pixel01"}, "epsilon_unit: 'pixel01' is printed, but 'pgd40-linf' is in normalized space"),
        ({"epsilon_unit": ""}, "epsilon_unit: unknown epsilon_unit ''; allowed: 255, count, normalized, pixel01"),
        ({"norm": "l2"}, "norm: 'l2' is printed, but 'pgd40-linf' works in 'linf'"),
        ({"norm": "Linf"}, "norm: unknown norm 'Linf'"),
        ({"norm": "none"}, "norm: 'none' is printed, but 'pgd40-linf' works in 'linf'"),
        (CLEAN | {"norm": "linf"}, "norm: 'linf' is printed, but 'clean' works in 'none'"),
        ({"paper": "tory"}, "paper: must be the study 'toy', got 'tory'"),
        ({"dataset": "cifar10"}, "cell_dataset: 'mnist', but 'cifar10' is printed, which is another dataset of the st"),
        ({"defense": "std+l1"}, r"cell_defense: 'std', but 'std\+l1' is printed"),
        ({"attack": "clean"}, "cell_attack: 'pgd40-linf', but 'clean' is printed"),
        (WEIGHTS, "cell_metric: 'fuzziness' is of an attack of kind none; 'pgd40-linf' is of kind fixed"),
        (
            {"metric": "clean_accuracy_drop_vs_std", "cell_metric": "clean_accuracy_drop_vs_std"},
            "cell_metric: 'clean_accuracy_drop_vs_std' is of an attack of kind none; 'pgd40-linf' is of kind fixed",
        ),
        (CLEAN | NORM, "cell_metric: 'mean_norm' is of an attack of kind minimal; 'clean' is of kind none"),
        (NORM, "cell_metric: 'mean_norm' is of an attack of kind minimal; 'pgd40-linf' is of kind fixed"),
        ({"value": "1e400"}, "value: expected a number, got '1e400'"),
        ({"std": "1e999"}, "std: expected a number, got '1e999'"),
        ({"std": "-0.1"}, "std: expected at least 0, got '-0.1'"),
        (CLEAN | WEIGHTS | {"value": "-0.3"}, "value: expected at least 0 for fuzziness in raw, got '-0.3'"),
        (CW | NORM | {"value": "-1"}, "value: expected at least 0 for mean_norm in raw, got '-1'"),
        (
            {"attack_params": "steps=200;step_size=0.01"},
            "cell_attack: 'pgd40-linf' takes 40 steps, but steps=200 is pr",
        ),
        ({"alternative": "0.4;40"}, "alternative: expected 0 to 1 for accuracy in fraction, got '40'"),
        ({"metric": "rho_adv", "cell_metric": "rho"}, "cell_metric: unknown metric 'rho'; allowed: accuracy"),
        ({"cell_metric": "worst_accuracy"}, "cell_metric: unknown metric 'worst_accuracy'"),
    ],
)
def test_what_is_printed_and_its_cell_may_not_disagree(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"claims\.csv:2: {message}"):
        load(tmp_path, ROW | changes, tried=TRIED)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("cw-l2", "cell_epsilon: in the reading 'other': 'cw-l2' has no budget: leave it empty, got '0.3'"),
        ("clean", "cell_epsilon: in the reading 'other': 'clean' has no budget"),
        ("small", "cell_epsilon: in the reading 'other': 'small' is not run at '0.3'; allowed: 0.1"),
        ("round", "norm: in the reading 'other': 'linf' is printed, but 'round' works in 'l2'"),
    ],
)
def test_a_reading_swaps_an_attack_for_one_of_its_kind(tmp_path: Path, other: str, message: str) -> None:
    more = {"small": Tried("fixed", "linf", "pixel", (0.1,)), "round": Tried("fixed", "l2", "pixel", (0.3,))}
    tried = TRIED | {("mnist", "std", name): one for name, one in more.items()}
    readings = {"headline": Reading(), "other": Reading(attack={"pgd40-linf": other})}
    with pytest.raises(ConfigError, match=rf"claims\.csv:2: {message}"):
        load(tmp_path, ROW, tried=tried, readings=readings)
    assert len(load(tmp_path, ROW, tried=tried, readings={"pixel": READINGS["pixel"]})) == 1
    assert len(load(tmp_path, ROW | CLEAN, tried=tried, readings=readings)) == 1, "which it does not touch"


def test_every_metric_of_a_claim_is_one_that_something_produces(tmp_path: Path) -> None:
    seen = Numbers(ModelId("toy", "mnist", "lenet", "std", 0), "", "cw-l2", "l2", "pixel", "", 4, 1, 0.5, 0.25, None, 0)
    made = derive(
        table([*attacked(), *weighed(tmp_path), *of_people([seen])]), near_zero="near_zero_0.01", reference="std"
    )
    assert METRICS.keys() - set(made["metric"]) == set()
    for name, measure in METRICS.items():
        rows = made[made["metric"] == name]
        kinds = {
            {"clean": "none", "pgd": "fixed", "cw-l2": "minimal", "cw-l0": "minimal"}[attack]
            for attack in rows["attack"]
        }
        assert kinds == set(measure.kinds), name


def attacked() -> list[Cell]:
    """A clean pass, an attack with a budget and one without, on a defense and its reference."""
    found = []
    for defense in ("std", "mm"):
        model = ModelId("toy", "mnist", "lenet", defense, 0)
        batch = [
            Attacked(clean(model=model), points(epsilon=[math.nan] * 4)),
            Attacked(header("pgd", model=model), points(epsilon=[0.3] * 4)),
            *(
                Attacked(
                    header(f"cw-{norm}", model=model, kind="minimal", budget_rule="distance", threat=threat),
                    points(epsilon=[math.nan] * 4),
                )
                for norm in ("l2", "l0")
                for threat in [ThreatSpec(norm, epsilons=(1.0,))]
            ),
        ]
        found += of_attacks(Batch(batch, []), {})
    return found


def weighed(folder: Path) -> list[Cell]:
    return [
        cell
        for defense in ("std", "mm")
        for model in [ModelId("toy", "mnist", "lenet", defense, 0)]
        for cell in of_weights(read_run(save_run(folder / defense, np.full((2, 1, 3, 3), 0.001), model)), [0.01])
    ]


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
        (b"", r"claims\.csv:1: id: missing column 'id'"),
        (b"id,papr,unit\n", "1: papr: unknown column 'papr'; .* did you mean 'paper'"),
        (",".join([*claims.COLUMNS, "value"]).encode(), "1: value: column 'value' is there twice"),
        (",".join(claims.COLUMNS).encode() + b"\na,b\n", "2: expected 28 fields, got 2"),
        (",".join(claims.COLUMNS).encode() + b'\n"a', "not valid CSV: unexpected end of data"),
        (b"\xff\xfe", "expected UTF-8 text: invalid start byte at byte 0"),
    ],
)
def test_a_file_that_is_no_table_of_claims_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "claims.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        claims.load(claims.read(tmp_path / "claims.csv"), "toy", KNOWN)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As spreadsheets write "CSV UTF-8"."""
    load(tmp_path, ROW)
    path = tmp_path / "toy" / "claims.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert claims.load(claims.read(path), "toy", KNOWN)["id"].tolist() == ["a"]


def test_a_study_may_have_no_claims(tmp_path: Path) -> None:
    assert claims.read(tmp_path / "claims.csv") is None
    assert claims.load(None, "toy", KNOWN).empty


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        claims.load(claims.read(tmp_path), "toy", KNOWN)


def test_an_interval_printed_as_two_rows_is_one_claim(tmp_path: Path) -> None:
    row = ROW | {"unit": "ratio", "metric": "near_zero_param_ratio_vs_std_hi", "value": "19", "id": "r-hi"}
    row |= {"cell_metric": "near_zero_param_ratio_vs_std"}
    other = row | {"id": "r-lo", "metric": "near_zero_param_ratio_vs_std_lo", "value": "17", "note": "text"}
    loaded = load(tmp_path, row, ROW | {"id": "x"}, other)
    assert loaded[["id", "metric", "value", "low", "high"]].to_numpy().tolist() == [
        ["x", "accuracy", "0.5000", 0.5, 0.5],
        ["r", "near_zero_param_ratio_vs_std", "17 to 19", 17.0, 19.0],
    ]
    with pytest.raises(ConfigError, match="expected the low end below the high end, got 17 and 1"):
        load(tmp_path, row | {"value": "1"}, other)


@pytest.mark.parametrize("change", [{"alternative": "18"}, {"cited": "A et al."}, {"epsilon": "0.2"}])
def test_the_two_ends_of_an_interval_agree_in_all_else(tmp_path: Path, change: dict[str, str]) -> None:
    row = ROW | {"unit": "ratio", "metric": "near_zero_param_ratio_vs_std_hi", "value": "19", "id": "r-hi"}
    row |= {"cell_metric": "near_zero_param_ratio_vs_std"}
    low = row | {"id": "r-lo", "metric": "near_zero_param_ratio_vs_std_lo", "value": "17"}
    assert len(load(tmp_path, row, low)) == 1
    with pytest.raises(ConfigError, match="needs a row 'near_zero_param_ratio_vs_std_hi' of the same cell"):
        load(tmp_path, row, low | change)


def test_numbers_keep_their_digits_and_alternative_is_optional(tmp_path: Path) -> None:
    bare = {key: value for key, value in ROW.items() if key != "alternative"}
    loaded = load(tmp_path, bare)
    assert loaded.loc[0, ["value", "alternative", "std"]].tolist() == ["0.5000", "", ""]


def test_a_row_is_a_claim_whose_number_is_in_its_unit_and_in_ours(tmp_path: Path) -> None:
    (row,) = load(tmp_path, ROW | {"unit": "percent", "value": "50", "alternative": "40;45"}).to_dict("records")
    claim = Claim.of(row, "coded")
    assert (claim.id, claim.reading, claim.table, claim.printed) == ("a", "coded", "Table 1", "50")
    assert (claim.place, claim.epsilon) == (Place("mnist", "lenet", "std", "pgd40-linf", "accuracy"), 0.3)
    assert (claim.low, claim.measured, claim.alternatives) == (50.0, (0.5, 0.5), (40.0, 45.0))
    assert (claim.runs, claim.deviation, claim.robust, claim.kind) == (1, None, True, "informative")


def test_a_cited_number_needs_no_cell_and_may_have_one(tmp_path: Path) -> None:
    rows = [ROW | {"id": "a", "cited": "A et al."}, ROW | NO_CELL | {"id": "b", "cited": "A et al."}]
    loaded = load(tmp_path, *rows)
    assert loaded[["cited", "cell_attack"]].to_numpy().tolist() == [["A et al.", "pgd40-linf"], ["A et al.", ""]]
    with pytest.raises(ConfigError, match="cell_attack: unknown attack 'pdg'"):
        load(tmp_path, ROW | {"cited": "A et al.", "cell_attack": "pdg"})


# ---- readings


def test_a_reading_has_only_the_claims_that_it_changes(tmp_path: Path) -> None:
    rows = [
        ROW | {"id": "a"},
        ROW | CLEAN | {"id": "b"},
        ROW | {"id": "c", "defense": "minmax", "cell_defense": "minmax-printed"},
    ]
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
        claims.expand(loaded, {"coded": Reading()})
    with pytest.raises(ValueError, match="readings: coded: expected a mark"):
        claims.expand(loaded, {"headline": Reading(), "coded": Reading()})


READ = Tried("minimal", "l2", "pixel", (0.5, 1.0), read=True)
MINIMAL = {"attack": "df", "norm": "l2", "epsilon": "", "epsilon_unit": "", "cell_attack": "cw-l2", "cell_epsilon": ""}
NORM = {"metric": "mean_norm", "cell_metric": "mean_norm", "unit": "raw"}
RATIO = {"metric": "rho_adv", "unit": "ratio"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell_epsilon": "0.5"}, ""),
        ({}, ""),
        ({"cell_epsilon": "0.7"}, "cell_epsilon: 'cw-l2' is not run at '0.7'; allowed: 0.5, 1"),
        (NORM, ""),
        (NORM | {"cell_epsilon": "0.5"}, "cell_epsilon: 'mean_norm' is at no radius"),
        (RATIO | {"cell_metric": "rho_adv_all"}, ""),
        (NORM | {"cell_metric": "mean_norm_values"}, "'mean_norm_values' is of an attack in l0; 'cw-l2' is in l2"),
        (RATIO | {"cell_metric": "mean_norm"}, "cell_metric: 'mean_norm', but 'rho_adv' is printed"),
    ],
)
def test_a_radius_may_be_read_and_may_be_left_out(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    tried = {("mnist", "std", "cw-l2"): READ}
    if not message:
        assert len(load(tmp_path, ROW | MINIMAL | changes, tried=tried)) == 1
        return
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(tmp_path, ROW | MINIMAL | changes, tried=tried)


def test_a_reading_may_swap_the_metric(tmp_path: Path) -> None:
    row = ROW | MINIMAL | RATIO | {"cell_metric": "rho_adv"}
    readings = {"headline": Reading(), "coded": Reading(mark="only as coded", metric={"rho_adv": "rho_adv_ends"})}
    rows = claims.expand(load(tmp_path, row), readings)
    assert rows["cell_metric"].tolist() == ["rho_adv", "rho_adv_ends"]
