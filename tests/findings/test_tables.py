import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from touchstone.findings import metrics, tables


def verdicts(*rows: dict[str, Any]) -> pd.DataFrame:
    base = {"source_table": "Table 1", "dataset": "mnist", "defense": "std", "attack": "fgsm", "certainty": "certain"}
    base |= {"reading": "headline", "value": "0.9861", "ours": 0.98404, "h": 0.0021, "verdict": "reproduced"}
    return pd.DataFrame([{**base, "id": str(number), **row} for number, row in enumerate(rows)])


def cells(*rows: dict[str, Any]) -> pd.DataFrame:
    base = {"dataset": "mnist", "original_dataset": "mnist", "model": "lenet", "defense": "std", "seed": 0}
    base |= {"attack": "worst-linf", "member": "worst-linf", "protocol": "worst", "space": "pixel", "norm": "linf"}
    base |= {"epsilon": 0.3, "metric": "worst_accuracy", "value": 0.5, "n": 1000, "status": "ok", "reason": ""}
    return pd.DataFrame([{**base, **row} for row in rows], columns=metrics.CELL_COLUMNS)


CLEAN = {"attack": "clean", "norm": "none", "epsilon": math.nan, "metric": "accuracy", "protocol": "published"}


def test_a_table_of_the_paper_shows_both_numbers_and_a_mark() -> None:
    table = tables.paper_table(
        verdicts(
            {},
            {"defense": "std+l1", "verdict": "lower", "certainty": "uncertain"},
            {"attack": "pgd", "verdict": "not comparable: digits for mnist", "h": math.nan},
            {"attack": "pgd", "defense": "std+l1", "ours": math.nan, "h": math.nan, "verdict": "not run"},
            {"source_table": "Table 2", "verdict": "higher"},
            {"reading": "coded", "verdict": "only as coded"},
        ),
        "Table 1",
        labels={"fgsm": "FGSM", "std": "Std."},
    )
    assert table.to_dict("records") == [
        {"": "FGSM", "Std.": "0.9861 / **0.9840** ±0.0021 ✓", "std+l1": "0.9861† / **0.9840** ±0.0021 ↓"},
        {"": "pgd", "Std.": "0.9861 / **0.9840** ≠", "std+l1": "0.9861 / – ·"},
    ]


def test_a_table_about_one_attack_has_datasets_as_columns() -> None:
    table = tables.paper_table(verdicts({}, {"defense": "adv"}, {"dataset": "cifar10"}), "Table 1")
    assert list(table) == ["", "mnist", "cifar10"]
    assert table[""].tolist() == ["std", "adv"]
    assert table.loc[1, "cifar10"] == ""


def test_another_reading_has_its_own_table_and_mark() -> None:
    both = verdicts({}, {"reading": "coded", "verdict": "only as coded"})
    found = tables.paper_table(both, "Table 1", reading="coded")
    assert found.iloc[0, 1].endswith("(✓)")
    assert tables.paper_table(verdicts({}), "Table 9").empty


def test_two_claims_in_one_place_are_both_shown() -> None:
    found = tables.paper_table(verdicts({"value": "17 to 19", "ours": 12.3, "h": 1.2}, {"value": "0.5"}), "Table 1")
    assert found.iloc[0, 1] == "17 to 19 / **12** ±1 ✓; 0.5 / **1.0** ±0.0 ✓"


def test_cells_of_a_table_cannot_break_markdown() -> None:
    assert tables.escape("a|b\nc \\| d") == "a\\|b c \\| d"
    assert tables.escape(tables.escape("a|b")) == "a\\|b"
    table = tables.paper_table(verdicts({"attack": "a|b"}, {}), "Table 1")
    lines = table.to_markdown(index=False).splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_the_legend_explains_every_mark() -> None:
    text = tables.legend()
    assert all(f"{sign} {name}" in text for name, sign in tables.MARKS.items())
    assert "† label uncertain" in text
    assert len(set(tables.MARKS.values())) == len(tables.MARKS)
    assert tables.mark("failed: loss is nan") == "✗"
    assert tables.mark("only with epsilon in pixels") == "(✓)"


