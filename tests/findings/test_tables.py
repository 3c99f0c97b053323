import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from touchstone.cell import ModelId
from touchstone.findings import tables
from touchstone.findings.cells import COLUMNS
from touchstone.findings.inputs import write_tables
from touchstone.findings.vocabulary import ELSEWHERE, VERDICTS
from touchstone.paths import Results, studies, study_files
from touchstone.study.checks import load_study
from touchstone.study.claims import known, read
from touchstone.study.claims import load as load_claims
from touchstone.study.schema import LostDef, Reading, ShapeDef, Study, TableDef

ROOT = Path(__file__).resolve().parents[2]


def verdicts(*rows: dict[str, Any]) -> pd.DataFrame:
    base = {"source_table": "Table 1", "dataset": "mnist", "defense": "std", "attack": "fgsm", "certainty": "certain"}
    base |= {"model": "lenet", "norm": "linf", "epsilon": "0.3", "epsilon_unit": "pixel01", "attack_params": ""}
    base |= {"metric": "accuracy", "threat": "white-box", "cell_dataset": ""}
    base |= {"reading": "headline", "value": "0.9861", "ours": 0.98404, "h": 0.0021, "verdict": "reproduced"}
    base |= {"only": ""}
    return pd.DataFrame([{**base, "id": str(number), **row} for number, row in enumerate(rows)])


def cells(*rows: dict[str, Any]) -> pd.DataFrame:
    base = {"study": "toy", "dataset": "mnist", "model": "lenet", "defense": "std", "seed": 0, "stand_in": ""}
    base |= {"attack": "worst-linf", "protocol": "worst", "space": "pixel", "norm": "linf"}
    base |= {"epsilon": 0.3, "metric": "worst_accuracy", "value": 0.5, "n": 1000, "status": "ok", "reason": ""}
    base |= {"suite": "quick"}
    return pd.DataFrame([{**base, **row} for row in rows], columns=COLUMNS)


CODED = {"reading": "coded", "verdict": ELSEWHERE, "only": "only as coded"}
PIXEL = {"reading": "pixel", "verdict": ELSEWHERE, "only": "only with epsilon in pixels"}
CLEAN = {
    "attack": "clean",
    "norm": "none",
    "epsilon": math.nan,
    "metric": "accuracy",
    "protocol": "published",
    "suite": "",
}


