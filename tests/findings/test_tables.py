import math
from pathlib import Path

import pandas as pd
import pytest
from toy_tables import CLEAN, CODED, MINIMAL, PIXEL, PUBLISHED, cells, verdicts

from touchstone.cell import ModelId
from touchstone.findings import paper, tables
from touchstone.findings.inputs import write_tables
from touchstone.findings.vocabulary import ELSEWHERE, VERDICTS
from touchstone.paths import Results
from touchstone.study.schema import TableDef

ROOT = Path(__file__).resolve().parents[2]


def test_the_legend_explains_every_mark() -> None:
    text = tables.legend()
    assert all(f"{meaning.mark} {word}" in text for word, meaning in VERDICTS.items())
    assert "† label uncertain" in text


@pytest.mark.parametrize(
    ("value", "digits"), [("0.9861", 4), ("17", 0), ("17 to 19", 0), ("0.5 to 1.25", 1), ("1.", 0)]
)
def test_our_number_has_the_decimals_of_the_papers(value: str, digits: int) -> None:
    assert tables.decimals(value) == digits


def papers_of(found: pd.DataFrame) -> pd.DataFrame:
    table = {"table1": TableDef(source_table="Table 1", title="one")}
    return paper.paper(found, cells(), table, labels={}, readings={})


def test_an_unknown_verdict_is_neither_shown_nor_counted() -> None:
    wrong = verdicts({}, {"verdict": "reproducd"})
    for show in (tables.counts, tables.summary, papers_of):
        with pytest.raises(ValueError, match="unknown verdict 'reproducd'"):
            show(wrong)


def test_the_worst_case_comes_before_clean_accuracy() -> None:
    table = tables.worst_cases(
        cells(
            {**CLEAN, "value": 0.99},
            *({"value": value, "seed": seed} for seed, value in enumerate((0.1, 0.12, 0.14))),
            {"norm": "l2", "epsilon": 0.5, "value": 0.7, "n": 300},
            {"epsilon": 0.1, "value": 0.9, "status": "incomplete"},
            {"epsilon": 0.1 + 1e-12, "defense": "coded", "n": 200},
            {"epsilon": 0.1, "defense": "adv", "value": math.nan, "n": 0, "status": "failed"},
            {"metric": "fuzziness"},
        )
    )
    places = [["linf", "0.1"], ["linf", "0.3"], ["l2", "0.5"], ["clean", ""]]
    assert table[["norm", "epsilon"]].to_numpy().tolist() == places
    assert table["n"].tolist() == ["200", "1000", "300", "1000"], "the fewest of the row"
    assert table["suite"].tolist() == ["quick", "quick", "quick", ""]
    assert table.loc[1, "std"] == f"12.0 ±{100 * 4.302652729911275 * 0.02 / math.sqrt(3):.1f}"
    assert table.loc[0, "std"].endswith("*incomplete*")
    assert table.loc[0, "adv"] == table.loc[1, "adv"] == "–"


def test_every_attack_that_ran_is_in_the_table_of_attacks() -> None:
    table = tables.attacks(
        cells(
            {**CLEAN, "value": 0.99},
            *({**PUBLISHED, "attack": "pgd", "epsilon": eps, "value": 1 - eps} for eps in (0.1, 0.3)),
            {**PUBLISHED, "attack": "pgd", "epsilon": 0.1 + 1e-12, "defense": "adv", "value": 0.8, "n": 300},
            *({**MINIMAL, "metric": name, "value": 0.5} for name in ("accuracy", "success_rate", "median_norm")),
            {**MINIMAL, "metric": "mean_norm", "value": math.nan, "n": 0, "status": "failed"},
            {**CLEAN, "metric": "fuzziness"},
            {},
        )
    )
    numbers = table.iloc[:, 2:].map(lambda text: text.partition(" ±")[0])
    assert numbers.to_numpy().tolist() == [
        ["clean", "none", "", "accuracy", "1000", "99.0", "–"],
        ["pgd", "linf", "0.1", "accuracy", "300", "90.0", "80.0"],
        ["pgd", "linf", "0.3", "accuracy", "1000", "70.0", "–"],
        ["cw-l2", "l2", "", "accuracy", "1000", "50.0", "–"],
        ["cw-l2", "l2", "", "success rate", "1000", "50.0", "–"],
        ["cw-l2", "l2", "", "median norm", "1000", "0.5", "–"],
        ["cw-l2", "l2", "", "mean norm", "–", "–", "–"],
    ]
    assert table.iloc[1, -1].startswith("80.0 ±")
    assert tables.attacks(cells()).empty


def test_without_worst_cases_the_table_is_empty() -> None:
    assert tables.worst_cases(cells()).empty
    assert tables.worst_cases(cells(CLEAN)).empty, "clean accuracy alone is none"


