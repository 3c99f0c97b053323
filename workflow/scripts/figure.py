"""Draw one figure."""

from touchstone import log
from touchstone.jobs.figure import figure
from touchstone.paths import Results
from touchstone.plan.jobs import FigureJob

log.set_up(snakemake.log[0])
job = FigureJob.from_params(snakemake.params.job)
figure(job, Results.of(job.run), snakemake.output)
