"""The report's text, from a made-up results folder, and the reports as a whole."""

import re
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from synthetic_results import ROOT, make_results

from touchstone.report import render as notebooks
from touchstone.report import sections as report
from touchstone.report.sections import Material
from touchstone.study.config import read

SECTIONS = [
    *["title", "headline", "what_was_run", "worst_case", "tables", "claims", "qualitative", "figures", "selection"],
    *["flags", "failures", "rerun"],
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_results(tmp_path_factory.mktemp("synthetic"))


@pytest.fixture(scope="module")
def material(results: Path) -> Material:
    return report.gather(results, "minmax")


def table_rows(text: str, caption: str) -> list[list[str]]:
    """Cells of the Markdown table under a caption, without its header."""
    block = re.search(rf"^\*\*[^\n]*{re.escape(caption)}[^\n]*\n\n((?:\|[^\n]*\n?)+)", text, flags=re.MULTILINE)
    assert block, caption
    lines = block[1].strip().splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def changed(material: Material, **tables: pd.DataFrame) -> Material:
    return replace(material, tables={**material.tables, **tables})


# ---- figures and captions


def test_missing_figure_names_the_rule(material: Material, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"figures/figure2.svg is missing.*\(rule figure\)"):
        report.figures(replace(material, folder=tmp_path))


def test_figure_without_caption_is_an_error(material: Material) -> None:
    captions = {k: v for k, v in material.captions.items() if k != "figure4"}
    with pytest.raises(
        ValueError, match=r"minmax/captions.yaml has no caption for figure 'figure4'; allowed: claim, fig"
    ):
        report.figures(replace(material, captions=captions))


@pytest.mark.parametrize("study", sorted(p.parent.name for p in ROOT.glob("studies/*/study.yaml")))
def test_every_figure_of_every_study_has_a_caption(study: str) -> None:
    figures = read(ROOT / f"studies/{study}/study.yaml")[0].get("figures", {})
    captions = read(ROOT / f"studies/{study}/captions.yaml")[0]
    assert set(captions) == {"claim", *figures}
    assert all("\n" not in text.strip() and "{" not in text.replace("\\rVert_2^{", "") for text in captions.values())


# ---- page one


def test_banner_says_that_stand_ins_are_not_comparable(material: Material) -> None:
    text = report.title(material)
    assert text.startswith("# Min-Max property of LeNet's convolutions: a re-run")
    assert "the 67 numbers" in text
    assert "> **Run `demo`: stand-in data (digits for mnist; digits-rgb for cifar10) and caps" in text
    assert "not comparable with the paper's" in text


def test_banner_of_the_other_scales(material: Material) -> None:
    cells = material.tables["cells"]
    same = cells.assign(dataset=cells["original_dataset"])
    assert report.banner("paper", {}, same) == ""
    assert "caps on the published sizes" in report.banner("laptop", {"caps": [{"epochs": 3}]}, same)
    assert "stand-in" not in report.banner("laptop", {"caps": [{"epochs": 3}]}, same)


def test_headline_counts_each_claim_once(material: Material) -> None:
    text = report.headline(material)
    sentence = "1 reproduced, 1 higher, 1 lower, 61 not comparable, 1 not run, 1 failed, 1 only as coded."
    assert f"> **Of 67 published numbers: {sentence}**" in text
    counts = {row[1]: row[2:6] for row in table_rows(text, "Verdicts on")}
    assert counts["not comparable"] == ["56", "0", "5", "61"]
    assert sum(int(row[3]) for row in counts.values()) == 67
    assert counts.keys() >= {"reproduced", "only as coded"}
    assert "- `coded`, of the 21 that it changes: 15 not comparable, 1 only as coded" in text


def test_stands_counts_the_headline_reading_only() -> None:
    claims = pd.DataFrame(
        {
            "reading": ["headline"] * 6 + ["pixel"],
            "stands": [
                "stands",
                "overstated by 7.5 points",
                "overstated by 41.0 points",
                "not tested: x",
                "",
                "label ambiguous",
                "stands",
            ],
        }
    )
    assert report.stands_sentence(claims) == (
        "Against the worst of a fixed list of attacks, of 5 robust accuracies among them 1 stand, 2 are overstated by "
        "7.5 to 41 points, 1 could not be tested, 1 hang on a doubtful label."
    )
    assert report.stands_sentence(claims[4:5]) == "None of them is a robust accuracy."


# ---- sections


def test_run_and_machine(material: Material) -> None:
    text = report.what_was_run(material)
    facts = dict(table_rows(text, "The run."))
    assert facts["caps"] == "epochs 10, samples 300; steps 200 (attack cw-l2)"
    assert facts["machine"] == "Some CPU @ 2.40GHz, 2 cores, 7.8 GB, Linux x86\\_64"
    assert facts["time"].endswith("the jobs took 7 min 4 s in all")
    models = table_rows(text, "Trained models.")
    assert len(models) == 12
    assert ["digits", "lenet", "std", "0, 1", "10", "12", "ok"] in models
    failed = "seed 0: loss or weights not finite in epoch 3; seed 1: loss or weights not finite in epoch 3"
    assert ["digits", "lenet", "std+l1", "0, 1", "10", "12", failed] in models


def test_worst_case_comes_with_n_and_incomplete(material: Material) -> None:
    text = report.worst_case(material)
    assert "*incomplete*" in text
    assert ["digits", "lenet", "linf", "0.3", "300"] in [row[:5] for row in table_rows(text, "Worst-case accuracy in")]
    assert "](figures/worst-case.svg)" in text
    without = report.worst_case(changed(material, worst=material.tables["worst"][:0]))
    assert "No worst-case attack was run." in without


def test_paper_tables_say_which_data_they_are_from(material: Material) -> None:
    text = report.tables(material)
    assert "**Table 1.** MNIST: accuracy under attack. Each entry" in text
    assert "Here: digits in place of mnist." in text
    assert len(table_rows(text, "MNIST: accuracy")) == 7
    assert "0.9861 / **0.9565** ±0.0100 ✓" in text
    assert "✓ reproduced" in text


def test_every_claim_is_there_with_its_reason(material: Material) -> None:
    text = report.claims(material)
    shown = table_rows(text, "Every published number")
    claims = material.tables["claims"]
    headline = claims[claims["reading"] == "headline"]
    assert [row[0].rstrip("†‡") for row in shown] == headline["id"].tolist()
    first = dict(zip(("claim", "paper", "ours", "interval", "n", "seeds", "verdict", "stands"), shown[0], strict=True))
    assert first["paper"] == "0.9861"
    assert first["ours"] == "0.9565"
    assert first["interval"] == "0.9368 to 0.9762"
    notes = dict(re.findall(r"\((\w+)\) ([^\n]*?)(?=; \(|\.\n|\.$)", text.split("Notes. ")[1]))
    assert notes[re.search(r"\((\w)\)", shown[1][3])[1]] == "interval: pooled"
    assert shown[5][6].startswith("failed (")
    assert notes[re.search(r"\((\w)\)", shown[5][6])[1]] == "loss not finite in epoch 3"
    reason = "digits stands in for mnist; epochs 3 of 10; samples 300 of 10000"
    assert notes[re.search(r"\((\w)\)", shown[-1][6])[1]] == reason
    assert shown[-1][6].startswith("not comparable (")
    assert len(table_rows(text, "the reading `coded` changes")) == 21
    assert len(table_rows(text, "the reading `pixel` changes")) == 48


def test_claim_without_a_number_has_empty_cells(material: Material) -> None:
    claims = material.tables["claims"][:1].assign(
        ours="", n="", seeds="", interval_lo="", interval_hi="", value="17 to 19"
    )
    (row,) = table_rows(report.claims(changed(material, claims=claims)), "Every published number")
    assert row[1:6] == ["17 to 19", "", "", "", ""]


def test_statements_are_escaped(material: Material) -> None:
    rows = table_rows(report.qualitative(material), "Statements of the paper")
    assert len(rows) == 13
    assert rows[0][3] == r"5 of 6; not: std above minmax-printed under cw-l2, \|w\| \< 0.01"


def test_figures_have_the_numbers_of_the_paper(material: Material) -> None:
    text = report.figures(material)
    assert re.findall(r"\*\*(Figure \w+)\.\*\*", text) == [f"Figure {n}" for n in range(2, 7)]
    assert "Here: digits-rgb in place of cifar10." in text
    assert "**Figure A1.**" in report.worst_case(material)
    assert "**Figure A2.**" in report.selection(material)


def test_selection_marks_the_chosen_candidate(material: Material) -> None:
    rows = table_rows(report.selection(material), "Candidates and")
    assert len(rows) == 30
    assert rows[2] == ["digits", "std+l1", "l1=1e-04", "**selected**", "0.9630", "0.3000", "0.3400", "0.056", "0.410"]
    assert rows[4][3] == "failed"
    assert [row[3] for row in rows].count("**selected**") == 6


def test_flags_join_seeds_and_attacks(material: Material) -> None:
    rows = table_rows(report.flags(material), "Flags.")
    assert len(rows) == 4
    assert rows[0][:6] == ["zero-gradients", "digits", "lenet", "std", "0, 1", "pgd40-linf"]
    zero = "CE gradient is zero on 41.2 % of 300 samples"
    assert rows[0][6] == f"{zero} (0); {zero} (1)"
    many = pd.concat([material.tables["flags"][:1]] * 5)
    many = many.assign(attack=[f"a{i}" for i in range(5)], detail=[f"d {i % 2}" for i in range(5)])
    (row,) = table_rows(report.flags(changed(material, flags=many)), "Flags.")
    assert row[5:] == ["a0, and 4 more", "d 0; d 1"]


def test_empty_tables_are_said_and_not_numbered(material: Material) -> None:
    names = ("flags", "failures", "selection", "qualitative")
    empty = changed(material, **{name: material.tables[name][:0] for name in names})
    assert "No flag was raised." in report.flags(empty)
    assert "Nothing failed." in report.failures(empty)
    assert report.selection(empty) == report.qualitative(empty) == ""
    assert not set(names) & set(report.own_tables(empty))
    assert list(report.own_tables(empty).values()) == [
        f"Table A{i}" for i in range(1, len(report.own_tables(empty)) + 1)
    ]


def test_a_study_without_claims_says_so(material: Material) -> None:
    empty = changed(material, claims=material.tables["claims"][:0])
    assert report.claims(empty) == "## Every claim\n\nThe study has no claims yet."
    assert "claims" not in report.own_tables(empty)


def test_own_tables_are_numbered_in_the_order_of_the_report(material: Material) -> None:
    text = "\n\n".join(getattr(report, section)(material) for section in SECTIONS)
    found = re.findall(r"^\*\*(Table A\d+)\.\*\*", text, flags=re.MULTILINE)
    assert found == list(report.own_tables(material).values())
    assert found == [f"Table A{i}" for i in range(1, len(found) + 1)]


def test_rerun_gives_commands(material: Material) -> None:
    text = report.rerun(material)
    assert "snakemake --cores all --configfile results/demo/config.yaml\n" in text
    assert "minmax/report.pdf" in text
    assert re.search(r"--force \S+models/digits/lenet/adv/0/model.safetensors", text)


def test_summary_counts_each_study(material: Material) -> None:
    other = replace(material, study={**material.study, "study": "margin", "title": "Margins"})
    text = report.summary([material, other])
    rows = table_rows(text, "Verdicts per study")
    assert [row[0] for row in rows] == ["minmax", "margin"]
    assert rows[0][1:3] == ["67", "1"]
    assert rows[0][-1] == "9 of 36"
    assert "[pdf](margin/report.pdf)" in text
    assert "stand-in data" in text


# ---- the whole


def test_templates_show_every_section_in_order() -> None:
    book = nbformat.read(ROOT / "reports/study.ipynb", as_version=4)
    nbformat.validate(book)
    assert book.cells[0].metadata["tags"] == ["parameters"]
    assert [cell.source for cell in book.cells[2:]] == [f"Markdown(report.{name}(material))" for name in SECTIONS]
    for path in (ROOT / "reports").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


def test_both_reports_from_end_to_end(results: Path, material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(results.parents[1])
    parameters = {"results_dir": "results/demo", "study": "minmax"}
    out = Path("results/demo/minmax/report.ipynb")
    notebooks.execute(ROOT / "reports/study.ipynb", out, parameters, "results/demo/logs/report.log")
    assert str(results.parent) not in out.read_text()

    notebooks.to_pdf(out, out.with_suffix(".pdf"))
    source = notebooks.typst_source(out)
    for claim in material.tables["claims"]["id"].unique():
        assert f"[{claim}" in source.replace("\\", "")
    assert r"\@madry" in source
    assert source.count("image(") == len(material.study["figures"]) == 7
    notebooks.to_html(out, out.with_suffix(".html"))
    html = out.with_suffix(".html").read_text()
    assert html.count("data:image/svg+xml;base64,") == 7
    assert html.count("<h2") == 11

    out = Path("results/demo/report.ipynb")
    parameters = {"results_dir": "results/demo", "studies": ["minmax"]}
    notebooks.execute(ROOT / "reports/summary.ipynb", out, parameters, "results/demo/logs/report.log")
    notebooks.to_html(out, out.with_suffix(".html"))
    notebooks.to_pdf(out, out.with_suffix(".pdf"))
    assert "minmax/report.pdf" in out.with_suffix(".html").read_text()
