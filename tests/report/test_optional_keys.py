"""Whatever a study may leave out, alone and all together: it is planned, its tables and its report are made."""

from collections.abc import Collection
from pathlib import Path

import pytest
from small_study import ALONE, OPTIONAL, left_out, make_results, write_study

from touchstone.plan.plan import Plan, make_plan
from touchstone.report import render, sections, summary
from touchstone.report.material import gather
from touchstone.study.config import ConfigError
from touchstone.study.schema import Study

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
run: tiny
studies: [small]
device: cpu
threads: 1
jobs: per_model
batch_size: 256
data: {digits: {source: embedded}}
stand_in: {mnist: digits}
"""
SHOWN = [
    *(sections.verdicts, sections.machine, sections.trained, sections.attacks, sections.worst_case),
    *(sections.paper_tables, sections.statements, sections.figures, sections.selection),
    *(sections.flags, sections.failures),
]


# a section of the report -> what it needs of the study
NEEDS: dict[str, set[str]] = {
    "verdicts": {"claims.csv"},
    "readings": {"claims.csv", "readings"},
    "attacks": set(),
    "worst_case": {"worst"},
    "paper_tables": {"tables"},
    "claims_tables": {"claims.csv"},
    "statements": {"qualitative.csv"},
}


def planned(folder: Path, without: Collection[str]) -> Plan:
    write_study(folder, without)
    (folder / "studies" / "worst.yaml").write_text((ROOT / "studies" / "worst.yaml").read_text())
    (folder / "config.yaml").write_text(CONFIG)
    return make_plan(folder, folder / "config.yaml")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_study_has_every_optional_key() -> None:
    assert {name for name, field in Study.model_fields.items() if not field.is_required()} == OPTIONAL.keys()


EACH = {name: left_out(name) for name in ALONE}
ALL = {*ALONE} - {"cells"}  # something has to run
WITHOUT = {"nothing": set[str](), **EACH, "all": ALL}


@pytest.mark.parametrize("without", WITHOUT.values(), ids=WITHOUT)
def test_a_study_without_it_runs_through_to_its_report(folder: Path, without: set[str]) -> None:
    plan = planned(folder, without)
    assert {model.defense for model in plan.models} == {"std", "adv"}
    make_results(plan)
    material = gather(plan.results.root, "small")
    text = "\n\n".join(show(material) for show in SHOWN)
    assert "| pgd2 | linf | 0.3 |" in text, "what the attack found"
    assert bool(sections.values(material)["printed"]) == ("claims.csv" not in without)
    for section, needed in NEEDS.items():
        assert bool(getattr(sections, section)(material)) == (not needed & without), section
    labels = sections.own_tables(material)
    assert all(labels[name] for name in ("run", "models", "attacks"))
    assert bool(summary.verdicts([material])) == ("claims.csv" not in without)
    assert summary.values([material])["table_run"] == ("Table A1" if "claims.csv" in without else "Table A2")
    (study,) = summary.values([material])["studies"]
    assert study["printed"] == sections.values(material)["printed"]


@pytest.mark.slow
@pytest.mark.parametrize("without", [ALL, set[str]()], ids=["all", "nothing"])
def test_no_heading_of_the_report_is_empty(folder: Path, without: set[str]) -> None:
    make_results(plan := planned(folder, without))
    out = plan.results.report("small").ipynb
    parameters = {"results_dir": str(plan.results.root), "study": "small"}
    render.execute(ROOT / "reports" / "study.ipynb", out, parameters, plan.results.log("study_report"))
    blocks = [block for block in render.markdown(out).split("\n\n") if block.strip()]
    assert any("| pgd2 | linf | 0.3 |" in block for block in blocks)
    for block, after in zip(blocks, [*blocks[1:], "#"], strict=True):
        assert not (block.startswith("#") and after.startswith("#")), block
    headed = [block for block in blocks if block.startswith("## ")]
    assert ("## Result" in headed) == (not without)


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ({"claims.csv"}, r"tables\.table1: shows what is printed, and there is no claims\.csv"),
        ({"claims.csv", "tables"}, r"evidence_table: 'Table 1': no claim has one of them"),
        ({"captions.yaml"}, "no caption 'worst-case': it is a figure of study.yaml"),
        ({"cells", "claims.csv", "tables", "qualitative.csv"}, r"claims\.csv: cannot be read"),
    ],
)
def test_what_is_missing_and_needed_is_said_before_any_job(folder: Path, without: set[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(folder, without)
