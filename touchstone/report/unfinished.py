"""The summary of a run of which jobs have failed: the studies that are whole, and what the others lack.

Snakemake makes no summary then, for want of some report. The next run that gets through replaces this one.
"""

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from touchstone import provenance
from touchstone.files import write_sealed
from touchstone.findings.markdown import escape
from touchstone.paths import templates
from touchstone.plan import build, cost
from touchstone.plan.plan import Plan
from touchstone.report import render


class Undone(NamedTuple):
    """A job of which a run has not made what it should.

    Attributes:
        files: that it should make.
        log: of it.
        failed: it had all that it reads; otherwise it waits for another one.
    """

    files: Collection[Path]
    log: Path
    failed: bool


def summary(plan: Plan, undone: Collection[Undone], command: str) -> Path | None:
    """Write the summary of the studies that are whole, and say what the others lack.

    Args:
        plan: of the run.
        undone: its jobs that have failed, or wait for one that has.
        command: what starts the run again.

    Returns:
        The PDF; None if no study is whole, or all are, or no summary was asked for.
    """
    results, lacking = plan.results, lacks(plan, undone)
    whole = [study for study in plan.studies if study not in lacking]
    asked = any(results.report().pdf in job.files for job in undone)
    if not (asked and whole and lacking):
        return None
    write_sealed(results.provenance(), provenance.record(results, command))
    job = build.report_job(plan)
    shown = replace(job, parameters={**job.parameters, "studies": whole, "unfinished": [*lacking.values()]})
    made_with, log = templates(plan.root), results.log("summary_report")
    render.document(shown, results.report(), log, template=made_with.summary, head=made_with.head, page=made_with.page)
    return results.report().pdf


def lacks(plan: Plan, undone: Collection[Undone]) -> dict[str, dict[str, str]]:
    """Return what is said of each study of which a file is not there, or is one of an earlier run."""
    return {study: said for study in plan.studies if (said := _lacks(plan, study, undone))}


def _lacks(plan: Plan, study: str, undone: Collection[Undone]) -> dict[str, str]:
    jobs = [set(files) for files in cost.study_jobs(plan, study)]
    old = {file for job in undone for file in job.files}
    left = [files for files in jobs if files & old or not all(map(os.path.exists, files))]
    logs = [job.log for job in undone if job.failed and not set().union(*jobs).isdisjoint(job.files)]
    said = {"title": escape(plan.studies[study].title), "left": f"{len(left)} of its {len(jobs)} jobs"}
    return said | {"logs": ", ".join(f"`{log}`" for log in logs)} if left else {}
