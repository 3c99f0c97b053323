"""The job that draws the figures of a study."""

from touchstone.paths import FORMS, Results
from touchstone.plan.jobs import FiguresJob
from touchstone.report.plots.output import draw, save


def figures(job: FiguresJob, results: Results) -> None:
    """Draw the trained models, attacks and tables of a study, and write each figure in all of its forms."""
    for drawing in job.drawings:
        save(draw(drawing, results), [results.figure(job.study, drawing.name, form) for form in FORMS])
