"""Train one model."""

from touchstone import log
from touchstone.jobs.cards import one_card
from touchstone.jobs.train import train
from touchstone.paths import Results
from touchstone.plan.jobs import TrainJob

log.set_up(snakemake.log[0])
job = TrainJob.from_params(snakemake.params.job)
with one_card(snakemake.resources.gpu, snakemake.params.share):
    train(job, Results.of(job.subject.run), snakemake.params.checkpoint, *snakemake.params.weights)
