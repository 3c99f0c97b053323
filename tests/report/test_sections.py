"""What the reports show, from a made-up results folder, and the reports as a whole."""

import ast
import inspect
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import nbformat
import pandas as pd
import pytest
from synthetic_results import ROOT, make_results

from touchstone.findings.inputs import read_table, write_tables
from touchstone.findings.vocabulary import NOT_RUN
from touchstone.paths import Results, study_files, templates
from touchstone.report import render as notebooks
from touchstone.report import sections as report
from touchstone.report import summary, words
from touchstone.report.material import Material, gather
from touchstone.report.render import anchor, placed
from touchstone.study.config import read
from touchstone.study.schema import RESULT_TABLES, LostDef, ShapeDef, TableDef

pytestmark = pytest.mark.xdist_group("test_sections")  # the folder of results is made once


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return make_results(tmp_path_factory.mktemp("synthetic"))


@pytest.fixture(scope="module")
def material(results: Results) -> Material:
    return gather(results.root, "minmax", ROOT)


LACKING = {"title": "Another study", "left": "2 of its 9 jobs", "logs": "`train.log`"}


def rows_of(table: str) -> list[list[str]]:
    """Cells of a Markdown table, without its header."""
    lines = table.strip().splitlines()
    assert lines[1].replace(":", "").replace("-", "").replace("|", "").strip() == "", table
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def claim_of(cell: str) -> str:
    """The id of a claim in the table of claims."""
    return re.sub(r"<details>.*|<[^>]+>", "", cell).strip().rstrip("†‡")


def table_rows(text: str, caption: str) -> list[list[str]]:
    """Cells of the Markdown table under a caption, without its header."""
    block = re.search(rf"^\*\*[^\n]*{re.escape(caption)}[^\n]*\n\n((?:\|[^\n]*\n?)+)", text, flags=re.MULTILINE)
    assert block, caption
    return rows_of(block[1])


def changed(material: Material, **tables: pd.DataFrame) -> Material:
    return replace(material, tables={**material.tables, **tables})


# ---- figures and captions


def test_missing_figure_names_the_rule(material: Material, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"minmax/figures/figure2.svg is missing.*\(rule figures\)"):
        report.figures(replace(material, results=Results(tmp_path)))


def test_figure_without_caption_is_an_error(material: Material) -> None:
    captions = {k: v for k, v in material.captions.items() if k != "figure4"}
    with pytest.raises(
        ValueError, match=r"minmax/captions.yaml has no caption for figure 'figure4'; allowed: claim, fig"
    ):
        report.figures(replace(material, captions=captions))


TEMPLATES = templates(ROOT)
STUDIES = sorted(path.parent.name for path in ROOT.glob("studies/*/study.yaml"))


@pytest.mark.parametrize("study", STUDIES)
def test_every_figure_of_every_study_has_a_caption(study: str) -> None:
    figures = read(study_files(study, ROOT).definition)[0].get("figures", {})
    captions = read(study_files(study, ROOT).captions)[0]
    assert set(captions) == {"claim", *figures}
    assert all("\n" not in text.strip() and "{" not in text.replace("\\rVert_2^{", "") for text in captions.values())


@pytest.mark.parametrize(
    ("notebook", "what"),
    [
        ("study", "{{ stand }}"),
        ("study", "{{ table_worst }}"),
        ("study", "## Every claim"),
        ("study", "{{ table_qualitative }}"),
        ("summary", "{{ stand }}"),
        ("summary", "{{ table_verdicts }}"),
    ],
)
def test_whatever_shows_a_worst_case_names_its_suite(material: Material, root: Path, notebook: str, what: str) -> None:
    assert report.values(material)["suite"] == "quick"
    cells = json.loads((root / "reports" / f"{notebook}.ipynb").read_text())["cells"]
    texts = [text for cell in cells if what in (text := "".join(cell["source"]))]
    assert texts
    assert all("the suite `{{ suite }}`" in text for text in texts)


