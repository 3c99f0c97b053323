"""Choose the constants that the paper leaves out."""

from touchstone import log
from touchstone.jobs.cards import one_card
from touchstone.jobs.select import select
from touchstone.paths import Results
from touchstone.plan.jobs import SelectJob

log.set_up(snakemake.log[0])
job = SelectJob.from_params(snakemake.params.job)
with one_card(snakemake.resources.gpu, snakemake.params.share):
    select(job, Results.of(job.subject.run))
