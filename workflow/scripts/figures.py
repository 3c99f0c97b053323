"""Draw the figures of a study."""

from touchstone import log
from touchstone.jobs.figures import figures
from touchstone.paths import Results
from touchstone.plan.jobs import FiguresJob

log.set_up(snakemake.log[0])
job = FiguresJob.from_params(snakemake.params.job)
figures(job, Results.of(job.run))
