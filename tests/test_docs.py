"""The pages in docs: the study that study.md writes is one, and runs; what they point to is there. Reference runs."""

import re
from pathlib import Path

import pytest

from touchstone.commands.validate import check_study
from touchstone.paths import study_files
from touchstone.plan.plan import make_plan

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def write_files(page: str, root: Path) -> None:
    """Write the files that a page shows, each under its name in bold."""
    files = dict(re.findall(r"^\*\*`(.+?)`\*\*\n+```\w+\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S))
    assert files
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_study_of_its_page_is_one(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "worst.yaml").write_text((ROOT / "studies" / "worst.yaml").read_text())
    write_files("study.md", tmp_path)
    assert check_study(study_files("first", tmp_path)).endswith(
        "nothing is wrong; 3 published numbers, 3 attacks on models"
    )
    plan = make_plan(tmp_path, tmp_path / "first.yaml")
    assert [model.label for model in plan.models] == [f"first/mnist/lenet/std/{seed}" for seed in range(3)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_readme_leads_to_every_page(page: Path) -> None:
    assert f"](docs/{page.name})" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_points_to_is_there(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_test_that_a_page_names_is_there(page: Path) -> None:
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text()):
        assert f"\ndef {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


def test_each_fault_has_its_test() -> None:
    """Every row of every table."""
    rows = re.findall(r"^\|(?! fault|---)(.*)\|$", (ROOT / "docs" / "faults.md").read_text(), flags=re.MULTILINE)
    assert len(rows) >= 20
    for row in rows:
        assert len(row.split("|")) == 3, row
        assert "::test_" in row.split("|")[-1], row


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_a_command_can_be_pasted_with_what_stands_behind_it(page: Path) -> None:
    commands = re.findall(r"^    (?:touchstone|snakemake|make|python) .*$", page.read_text(), re.M)
    assert [line for line in commands if re.search(r"\S {2,}[^#\s]", line)] == []


@pytest.mark.parametrize("plugin", ["snakemake-report-plugin-fairscape", "snakemake-logger-plugin-rich"])
def test_a_plugin_that_was_tried_and_left_out_is_named(plugin: str) -> None:
    assert f"`{plugin}`" in (ROOT / "reports" / "README.md").read_text()
    assert plugin not in (ROOT / "requirements.lock").read_text()


RERUN = {
    name
    for page in (ROOT / "reports" / "reference").glob("**/README.md")
    for name in re.findall(r"--configfile (reports/reference/\S+)", page.read_text())
}


@pytest.mark.parametrize("config", sorted(RERUN))
def test_a_run_whose_results_are_committed_can_be_made_again(config: str) -> None:
    plan = make_plan(ROOT, ROOT / config)
    assert plan.models
    assert not [one for one in plan.config.data.values() if one.source != "download"], "a place of one machine"