def test_a_table_of_the_paper_shows_both_numbers_and_a_mark() -> None:
    table = tables.paper_table(
        verdicts(
            {},
            {"defense": "std+l1", "verdict": "lower", "certainty": "uncertain"},
            {"attack": "pgd", "verdict": "not comparable", "h": math.nan},
            {"attack": "pgd", "defense": "std+l1", "ours": math.nan, "h": math.nan, "verdict": "not run"},
            {"source_table": "Table 2", "verdict": "higher"},
            CODED,
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


def test_a_table_is_of_the_headline_alone() -> None:
    assert tables.paper_table(verdicts({}, CODED), "Table 1").equals(tables.paper_table(verdicts({}), "Table 1"))
    assert tables.paper_table(verdicts({}), "Table 9").empty


PGD = {"attack": "pgd"}


def test_rows_are_told_apart_by_radius_steps_and_whatever_else_differs() -> None:
    table = tables.paper_table(
        verdicts(
            {"epsilon": "0.1", "attack_params": "toolbox=x"},
            {"epsilon": "0.2", "attack_params": "toolbox=x"},
            {"epsilon": "8", "epsilon_unit": "255", "attack_params": "toolbox=x"},
            PGD | {"attack_params": "steps=40;step_size=0.01"},
            PGD | {"attack_params": "steps=200;step_size=0.01", "defense": "adv"},
            {"attack": "clean", "epsilon": "", "epsilon_unit": "", "norm": "none"},
            {"attack": "cw", "norm": "l2", "epsilon": "", "metric": "mean_norm"},
            {"attack": "cw", "norm": "l2", "epsilon": "1", "metric": "accuracy"},
            {"attack": "spsa", "threat": "white-box"},
            {"attack": "spsa", "threat": "black-box"},
        ),
        "Table 1",
        labels={"pgd": "PGD", "mean_norm": "mean norm"},
    )
    assert table[""].tolist() == [
        *["fgsm, ε 0.1", "fgsm, ε 0.2", "fgsm, ε 8/255", "PGD, steps 40", "PGD, steps 200", "clean"],
        *["cw, mean norm", "cw, accuracy, ε 1", "spsa, white-box", "spsa, black-box"],
    ]
    assert (table.loc[3, "adv"], table.loc[4, "std"]) == ("", "")


def test_data_sets_are_apart() -> None:
    both = verdicts({}, PGD, {"dataset": "cifar10"}, PGD | {"dataset": "cifar10"}, PGD | {"model": "mlp"})
    table = tables.paper_table(both, "Table 1", labels={"mnist": "MNIST"})
    assert table[""].tolist() == [
        *["MNIST, lenet, fgsm", "MNIST, lenet, pgd", "cifar10, lenet, fgsm", "cifar10, lenet, pgd", "MNIST, mlp, pgd"]
    ]
    only = tables.paper_table(both[both["model"] == "lenet"], "Table 1", dataset="cifar10")
    assert only[""].tolist() == ["fgsm", "pgd"]
    named = verdicts({"dataset": "MNIST", "cell_dataset": "mnist"}, {"dataset": "CIFAR", "cell_dataset": "cifar10"})
    assert list(tables.paper_table(named, "Table 1", dataset="mnist")) == ["", "MNIST"], "in the paper's words"


def not_run(study: str) -> tuple[pd.DataFrame, Study]:
    """Return the claims of a shipped study as if nothing had been run, and the study."""
    files = study_files(study, ROOT)
    definition = load_study(files)
    claims = load_claims(read(files.claims), study, known(definition))
    return claims.assign(reading="headline", ours=math.nan, h=math.nan, verdict="not run"), definition


CURVES = ["DF", "B&B", "DAA-1", "DAA-50", "PGD-1", "PGD-10", "PGD-100", "FAB-1", "FAB-10", "FAB-100"]
CURVES += ["PDPGD-1", "PDPGD-10"]


@pytest.mark.parametrize(
    ("study", "table", "sizes", "header", "first"),
    [
        ("margin", "table3-2", {"": (5, 3)}, ["Error, %", "Adv. error, %", "rho x 100"], "no augmentation"),
        (
            "pdpgd",
            "table5-1",
            {"l∞": (3, 4), "l2": (3, 4), "l1": (3, 3), "l0": (3, 2)},
            ["DF", "B&B", "FAB-100", "PDPGD-100"],
            "plain",
        ),
        ("pdpgd", "table5-3", {"l∞": (5, 12), "l2": (5, 12), "l1": (5, 12)}, CURVES, "0.2"),
        (
            "pdpgd",
            "table5-8",
            {"l∞": (5, 13), "l2": (5, 13), "l1": (4, 11), "l0": (5, 6)},
            [*CURVES, "PDPGD-100"],
            "2/255",
        ),
    ],
)
def test_tables_of_shipped_studies_have_the_shape_of_the_papers(
    study: str, table: str, sizes: dict[str, tuple[int, int]], header: list[str], first: str
) -> None:
    judged, definition = not_run(study)
    only = {table: definition.tables[table]}
    blocks = tables.laid_out(tables.paper(judged, cells(), only, labels=definition.labels, readings={}), table)
    assert {name: (len(block), len(block.columns) - 1) for name, block in blocks.items()} == sizes
    whole = next(iter(blocks.values()))
    assert list(whole) == ["", *header]
    assert whole.iloc[0, 0] == first


@pytest.mark.parametrize("study", studies(ROOT))
def test_no_cell_of_a_shipped_study_holds_two_numbers(study: str) -> None:
    """Except for what is one claim: an interval."""
    judged, definition = not_run(study)
    shown = tables.paper(judged, cells(), definition.tables, labels=definition.labels, readings={})
    printed = {name for name, table in definition.tables.items() if table.source_table}
    assert set(shown["table"]) == printed
    entries = shown["entry"][shown["entry"] != ""]
    assert entries.str.fullmatch(r"[-\d.]+( to [-\d.]+)?[†‡]? / – ·").all(), entries.tolist()
    listed = judged["source_table"].isin([one.source_table for one in definition.tables.values()])
    assert len(entries) == listed.sum()


def test_the_tables_of_a_paper_are_one_table_and_come_back_as_they_were() -> None:
    found = verdicts({}, PGD | {"defense": "adv"}, {"source_table": "Table 2"})
    shown = {
        "table1": TableDef(source_table="Table 1", title="one"),
        "table2": TableDef(source_table="Table 2", title="two"),
        "table3": TableDef(source_table="Table 3", title="not printed"),
    }
    given: dict[str, Any] = {"labels": {"std": "Std."}, "readings": {}}
    paper = tables.paper(found, cells(), shown, **given)
    assert list(paper) == ["table", "block", "row", "column", "entry"]
    for name, table in shown.items():
        whole = tables.paper_table(found, table.source_table, labels={"std": "Std."})
        if whole.empty:
            assert tables.laid_out(paper, name) == {}
            continue
        back = tables.laid_out(paper, name)[""]
        assert (list(back), back.to_numpy().tolist()) == (list(whole), whole.to_numpy().tolist())
    assert tables.paper(found, cells(), {}, **given).empty


BY_RADIUS = ShapeDef(rows="epsilon", columns="attack", blocks="norm")


def grid(table: pd.DataFrame) -> list[list[str]]:
    return [list(table), *table.to_numpy().tolist()]


def test_a_table_has_the_shape_of_the_papers() -> None:
    cell = {"cell_dataset": "mnist", "cell_model": "lenet", "cell_defense": "std", "cell_metric": "accuracy"}
    pgd1, pgd10 = ({**cell, "attack": "pgd", "cell_attack": slug} for slug in ("pgd1-linf", "pgd10-linf"))
    clean = {**cell, "attack": "clean", "cell_attack": "", "norm": "none", "epsilon": "", "epsilon_unit": ""}
    found = verdicts(
        clean,
        {**cell, "attack": "cw", "cell_attack": "cw-l2", "norm": "l2", "epsilon": "1"},
        {**pgd10, "epsilon": "10", "epsilon_unit": "255", "value": "0.1"},
        {**pgd1, "epsilon": "10", "epsilon_unit": "255", "value": "0.2"},
        {**pgd10, "epsilon": "2", "epsilon_unit": "255", "value": "0.3"},
    )
    table = TableDef(source_table="Table 1", title="one", shape=BY_RADIUS)
    labels = {"linf": "l∞", "l2": "l2", "pgd1-linf": "PGD-1", "pgd10-linf": "PGD-10"}
    paper = tables.paper(found, cells(), {"table1": table}, labels=labels, readings={})
    shown = tables.laid_out(paper, "table1")
    assert list(shown) == ["l∞", "l2", "none"], "in the order of the labels, and none left out"
    assert grid(shown["l∞"]) == [
        ["", "PGD-1", "PGD-10"],
        ["2/255", "", "0.3 / **1.0** ±0.0 ✓"],
        ["10/255", "0.2 / **1.0** ±0.0 ✓", "0.1 / **1.0** ±0.0 ✓"],
    ]
    assert grid(shown["l2"])[0] == ["", "cw-l2"]
    assert grid(shown["none"]) == [["", "clean"], ["", "0.9861 / **0.9840** ±0.0021 ✓"]]


def test_a_lost_table_is_made_of_our_numbers_alone() -> None:
    at = {**PUBLISHED, "defense": "adv"}
    seeds = [
        {**at, "attack": "pgd", "epsilon": 0.3, "value": value, "seed": seed} for seed, value in enumerate((0.2, 0.4))
    ]
    measured = cells(
        {**CLEAN, "defense": "adv"},
        {},
        *seeds,
        {**at, "attack": "pgd", "epsilon": 0.1, "value": 0.7},
        {**at, "attack": "fab", "epsilon": 0.1, "value": math.nan, "n": 0, "status": "failed"},
        {**at, "attack": "pgd-coded", "epsilon": 0.1, "value": 0.6},
        {**at, "attack": "pgd", "epsilon": 0.1, "value": 0.5, "dataset": "cifar10"},
        {**at, "attack": "pgd", "epsilon": 0.1, "value": 0.9, "defense": "std"},
        {**at, **MINIMAL},
        {**at, **MINIMAL, "metric": "mean_norm"},
        {**at, **MINIMAL, "epsilon": 2.0, "value": 0.3},
    )
    lost = LostDef(number="5.2", metric="accuracy", defense="adv")
    table = TableDef(lost=lost, title="one", dataset="mnist", shape=BY_RADIUS)
    readings = {"headline": Reading(), "coded": Reading(mark="as coded", attack={"pgd": "pgd-coded"})}
    paper = tables.paper(verdicts(), measured, {"table": table}, labels={"fab": "FAB"}, readings=readings)
    shown = {name: grid(one) for name, one in tables.laid_out(paper, "table").items()}
    assert table.label == "Table 5.2"
    assert list(shown) == ["linf", "l2"]
    assert shown["linf"][0] == ["", "FAB", "pgd"]
    assert [row[:2] for row in shown["linf"][1:]] == [["0.1", "–"], ["0.3", ""]]
    assert [row[2].partition(" ±")[0] for row in shown["linf"][1:]] == ["70.0", "30.0"]
    assert [row[0] for row in shown["l2"]] == ["", "2"]
    whole = table.model_copy(update={"lost": lost.model_copy(update={"defense": None}), "dataset": None})
    paper = tables.paper(verdicts(), measured, {"table": whole}, labels={}, readings=readings)
    entry = paper[(paper["block"] == "linf") & (paper["row"] == "0.1") & (paper["column"] == "pgd")]["entry"].item()
    assert len(entry.split("; ")) == 3, "numbers of other nets are not averaged"


def test_two_claims_in_one_place_are_both_shown() -> None:
    found = tables.paper_table(verdicts({"value": "17 to 19", "ours": 12.3, "h": 1.2}, {"value": "0.5"}), "Table 1")
    assert found.iloc[0, 1] == "17 to 19 / **12** ±1 ✓; 0.5 / **1.0** ±0.0 ✓"


def test_cells_of_a_table_cannot_break_markdown() -> None:
    table = tables.paper_table(verdicts({"attack": "a|b"}, {}), "Table 1")
    lines = table.to_markdown(index=False).splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_the_legend_explains_every_mark() -> None:
    text = tables.legend()
    assert all(f"{meaning.mark} {word}" in text for word, meaning in VERDICTS.items())
    assert "† label uncertain" in text


@pytest.mark.parametrize(
    ("value", "digits"), [("0.9861", 4), ("17", 0), ("17 to 19", 0), ("0.5 to 1.25", 1), ("1.", 0)]
)
def test_our_number_has_the_decimals_of_the_papers(value: str, digits: int) -> None:
    assert tables.decimals(value) == digits


def test_an_unknown_verdict_is_neither_shown_nor_counted() -> None:
    wrong = verdicts({}, {"verdict": "reproducd"})
    for show in (tables.counts, tables.summary, lambda found: tables.paper_table(found, "Table 1")):
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


PUBLISHED = {"protocol": "published", "metric": "accuracy"}
MINIMAL = {"attack": "cw-l2", "norm": "l2", "epsilon": math.nan, "protocol": "published"}


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


@pytest.mark.parametrize("name", ["paper_table", "worst_cases", "attacks", "summary", "failures"])
def test_every_cell_is_text(name: str) -> None:
    failed = cells({"status": "failed", "reason": "x"})
    given = {"worst_cases": (cells({}, CLEAN),), "attacks": (cells(CLEAN),), "failures": (failed, RESULTS, RECORDS)}
    arguments = {"paper_table": (verdicts({}), "Table 1"), "summary": (verdicts({}),)} | given
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
