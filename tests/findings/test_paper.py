"""The paper's tables in their own shape."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from toy_tables import CLEAN, CODED, MINIMAL, PUBLISHED, cells, verdicts

from touchstone.findings import latex, tables
from touchstone.findings import paper as papers
from touchstone.findings.inputs import read_table, write_tables
from touchstone.paths import Results, study_files
from touchstone.plan.jobs import ClaimsJob, Code, Heading
from touchstone.study.checks import load_study
from touchstone.study.claims import known, read
from touchstone.study.claims import load as load_claims
from touchstone.study.schema import LostDef, Reading, ShapeDef, Study, TableDef

ROOT = Path(__file__).resolve().parents[2]
PAPERS = sorted(path.parent.name for path in ROOT.glob("studies/*/study.yaml"))  # not those of the user's own


def shown(found: pd.DataFrame, source: str, *, dataset: str | None = None, labels: Any = None) -> pd.DataFrame:
    """The only block of a table in the usual shape, as Markdown."""
    table = {"t": TableDef(source_table=source, title="one", dataset=dataset)}
    blocks = papers.laid_out(papers.paper(found, cells(), table, labels=labels or {}, readings={}), "t")
    return blocks.get("", pd.DataFrame())


def test_a_table_of_the_paper_shows_both_numbers_and_a_mark() -> None:
    table = shown(
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
    table = shown(verdicts({}, {"defense": "adv"}, {"dataset": "cifar10"}), "Table 1")
    assert list(table) == ["", "mnist", "cifar10"]
    assert table[""].tolist() == ["std", "adv"]
    assert table.loc[1, "cifar10"] == ""


def test_a_table_is_of_the_headline_alone() -> None:
    assert shown(verdicts({}, CODED), "Table 1").equals(shown(verdicts({}), "Table 1"))
    assert shown(verdicts({}), "Table 9").empty


PGD = {"attack": "pgd"}


def test_rows_are_told_apart_by_radius_steps_and_whatever_else_differs() -> None:
    table = shown(
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
    table = shown(both, "Table 1", labels={"mnist": "MNIST"})
    assert table[""].tolist() == [
        *["MNIST, lenet, fgsm", "MNIST, lenet, pgd", "cifar10, lenet, fgsm", "cifar10, lenet, pgd", "MNIST, mlp, pgd"]
    ]
    only = shown(both[both["model"] == "lenet"], "Table 1", dataset="cifar10")
    assert only[""].tolist() == ["fgsm", "pgd"]
    named = verdicts({"dataset": "MNIST", "cell_dataset": "mnist"}, {"dataset": "CIFAR", "cell_dataset": "cifar10"})
    assert list(shown(named, "Table 1", dataset="mnist")) == ["", "MNIST"], "in the paper's words"


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
    blocks = papers.laid_out(papers.paper(judged, cells(), only, labels=definition.labels, readings={}), table)
    assert {name: (len(block), len(block.columns) - 1) for name, block in blocks.items()} == sizes
    whole = next(iter(blocks.values()))
    assert list(whole) == ["", *header]
    assert whole.iloc[0, 0] == first


@pytest.mark.parametrize("study", PAPERS)
def test_no_cell_of_a_shipped_study_holds_two_numbers(study: str) -> None:
    """Except for what is one claim: an interval."""
    judged, definition = not_run(study)
    shown = papers.paper(judged, cells(), definition.tables, labels=definition.labels, readings={})
    printed = {name for name, table in definition.tables.items() if table.source_table}
    assert set(shown["table"]) == printed
    entries = shown[shown["published"] != ""]
    assert entries["published"].str.fullmatch(r"[-\d.]+( to [-\d.]+)?[†‡]?").all(), entries["published"].tolist()
    assert set(entries[["ours", "spread", "mark"]].itertuples(index=False, name=None)) == {("–", "", "·")}
    assert not entries.duplicated(["table", "block", "row", "column"]).any()
    assert entries["claim"].is_unique
    listed = judged["source_table"].isin([one.source_table for one in definition.tables.values()])
    assert len(entries) == listed.sum()


def test_the_tables_of_a_paper_are_one_table_with_a_number_per_row(tmp_path: Path) -> None:
    found = verdicts({}, PGD | {"defense": "adv"}, {"source_table": "Table 2"})
    tables = {
        "table1": TableDef(source_table="Table 1", title="one"),
        "table2": TableDef(source_table="Table 2", title="two"),
        "table3": TableDef(source_table="Table 3", title="not printed"),
    }
    given: dict[str, Any] = {"labels": {"std": "Std."}, "readings": {}}
    paper = papers.paper(found, cells(), tables, **given)
    number = ["0.9861", "0.9840", "±0.0021", "✓"]
    assert paper.to_numpy().tolist() == [
        ["table1", "", "fgsm", "Std.", *number, "0"],
        ["table1", "", "fgsm", "adv", *[""] * 5],
        ["table1", "", "pgd", "Std.", *[""] * 5],
        ["table1", "", "pgd", "adv", *number, "1"],
        ["table2", "", "Std.", "mnist", *number, "2"],
    ]
    assert papers.laid_out(paper, "table3") == {}
    write_tables({tmp_path / "paper.csv": paper})
    again = papers.laid_out(read_table(tmp_path / "paper.csv"), "table1")[""]
    assert again.equals(papers.laid_out(paper, "table1")[""])
    assert papers.paper(found, cells(), {}, **given).empty


def test_a_number_is_linked_to_its_claim() -> None:
    table = {"t": TableDef(source_table="Table 1", title="one")}
    paper = papers.paper(verdicts({"id": "t1-a"}), cells(), table, labels={}, readings={})
    linked = papers.MARKDOWN._replace(linked=lambda text, claim: f"[{text}](#{claim})")
    assert papers.laid_out(paper, "t", linked)[""].iloc[0, 1] == "[0.9861 / **0.9840** ±0.0021 ✓](#t1-a)"


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """A table with signs that each form takes for its own, in a dozen columns."""
    monkeypatch.chdir(tmp_path)
    results = Results.of("demo")
    defenses = [f"d_{place} & 5 % ρ" for place in range(12)]
    found = verdicts(*({"defense": name} for name in defenses), PGD | {"defense": defenses[-1], "verdict": "not run"})
    table = TableDef(source_table="Table 1", title="MNIST: l∞ (Table 1)")
    paper = papers.paper(found, cells(), {"table1": table}, labels={"fgsm": "FGSM_#1"}, readings={})
    write_tables({results.table("toy", "paper"): paper})
    heading = Heading(f"{table.label}. {table.heading}", {"mnist": "digits"})
    papers.write(ClaimsJob(Code((), ""), "demo", {"toy": {"table1": heading}}))
    return results


def test_a_table_is_written_as_csv_and_markdown(written: Results) -> None:
    out = written.paper("toy", "table1")
    read_back = pd.read_csv(out.csv, dtype=str, keep_default_na=False)
    assert (len(read_back), len(read_back.columns)) == (2, 13)
    assert read_back.iloc[0, 0] == "FGSM_#1"
    assert read_back.iloc[1, 12] == "0.9861 / 0.9840 ±0.0021 ·"
    text = out.md.read_text()
    assert text.startswith("**Table 1. MNIST: l∞ (digits for mnist)**\n\n|")
    assert "0.9861 / **0.9840** ±0.0021 ✓" in text
    assert "✓ reproduced" in text


def test_a_wide_table_is_split_in_latex_and_loses_nothing(written: Results) -> None:
    """pandoc reads it back: each part has the row labels, and all columns are in one of them."""
    import pypandoc

    tex = written.paper("toy", "table1").tex.read_text()
    assert tex.isascii()
    back = json.loads(pypandoc.convert_text(tex, "json", format="latex"))
    tables = [block["c"] for block in back["blocks"] if block["t"] == "Table"]
    header = [[said(cell) for cell in head[1][0][1]] for *_, head, _, _ in tables]
    first = [[said(row[1][0]) for row in body[0][3]] for *_, body, _ in tables]
    assert len(tables) == 4
    assert [name for names in header for name in names[1:]] == [rf"d_{place} & 5 % \rho" for place in range(12)]
    assert first == [["FGSM_#1", "pgd"]] * 4
    assert tex.count(r"0.9861 / \textbf{0.9840} $\pm$0.0021 $\checkmark$") == 12
    assert r"\caption{Table 1. MNIST: l$\infty$ (digits for mnist) (4/4)}" in tex
    assert [tex.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [4, 4, 4]


def said(node: Any) -> str:
    """The text of a part of pandoc's document."""
    if isinstance(node, list):
        return "".join(map(said, node))
    kind, content = (node.get("t"), node.get("c")) if isinstance(node, dict) else ("", None)
    text = {"Str": content, "Space": " ", "SoftBreak": " "}.get(kind or "")
    return text if text is not None else content[1] if kind == "Math" else said(content) if content else ""