# ---- values for the text


def test_values_say_what_is_re_run(material: Material) -> None:
    values = report.values(material)
    assert values["title"] == "Min-Max property of LeNet's convolutions"
    assert (values["numbers"], values["run"]) == ("67 numbers", "demo")
    coded, pixel = values["readings"]
    assert (coded["name"], coded["changed"], coded["mark"], pixel["name"]) == ("coded", "21", "only as coded", "pixel")
    assert coded["counts"].startswith("15 not comparable, 1 only as coded")
    assert (values["tolerance"], values["reference"]) == ("0.01 (mnist), 0.05 (cifar10)", "std")
    assert values["amended"].startswith("- The rule on bounded weights was added when")
    assert values["marks"].startswith("✓ reproduced, ")
    assert values["printed"] == "67 published numbers"
    counted = "1 reproduced, 1 higher, 1 lower, 61 not comparable, 1 not run, 1 failed, 1 only as coded"
    assert values["verdicts"] == counted


def test_a_run_says_how_it_is_smaller_than_the_paper(material: Material) -> None:
    config, used = material.config, {"mnist": "digits"}
    assert report.run_values(config, used)["stand_ins"] == "digits for mnist"
    said = {"run": "demo", "suite": "quick", "stand_ins": "", "caps": "2", "part": "part"}
    assert report.run_values(config, {}) == said
    whole = config.model_copy(update={"caps": []})
    assert report.run_values(whole, {}) == said | {"caps": ""}
    assert report.run_values(config.model_copy(update={"run": "paper"}), {})["caps"] == ""


@pytest.mark.parametrize("template", ["study", "summary"])
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"stand_ins": "x", "caps": "2", "part": "part"}, "stand-in data ({{ stand_ins }}) and caps"),
        ({"stand_ins": "x", "caps": "", "part": "part"}, "stand-in data ({{ stand_ins }}).**"),
        ({"stand_ins": "", "caps": "2", "part": "part"}, "caps on the published sizes"),
        ({"stand_ins": "", "caps": "", "part": "part"}, "a part of what was published"),
        ({"stand_ins": "", "caps": "", "part": ""}, ""),
    ],
)
def test_one_sentence_says_how_a_run_is_smaller(template: str, values: dict[str, str], words: str) -> None:
    cells = nbformat.read(ROOT / "reports" / f"{template}.ipynb", as_version=4).cells
    shown = [
        cell.source
        for cell in cells
        if cell.source.startswith("> **Run ")
        and all(values[name] for name in cell.metadata.get("if", []))
        and not any(values[name] for name in cell.metadata.get("unless", []))
    ]
    assert len(shown) == bool(words)
    assert all(words in text for text in shown)


# ---- page one


def test_headline_counts_each_claim_once(material: Material) -> None:
    counts = {row[1]: row[2:6] for row in rows_of(report.verdicts(material))}
    assert counts["not comparable"] == ["56", "0", "5", "61"]
    assert sum(int(row[3]) for row in counts.values()) == 67
    assert counts.keys() >= {"reproduced", "only as coded"}


def test_an_unknown_verdict_is_not_counted(material: Material) -> None:
    claims = material.tables["claims"].replace({"verdict": {"lower": "lwoer"}})
    for show in (report.values, report.verdicts):
        with pytest.raises(ValueError, match="unknown verdict 'lwoer'"):
            show(changed(material, claims=claims))


# ---- sections


def test_run_and_machine(material: Material) -> None:
    facts = dict(rows_of(report.machine(material)))
    assert facts["data"] == "digits-rgb for cifar10; digits for mnist"
    assert facts["caps"] == "epochs 10, samples 300; steps 200 (attack cw-l2)"
    assert facts["machine"] == "Some CPU @ 2.40GHz, 2 cores, 7.8 GB, Linux x86\\_64"
    assert facts["time"].endswith("the jobs took 7 min 4 s in all")
    assert "only" not in facts
    ran = material.provenance | {"broken_off": 2}
    again = dict(rows_of(report.machine(replace(material, provenance=ran))))
    assert again["time"].endswith("in all, not counting 2 attempts broken off before")


