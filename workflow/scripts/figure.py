"""Draw one figure."""

from touchstone import log
from touchstone.plan.jobs import FigureJob
from touchstone.report.plots.output import draw, save

log.set_up(snakemake.log[0])
job = FigureJob.from_params(snakemake.params.job)
save(draw(job.plot, job.sources, **job.options), snakemake.output)
