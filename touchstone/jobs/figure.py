"""The job that draws one figure."""

from collections.abc import Iterable
from pathlib import Path

from touchstone.paths import Results
from touchstone.plan.jobs import FigureJob
from touchstone.report.plots.output import draw, save
from touchstone.report.plots.sources import Sources


def figure(job: FigureJob, results: Results, files: Iterable[str | Path]) -> None:
    """Draw trained models, or a table, of a study, and write the figure in the forms that `files` have."""
    save(draw(job.plot, _sources(job, results), **job.options), files)


def _sources(job: FigureJob, results: Results) -> Sources:
    if job.table:
        return {job.table: [results.table(job.study, job.table)]}
    return {label: [results.model_folder(model) for model in models] for label, models in job.models.items()}