def test_the_worst_case_comes_before_clean_accuracy() -> None:
    table = tables.worst_cases(
        cells(
            {**CLEAN, "value": 0.99},
            *({"value": value, "seed": seed} for seed, value in enumerate((0.1, 0.12, 0.14))),
            {"norm": "l2", "epsilon": 0.5, "value": 0.7, "n": 300},
            {"epsilon": 0.1, "value": 0.9, "status": "incomplete"},
            {"epsilon": 0.1, "defense": "coded", "n": 200},
            {"epsilon": 0.1, "defense": "adv", "value": math.nan, "n": 0, "status": "failed"},
            {"metric": "fuzziness"},
        )
    )
    places = [["linf", "0.1"], ["linf", "0.3"], ["l2", "0.5"], ["clean", ""]]
    assert table[["norm", "epsilon"]].to_numpy().tolist() == places
    assert table["n"].tolist() == ["200", "1000", "300", "1000"], "the fewest of the row"
    assert table.loc[1, "std"] == f"12.0 ±{100 * 4.302652729911275 * 0.02 / math.sqrt(3):.1f}"
    assert table.loc[0, "std"].endswith("*incomplete*")
    assert table.loc[0, "adv"] == table.loc[1, "adv"] == "–"


def test_without_worst_cases_the_table_is_empty() -> None:
    assert tables.worst_cases(cells()).empty


def test_the_summary_counts_each_claim_once() -> None:
    found = tables.summary(
        verdicts(
            {"id": "a"},
            {"id": "b", "verdict": "lower"},
            {"id": "c", "verdict": "failed: loss is nan", "certainty": "uncertain"},
            {"id": "d", "verdict": "failed: no candidate", "certainty": "inferred"},
            {"id": "e", "verdict": "not comparable: digits for mnist"},
            {"id": "a", "reading": "coded"},
            {"id": "b", "reading": "coded", "verdict": "only as coded"},
            {"id": "b", "reading": "pixel", "verdict": "only with epsilon in pixels"},
            {"id": "e", "reading": "coded", "verdict": "only as coded"},
        )
    )
    assert found.to_numpy().tolist() == [
        ["✓", "reproduced", "1", "0", "0", "1"],
        ["≠", "not comparable", "1", "0", "0", "1"],
        ["✗", "failed", "0", "1", "1", "2"],
        ["(✓)", "only as coded", "1", "0", "0", "1"],
    ]
    assert list(found) == ["", "verdict", "certain", "inferred", "uncertain", "all"]


def test_failures_say_what_why_and_where() -> None:
    nan = {"status": "failed", "reason": "loss | nan", "value": math.nan}
    table = tables.failures(
        cells(
            {},
            {**nan, **CLEAN, "seed": 1},
            {**nan, **CLEAN, "seed": 0},
            {**nan, "seed": 1},
            {**nan, "defense": "adv", "reason": "no gradient"},
        ),
        "results/demo/toy",
    )
    assert table.to_numpy().tolist() == [
        [
            "worst-linf on adv (mnist, lenet; seed 0)",
            "no gradient",
            _path("attacks", "adv", "worst-linf/records.parquet"),
        ],
        ["training of std (mnist, lenet; seed 0, 1)", "loss \\| nan", _path("models", "std", "run.json")],
    ]
    assert list(tables.failures(cells({}))) == ["what", "why", "where"]


def _path(kind: str, defense: str, file: str) -> str:
    return f"results/demo/toy/{kind}/mnist/lenet/{defense}/0/{file}"


@pytest.mark.parametrize("name", ["paper_table", "worst_cases", "summary", "failures"])
def test_every_cell_is_text(name: str) -> None:
    given = {"worst_cases": (cells({}, CLEAN),), "failures": (cells({"status": "failed", "reason": "x"}),)}
    arguments = {"paper_table": (verdicts({}), "Table 1"), "summary": (verdicts({}),)} | given
    table = getattr(tables, name)(*arguments[name])
    assert len(table)
    assert table.map(lambda cell: isinstance(cell, str)).all(axis=None)


def test_claims_of_several_studies_are_gathered(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,value,why\nx,0.5000,\n")
    (tmp_path / "b.csv").write_text("id,value\ny,1e-3\n")
    tables.gather([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out" / "claims.csv")
    assert (tmp_path / "out" / "claims.csv").read_text() == "id,value,why\nx,0.5000,\ny,1e-3,\n"