def test_several_machines_are_told_with_their_jobs(material: Material) -> None:
    nodes = [{"cpu": "Fast", "cores": 8, "jobs": ["train/a", "attack/a"]}, {"cpu": "Slow", "cores": 1, "jobs": ["b"]}]
    ran = material.provenance | {"machines": [*nodes, {"jobs": ["before this was written down"]}]}
    facts = dict(rows_of(report.machine(replace(material, provenance=ran))))
    assert facts["machine"] == "Fast, 8 cores (2 jobs); Slow, 1 core (1 job)"


def test_models_are_a_row_over_their_seeds(material: Material) -> None:
    models = rows_of(report.trained(material))
    assert len(models) == 12
    assert ["digits for mnist", "lenet", "std", "0, 1", "10", "12", "ok"] in models
    failed = "seed 0: loss or weights not finite in epoch 3; seed 1: loss or weights not finite in epoch 3"
    assert ["digits for mnist", "lenet", "std+l1", "0, 1", "10", "12", failed] in models


def test_worst_case_comes_with_n_and_incomplete(material: Material) -> None:
    text = report.worst_case(material)
    assert "*incomplete*" in text
    assert ["digits for mnist", "lenet", "linf", "0.3", "quick", "300"] in [row[:6] for row in rows_of(text)]
    shown = report.figures(material, "worst-case", "heat-map")
    assert shown.index("](figures/worst-case.svg)") < shown.index("](figures/heat-map.svg)")
    without = changed(material, worst=material.tables["worst"][:0])
    assert (report.worst_case(without), report.own_tables(without)["worst"]) == ("", "")


def test_paper_tables_say_which_data_they_are_from(material: Material) -> None:
    text = report.paper_tables(material)
    assert "**Table 1.** MNIST: accuracy under attack. Here: digits in place of mnist." in text
    assert len(table_rows(text, "MNIST: accuracy")) == 7
    assert "| [0.9861 / **0.9565** ±0.0100 ✓](#claim-t1-std-clean) |" in text


def with_lost(material: Material) -> Material:
    """The study with a table of our own accuracies, on which a made-up run has one attack."""
    shape = ShapeDef(rows="defense", columns="attack", blocks="norm")
    lost = LostDef(number="7", metric="accuracy")
    given = {"table7": TableDef(lost=lost, dataset="mnist", title="MNIST: lost (Table 7)", shape=shape)}
    study = material.study.model_copy(update={"tables": {**material.study.tables, **given}})
    entry = dict(zip(material.tables["paper"], ["table7", "l∞", "std", "PGD", "", "97.0", "±1.0", "", ""], strict=True))
    paper = pd.concat([material.tables["paper"], pd.DataFrame([entry])], ignore_index=True)
    return replace(changed(material, paper=paper), study=study)


def test_lost_tables_stand_apart_from_the_printed_ones(material: Material) -> None:
    both = with_lost(material)
    assert report.lost_tables(material) == []
    assert report.paper_tables(both) == report.paper_tables(material)
    (shown,) = report.values(both)["lost_tables"]
    assert shown["label"] == "Table 7, l∞"
    assert shown["caption"] == "MNIST: lost. Here: digits in place of mnist."
    assert rows_of(shown["table"]) == [["std", "97.0 ±1.0"]]
    (cell,) = [cell for cell in book("study").cells if cell.metadata.get("each") == "lost_tables"]
    assert "The paper's numbers are lost" in cell.source
    assert "ours alone" in cell.source