@pytest.mark.parametrize("study", PAPERS)
def test_latex_knows_every_sign_of_the_shipped_tables(study: str) -> None:
    definition = load_study(study_files(study, ROOT))
    texts = [*definition.labels.values(), *(table.title for table in definition.tables.values()), tables.legend()]
    assert latex.escape(" ".join(texts)).isascii()


def test_blocks_are_named_in_a_first_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cell = {"cell_model": "", "cell_defense": "", "cell_attack": ""}
    found = verdicts(cell, {**cell, "attack": "cw", "norm": "l2"})
    table = TableDef(source_table="Table 1", title="one", shape=BY_RADIUS)
    results = Results.of("demo")
    paper = papers.paper(found, cells(), {"t": table}, labels={}, readings={})
    write_tables({results.table("toy", "paper"): paper})
    papers.write(ClaimsJob(Code((), ""), "demo", {"toy": {"t": Heading("Table 1. one", {})}}))
    lines = results.paper("toy", "t").csv.read_text().splitlines()
    assert lines[0] == "block,,fgsm,cw"
    assert [line.split(",")[0] for line in lines[1:]] == ["linf", "l2"]
    assert "(l2)}" in results.paper("toy", "t").tex.read_text()


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
    paper = papers.paper(found, cells(), {"table1": table}, labels=labels, readings={})
    shown = papers.laid_out(paper, "table1")
    assert list(shown) == ["l∞", "l2", "none"], "in the order of the labels, and none left out"
    assert grid(shown["l∞"]) == [
        ["", "PGD-1", "PGD-10"],
        ["2/255", "", "0.3 / **1.0** −0.0 ✓"],
        ["10/255", "0.2 / **1.0** −0.0 ✓", "0.1 / **1.0** −0.0 ✓"],
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
    paper = papers.paper(verdicts(), measured, {"table": table}, labels={"fab": "FAB"}, readings=readings)
    shown = {name: grid(one) for name, one in papers.laid_out(paper, "table").items()}
    assert table.label == "Table 5.2"
    assert list(shown) == ["linf", "l2"]
    assert shown["linf"][0] == ["", "FAB", "pgd"]
    assert [row[:2] for row in shown["linf"][1:]] == [["0.1", "–"], ["0.3", ""]]
    assert [row[2].partition(" ±")[0] for row in shown["linf"][1:]] == ["70.0", "30.0"]
    assert [row[0] for row in shown["l2"]] == ["", "2"]
    whole = table.model_copy(update={"lost": lost.model_copy(update={"defense": None}), "dataset": None})
    paper = papers.paper(verdicts(), measured, {"table": whole}, labels={}, readings=readings)
    entry = papers.laid_out(paper, "table")["linf"].set_index("").loc["0.1", "pgd"]
    assert len(entry.split("; ")) == 3, "numbers of other nets are not averaged"


def test_two_claims_in_one_place_are_both_shown() -> None:
    found = shown(verdicts({"value": "17 to 19", "ours": 12.3, "h": 1.2}, {"value": "0.5"}), "Table 1")
    assert found.iloc[0, 1] == "17 to 19 / **12** ±1 ✓; 0.5 / **1.0** −0.0 ✓"


def test_cells_of_a_table_cannot_break_markdown() -> None:
    table = shown(verdicts({"attack": "a|b"}, {}), "Table 1")
    lines = table.to_markdown(index=False).splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
