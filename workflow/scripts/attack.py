"""Run a batch of attacks on one model."""

from touchstone import log
from touchstone.jobs import attack
from touchstone.jobs.cards import one_card
from touchstone.paths import Results
from touchstone.plan.jobs import BatchJob

log.set_up(snakemake.log[0])
job = BatchJob.from_params(snakemake.params.job)
with one_card(snakemake.resources.gpu, snakemake.params.share):
    attack.run(job, Results.of(job.subject.run))