def test_every_claim_is_there_with_its_reason(material: Material) -> None:
    headline_table, coded, pixel = report.claims_tables(material)
    text, shown = headline_table["table"], rows_of(headline_table["table"])
    claims = material.tables["claims"]
    headline = claims[claims["reading"] == "headline"]
    left_out = headline[headline["verdict"].isin(NOT_RUN)]
    assert [claim_of(row[0]) for row in shown] == [one for one in headline["id"] if one not in {*left_out["id"]}]
    header = next(line for line in text.splitlines() if line.startswith("| claim"))
    names = [name.strip() for name in header.strip("|").split("|")]
    assert names[-4:] == ["verdict", "stands", "attack gap", "replication gap"]
    first = dict(zip(names, shown[0], strict=True))
    assert first["paper"] == "0.9861"
    assert first["ours"] == "0.9565"
    assert first["interval"] == "0.9368 to 0.9762"
    notes = dict(re.findall(r"^- \((\w+)\) (.*)$", headline_table["notes"], flags=re.MULTILINE))
    assert notes[re.search(r"\((\w)\)", shown[1][3])[1]] == "interval: pooled"
    assert shown[2][7:] == ["overstated by 41.0 points", "40.0", "1.0"]
    assert shown[3][7:] == ["attack gap 1.2, claim not reproduced", "1.2", "-6.3"]
    untested = notes[re.search(r"\((\w)\)", next(row[7] for row in shown if row[7].startswith("not tested")))[1]]
    assert untested == "epochs 3 of 10"
    assert shown[4][6].startswith("failed (")
    assert notes[re.search(r"\((\w)\)", shown[4][6])[1]] == "loss not finite in epoch 3"
    word, letters = re.fullmatch(r"(.*) \((.*)\)", shown[-1][6]).groups()
    reasons = ["digits stands in for mnist", "epochs 3 of 10", "samples 300 of 10000"]
    assert (word, [notes[letter] for letter in letters.split(", ")]) == ("not comparable", reasons)
    assert len(set(notes.values())) == len(notes), "each reason once"
    assert [(one["other"], len(rows_of(one["table"]))) for one in (coded, pixel)] == [("coded", 20), ("pixel", 47)]


def test_a_claim_shows_its_cell_its_records_and_how_they_are_made_again(material: Material) -> None:
    headline, coded, _ = (rows_of(one["table"]) for one in report.claims_tables(material))
    first, second = (row[0] for row in headline[:2])
    assert first == '<span id="claim-t1-std-clean">t1-std-clean</span>', "nothing is known of where it is from"
    place, details = second.split(" <details>")
    assert place == '<span id="claim-t1-std+l1-clean">t1-std+l1-clean</span>'
    files = [f"results/demo/minmax/attacks/mnist/lenet/std/{seed}/all/records.parquet" for seed in (0, 1)]
    lines = [
        "mnist, lenet, std+l1, clean, accuracy",
        ", ".join(f"[{n}]({file.removeprefix('results/demo/minmax/')})" for n, file in enumerate(files, 1)),
        f"`snakemake --cores all --configfile results/demo/config.yaml --force {' '.join(files)}`",
    ]
    shown = f"{lines[0]}<br>records: {lines[1]}<br>{lines[2]}"
    assert details == f"<summary>from</summary>{shown}</details>"
    assert "<span" not in coded[1][0], "a claim has one place"


def test_every_number_of_the_papers_tables_leads_to_its_claim(material: Material) -> None:
    headline, *_ = report.claims_tables(material)
    targets = re.findall(r"\]\(#([^)]*)\)", report.paper_tables(material) + report.gaps(material))
    assert set(targets) <= {*re.findall(r'id="([^"]*)"', headline["table"] + report.absent(material))}
    claims = material.tables["claims"]
    listed = claims["source_table"].isin(one.source_table for one in material.study.tables.values())
    assert len(targets) == (listed & (claims["reading"] == "headline")).sum() + len(rows_of(report.gaps(material)))


