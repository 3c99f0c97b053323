"""What a run says of itself after some of its jobs have failed."""

import shutil
from pathlib import Path

import pytest
from synthetic_results import make_results

from touchstone.files import read_sealed
from touchstone.plan import cost
from touchstone.plan.plan import Plan, make_plan
from touchstone.report import render, unfinished
from touchstone.report.unfinished import Undone

pytestmark = pytest.mark.xdist_group("test_unfinished")  # the folder of results is made once

COMMAND = "snakemake --cores all"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one study, whose figures take seconds to draw: they are copied for each test."""
    folder = tmp_path_factory.mktemp("made")
    make_results(folder, seeds=1)
    return folder


@pytest.fixture
def plan(tmp_path: Path, root: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Of two studies, the first of which has left all of its files."""
    shutil.copytree(made, tmp_path, symlinks=True, dirs_exist_ok=True)
    config = tmp_path / "config.yaml"
    text = (root / "tests" / "config.yaml").read_text().replace("run: tiny", "run: demo")
    config.write_text(text.replace("[minmax]", "[minmax, margin]").replace("defenses: [std, adv, minmax-printed]", ""))
    plan = make_plan(root, config)
    monkeypatch.chdir(tmp_path)
    for file in (file for files in cost.study_jobs(plan, "minmax") for file in files if not file.exists()):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return plan


def undone(plan: Plan, study: str, failed: bool = True) -> Undone:
    model = next(model for model in plan.trained if model.study == study)
    return Undone(plan.results.model(model), plan.results.log("train", *map(str, model)), failed)


def summary(plan: Plan, failed: bool = False) -> Undone:
    return Undone(plan.results.report(), plan.results.log("summary_report"), failed)


def test_the_summary_has_the_studies_that_are_whole_and_names_the_others(plan: Plan) -> None:
    failed = undone(plan, "margin")
    assert unfinished.summary(plan, [failed, summary(plan)], COMMAND) == plan.results.report().pdf
    text = render.markdown(plan.results.report().ipynb)
    jobs = len(cost.study_jobs(plan, "margin"))
    assert f"**Not finished: {plan.studies['margin'].title}.** {jobs} of its {jobs} jobs have failed or wait" in text
    assert f"What went wrong stands in `{failed.log}`" in text
    assert f"### {plan.studies['minmax'].title}" in text
    assert f"### {plan.studies['margin'].title}" not in text
    assert plan.results.report().pdf.read_bytes().startswith(b"%PDF")
    assert read_sealed(plan.results.provenance(), "claims")["command"] == COMMAND


def test_a_study_lacks_what_is_not_there_and_what_an_earlier_run_has_left(plan: Plan) -> None:
    assert unfinished.lacks(plan, []).keys() == {"margin"}
    waits = unfinished.lacks(plan, [undone(plan, "minmax", failed=False)])["minmax"]
    assert waits["left"] == f"1 of its {len(cost.study_jobs(plan, 'minmax'))} jobs"
    assert waits["logs"] == "", "it waits for another"
    plan.results.report("minmax").html.unlink()
    assert unfinished.lacks(plan, [])["minmax"]["left"].startswith("1 of")


@pytest.mark.parametrize("studies", [("margin",), ("minmax", "margin")])
def test_there_is_no_summary_of_nothing_nor_one_that_nobody_asked_for(plan: Plan, studies: tuple[str, ...]) -> None:
    failed = [undone(plan, study) for study in studies]
    asked = [summary(plan)] if len(studies) == len(plan.studies) else []
    assert unfinished.summary(plan, [*failed, *asked], COMMAND) is None
    assert not plan.results.report().ipynb.exists()