def test_the_summary_counts_each_claim_once() -> None:
    found = tables.summary(
        verdicts(
            {"id": "a"},
            {"id": "b", "verdict": "lower"},
            {"id": "c", "verdict": "failed", "certainty": "uncertain"},
            {"id": "d", "verdict": "failed", "certainty": "inferred"},
            {"id": "e", "verdict": "not comparable"},
            {"id": "a", "reading": "coded"},
            {"id": "b"} | CODED,
            {"id": "b"} | PIXEL,
            {"id": "e"} | CODED,
        )
    )
    assert found.iloc[:, :-1].to_numpy().tolist() == [
        ["✓", "reproduced", "1", "0", "0", "1"],
        ["≠", "not comparable", "1", "0", "0", "1"],
        ["✗", "failed", "0", "1", "1", "2"],
        ["(✓)", "only as coded", "1", "0", "0", "1"],
    ]
    assert list(found) == ["", "verdict", "certain", "inferred", "uncertain", "all", "meaning"]
    words = ["reproduced", "not comparable", "failed", ELSEWHERE]
    assert found["meaning"].tolist() == [VERDICTS[word].meaning for word in words]


@pytest.mark.parametrize("word", VERDICTS)
def test_a_reading_explains_whatever_leaves_the_claim_open(word: str) -> None:
    (count,) = tables.counts(verdicts({"id": "a", "verdict": word}, {"id": "a"} | CODED))
    explained = {"higher", "lower", "within spread", "inconclusive", "label ambiguous", "failed"}
    assert (count.word, count.only) == ((ELSEWHERE, "only as coded") if word in explained else (word, ""))


RESULTS = Results(Path("results/demo"))
RECORDS = {
    (ModelId("toy", "mnist", "lenet", defense, seed), attack): RESULTS.attack(
        ModelId("toy", "mnist", "lenet", defense, seed), "all"
    ).records
    for defense in ("std", "adv")
    for seed in (0, 1)
    for attack in ("clean", "pgd", "worst-linf")
}


def test_failures_say_what_why_and_where() -> None:
    nan = {"status": "failed", "reason": "loss | nan", "value": math.nan}
    transfer = {**nan, "defense": "adv", "reason": "the substitute failed"}
    table = tables.failures(
        cells(
            {},
            {**nan, **CLEAN, "seed": 1},
            {**nan, **CLEAN, "seed": 0},
            {**nan, "seed": 1},
            {**transfer, "seed": 1},
            {**transfer, "seed": 1, "attack": "pgd"},
        ),
        RESULTS,
        RECORDS,
    )
    attacked = "results/demo/toy/attacks/mnist/lenet/adv/1/all/records.parquet"
    trained = "results/demo/toy/models/mnist/lenet/std/0/run.json"
    assert table.to_numpy().tolist() == [
        ["worst-linf, pgd on adv (mnist, lenet; seed 1)", "the substitute failed", attacked],
        ["training of std (mnist, lenet; seed 0, 1)", "loss | nan", trained],
    ]
    assert list(tables.failures(cells({}), RESULTS, RECORDS)) == ["what", "why", "where"]


def test_tables_name_the_data_in_use_and_what_they_stand_in_for() -> None:
    digits = {"stand_in": "digits"}
    assert tables.worst_cases(cells(digits))["dataset"].tolist() == ["digits for mnist"]
    failed = tables.failures(cells({**digits, "status": "failed", "reason": "x"}), RESULTS, RECORDS)
    assert failed["what"].tolist() == ["worst-linf on std (digits for mnist, lenet; seed 0)"]


@pytest.mark.parametrize("name", ["worst_cases", "attacks", "summary", "failures"])
def test_every_cell_is_text(name: str) -> None:
    failed = cells({"status": "failed", "reason": "x"})
    given = {"worst_cases": (cells({}, CLEAN),), "attacks": (cells(CLEAN),), "failures": (failed, RESULTS, RECORDS)}
    arguments = {"summary": (verdicts({}),)} | given
    table = getattr(tables, name)(*arguments[name])
    assert len(table)
    assert table.map(lambda cell: isinstance(cell, str)).all(axis=None)


def test_claims_of_several_studies_are_gathered(tmp_path: Path) -> None:
    first, second = (
        pd.DataFrame({"id": ["x"], "value": ["0.5000"], "why": ""}),
        pd.DataFrame({"id": ["y"], "value": "1e-3"}),
    )
    write_tables({tmp_path / "a.csv": first, tmp_path / "b.csv": second})
    tables.gather([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out" / "claims.csv")
    assert (tmp_path / "out" / "claims.csv").read_text() == "id,value,why\nx,0.5000,\ny,1e-3,\n"