def test_numbers_that_were_not_run_are_counted_and_not_listed(material: Material) -> None:
    claims = material.tables["claims"]
    headline = claims[claims["reading"] == "headline"].assign(source_table="Table 1", why="")
    headline.loc[headline.index[0], "verdict"] = "reproduced"
    headline.loc[headline.index[1:3], ["verdict", "why"]] = ("out of scope", "no | norm")
    headline.loc[headline.index[3:], "verdict"] = "not run"
    some = changed(material, claims=headline)
    (listed,) = report.claims_tables(some)
    assert [claim_of(row[0]) for row in rows_of(listed["table"])] == [headline["id"].iloc[0]]
    scoped, unrun = rows_of(report.absent(some))
    assert (scoped[0], scoped[2:]) == ("Table 1", ["out of scope", r"no \| norm"])
    first, second = headline["id"].iloc[1:3]
    count, which = scoped[1].split(" <details>")
    assert count == f"2{placed('', anchor(first))}{placed('', anchor(second))}"
    assert f"{first} {headline['value'].iloc[1]}, {second}" in which
    assert unrun[1].startswith(f"{len(headline) - 3}<span")
    labels = report.own_tables(some)
    assert (labels["claims"], labels["absent"]) == tuple(f"Table A{n}" for n in _in_a_row(labels, "claims"))
    nothing = changed(material, claims=headline[3:])
    assert (report.claims_tables(nothing), report.own_tables(nothing)["claims"]) == ([], "")


def _in_a_row(labels: dict[str, str], first: str) -> tuple[int, int]:
    number = int(labels[first].removeprefix("Table A"))
    return number, number + 1


def test_claim_without_a_number_has_empty_cells(material: Material) -> None:
    claims = material.tables["claims"][:1].assign(
        ours="", n="", seeds="", interval_lo="", interval_hi="", value="17 to 19", interval_kind="pooled"
    )
    (only,) = report.claims_tables(changed(material, claims=claims))
    (row,) = rows_of(only["table"])
    assert row[1:6] == ["17 to 19", "", "", "", ""]


def test_pairs_of_attacks_are_counted_on_page_one_and_listed_by_net(material: Material) -> None:
    values = report.values(material)
    assert (values["pairs"], values["pair_verdicts"]) == ("2 pairs of attacks", "1 reproduced, 1 lower")
    labels = report.own_tables(material)
    assert [one["label"] for one in values["pair_tables"]] == [labels[f"pairs {n}"] for n in range(3)]
    assert [one["other"] for one in values["pair_tables"]] == ["", "", "coded"]
    (_, row) = [rows_of(one["table"]) for one in values["pair_tables"]][:2]
    assert row[0][-1] == "↓ lower (a, b)"
    (study,) = summary.values([material])["studies"]
    assert (study["pairs"], study["pair_verdicts"]) == (values["pairs"], values["pair_verdicts"])


def test_statements_are_followed_by_what_they_rest_on(material: Material) -> None:
    table, notes = report.statements(material).split("\n\n")
    assert [row[0] for row in rows_of(table)] == [f"mm{number:02}" for number in range(1, 14)]
    assert rows_of(table)[0][2:4] == ["holds", "undecided 1 of 2"]
    first = r"- mm01: 5 of 6; open: std above minmax-printed under cw-l2, \|w\| \< 0.01; in the worst case "
    assert notes.splitlines()[0].startswith(first)


def test_a_statement_that_is_not_run_has_no_note(material: Material) -> None:
    rows = material.tables["qualitative"].assign(verdict="not run", worst_verdict="not run")
    assert report.statements(changed(material, qualitative=rows)).count("\n\n") == 0


def test_what_the_papers_own_numbers_say_stands_beside_what_a_reader_found(material: Material) -> None:
    assert "| yes; by the same test: holds 6 of 6 |" in report.statements(material)


def test_figures_have_the_numbers_of_the_paper(material: Material) -> None:
    text = report.figures(material)
    assert re.findall(r"\*\*(Figure \w+)\.\*\*", text) == [f"Figure {n}" for n in (*range(2, 7), "A3", "A4")]
    assert "Here: digits-rgb in place of cifar10." in text
    assert "The paper: *Min-Max loss falls more slowly than the standard loss but" in text
    assert "The paper:" not in report.figures(material, "worst-case")
    assert "**Figure A1.**" in report.figures(material, "worst-case")
    shown = [report.figures(material, *plots) for plots in report.SECTIONS]
    assert re.findall(r"\*\*Figure (A\d)\.\*\*", "".join(shown)) == ["A1", "A2", "A3", "A4", "A5"], (
        "as they stand there"
    )


def test_figures_of_nets_that_this_run_lacks_are_only_named(material: Material) -> None:
    one_dataset = replace(material, runs=[run for run in material.runs if run.model.dataset == "mnist"])
    text = report.figures(one_dataset)
    assert re.findall(r"\*\*(Figure \w+)\.\*\*", text) == [f"Figure {n}" for n in (2, 3, 4, "A3", "A4")]
    assert report.lost_figures(one_dataset) == "Figure 5, Figure 6"
    assert report.lost_figures(material) == ""


def test_selection_marks_the_chosen_candidate(material: Material) -> None:
    rows = rows_of(report.selection(material))
    assert len(rows) == 30
    assert rows[2][:4] == ["digits for mnist", "std+l1", "l1=1e-04", "**selected**"]
    assert rows[2][4:] == ["0.9630", "0.3000", "0.3400", "0.056", "0.410"]
    assert rows[4][3] == "failed"
    assert [row[3] for row in rows].count("**selected**") == 6


def test_flags_join_seeds_and_attacks(material: Material) -> None:
    rows = rows_of(report.flags(material))
    assert len(rows) == 4
    assert rows[0][:6] == ["zero-gradients", "digits for mnist", "lenet", "std", "0, 1", "pgd40-linf"]
    zero = "CE gradient is zero on 41.2 % of 300 samples"
    assert rows[0][6] == f"{zero} (0); {zero} (1)"
    many = pd.concat([material.tables["flags"][:1]] * 5)
    many = many.assign(attack=[f"a{i}" for i in range(5)], detail=[f"d {i % 2}" for i in range(5)])
    (row,) = rows_of(report.flags(changed(material, flags=many)))
    assert row[5:] == ["a0, and 4 more", "d 0; d 1"]


def numbered(material: Material) -> list[str]:
    return [label for label in report.own_tables(material).values() if label]


def test_an_unknown_verdict_is_an_error_wherever_it_is_shown(material: Material) -> None:
    claims = material.tables["claims"].assign(verdict="reproducd", only="")
    for show in (report.kinds, report.beyond, report.readings, report.claims_tables, report.verdicts):
        with pytest.raises(ValueError, match="unknown verdict 'reproducd'"):
            show(changed(material, claims=claims))


def test_what_is_empty_has_no_table_and_no_number(material: Material) -> None:
    names = ("worst", "flags", "failures", "selection", "qualitative", "claims", "paired")
    empty = changed(material, **{name: material.tables[name][:0] for name in names})
    shown = (report.worst_case, report.flags, report.failures, report.selection, report.statements)
    assert [show(empty) for show in shown] == [""] * 5
    assert report.claims_tables(empty) == report.readings(empty) == []
    assert {report.own_tables(empty)[name] for name in names} == {""}
    assert numbered(empty) == [f"Table A{n}" for n in (1, 2, 3, 4)], "the run, its models, attacks and sources"
    assert report.verdicts(empty) == ""
    assert report.values(empty)["printed"] == ""
    assert len(numbered(material)) == 22


def test_rerun_gives_commands(material: Material) -> None:
    values = report.values(material)
    assert values["command"] == "snakemake --cores all --configfile results/demo/config.yaml"
    assert values["report"].endswith("results/demo/minmax/report.pdf")
    assert values["weights"].endswith("models/cifar10/lenet/adv/0/model.safetensors")
    assert report.values(replace(material, runs=[]))["weights"] == ""


# ---- the summary


def test_summary_counts_each_study(material: Material) -> None:
    other = replace(material, study=material.study.model_copy(update={"study": "margin", "title": "Margins"}))
    rows = rows_of(summary.verdicts([material, other]))
    assert [row[0] for row in rows] == ["minmax"] * 4 + ["margin"] * 4
    _, margins = summary.values([material, other])["studies"]
    assert (margins["title"], margins["printed"]) == ("Margins", "67 published numbers")
    assert margins["verdicts"].startswith("1 reproduced, ")
    assert margins["pdf"] == "margin/report.pdf"
    assert summary.values([material, other])["stand_ins"].startswith("digits")
    assert summary.machine([material]) == report.machine(material)


def test_differences_are_listed(material: Material) -> None:
    claims = material.tables["claims"]
    ids, values = (claims[name].tolist()[1:3] for name in ("id", "value"))
    assert rows_of(report.beyond(material)) == [
        [ids[0], values[0], "higher", "0.001", "0.003"],
        [ids[1], values[1], "lower", "0.02", "0.03"],
    ]


def with_cited(material: Material) -> pd.Series:
    """The column `cited`, in which the last two claims are another work's."""
    ids = material.tables["claims"]["id"]
    return ids.isin(ids.unique()[-2:]).map({True: "Chen 2019", False: ""})


def test_cited_numbers_have_a_table_of_their_own(material: Material) -> None:
    claims = material.tables["claims"]
    both = changed(material, claims=claims.assign(cited=with_cited(material)))
    totals = [sum(int(row[-2]) for row in rows_of(show(both))) for show in (report.verdicts, report.cited)]
    assert totals == [claims["id"].nunique() - 2, 2]
    assert (report.cited(material), report.own_tables(material)["cited"]) == ("", "")
    assert report.own_tables(both)["cited"] == "Table A5"
    nothing = changed(material, claims=claims[:0])
    assert [report.kinds(nothing), report.beyond(nothing)] == ["", ""]


# ---- the whole


def sentences(module: ModuleType) -> list[str]:
    """Texts of a module that begin and end as a sentence does; docstrings and the words of an error are none."""
    tree = ast.parse(inspect.getsource(module))
    errors = {id(inside) for node in ast.walk(tree) if isinstance(node, ast.Raise) for inside in ast.walk(node)}
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and isinstance(node.body[0], ast.Expr)
    }
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.Constant)]
    pieces = {id(piece) for node in texts if isinstance(node, ast.JoinedStr) for piece in node.values}
    whole = [ast.unparse(node).strip("f'\"") for node in texts if id(node) not in errors | docs | pieces]
    return [text for text in whole if re.search(r"(^|\W)[A-Z]\w*\b[^A-Z]* .*[.:]( |$)", text)]


def test_sentences_stand_in_the_notebooks() -> None:
    """What is said of data in use goes behind a caption of captions.yaml, wherever that is."""
    found = [text for module in (words, report, summary) for text in sentences(module)]
    assert found == ["The paper: *{escape(found.claim)}*.", "Here: {actual} in place of {dataset}."]


def book(name: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "reports" / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize(("name", "shows"), [("study", report), ("summary", summary)])
def test_templates_name_what_there_is(name: str, shows: object, material: Material) -> None:
    template = book(name)
    nbformat.validate(template)
    assert template.cells[0].metadata["tags"] == ["parameters"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in template.cells)
    given = report.values(with_lost(material)) if name == "study" else summary.values([material], [LACKING])
    for cell in template.cells[2:]:
        if cell.cell_type == "code":
            call = re.fullmatch(r"Markdown\(report\.(\w+)\(materials?(?:, \"[\w-]+\")*\)\)", cell.source)
            assert call, cell.source
            assert hasattr(shows, call[1])
        named = {*re.findall(r"\{\{ (\w+) \}\}", cell.source)}
        items = given[cell.metadata["each"]] if "each" in cell.metadata else [{}]
        assert items
        for item in items:
            assert {*named, *cell.metadata.get("if", []), *cell.metadata.get("unless", [])} <= {*given, *item}


def test_every_table_is_captioned_and_numbered_in_the_order_of_the_report(material: Material) -> None:
    source = "\n".join(cell.source for cell in book("study").cells)
    names = re.findall(r"^\*\*\{\{ table_(\w+) \}\}\.\*\*", source, flags=re.MULTILINE)
    everything = changed(material, claims=material.tables["claims"].assign(cited=with_cited(material)))
    labels = report.own_tables(everything)
    many = [name for name in labels if name.split()[0] in ("pairs", "claims")]
    assert Counter([*names, *many]) == Counter(list(labels))
    assert [name for name in labels if name in names] == names
    assert numbered(everything) == [f"Table A{i}" for i in range(1, len(labels) + 1)]


@pytest.mark.slow
def test_both_reports_from_end_to_end(results: Results, material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(results.root.parents[1])
    parameters = {"results_dir": "results/demo", "study": "minmax"}
    out = Path("results/demo/minmax/report.ipynb")
    notebooks.execute(ROOT / "reports/study.ipynb", out, parameters, "results/demo/logs/report.log")
    assert str(results.root.parent) not in out.read_text()

    notebooks.to_pdf(out, out.with_suffix(".pdf"), head=TEMPLATES.head, title="Title")
    assert out.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    text = notebooks.markdown(out)
    found = re.findall(r"^\*\*(Table A\d+)\.\*\*", text, flags=re.MULTILINE)
    assert found == numbered(material)
    assert "{{" not in text.replace("^{{", "")
    source = notebooks.typst_source(out, head=TEMPLATES.head, title="Title")
    for claim in material.tables["claims"]["id"].unique():
        assert f'#label("claim-{claim}")' in source or f"<claim-{claim}>" in source
    assert r"\@madry" in source
    assert source.count("image(") == len(material.study.figures) == 10
    notebooks.to_html(out, out.with_suffix(".html"), page=TEMPLATES.page, title="Title")
    html = out.with_suffix(".html").read_text()
    assert html.count("data:image/svg+xml;base64,") == 10
    assert html.count("<h2") == 15
    assert html.count("<caption") == html.count("<table") == html.count('<div class="table"') == 25

    out = Path("results/demo/report.ipynb")
    parameters = {"results_dir": "results/demo", "studies": ["minmax"]}
    notebooks.execute(ROOT / "reports/summary.ipynb", out, parameters, "results/demo/logs/report.log")
    notebooks.to_html(out, out.with_suffix(".html"), page=TEMPLATES.page, title="Title")
    notebooks.to_pdf(out, out.with_suffix(".pdf"), head=TEMPLATES.head, title="Title")
    assert "minmax/report.pdf" in out.with_suffix(".html").read_text()


@pytest.mark.slow
def test_a_report_says_what_there_is_nothing_of(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sections that are always there say that they are empty, the others are not there."""
    monkeypatch.chdir(results.root.parents[1])
    other = make_results(results.root.parents[1], run="empty", seeds=1)
    tables = {other.table("minmax", name): read_table(other.table("minmax", name)) for name in RESULT_TABLES}
    shown = {other.table("minmax", name) for name in ("cells", "attacks", "paper")}
    write_tables({path: table if path in shown else table[:0] for path, table in tables.items()})
    out = other.report("minmax").ipynb
    parameters = {"results_dir": str(other.root), "study": "minmax"}
    notebooks.execute(ROOT / "reports/study.ipynb", out, parameters, other.log("study_report"))
    text = notebooks.markdown(out)
    said = ["The study names no published number.", "No worst-case attack was run.", "No flag was raised."]
    said += ["No training and no attack failed."]
    assert [sentence for sentence in said if sentence in text] == said
    assert "## Attacks\n" in text
    for heading in ("Result", "Every claim", "Statements"):
        assert f"## {heading}" not in text
    assert "## Unstated constants" not in text
