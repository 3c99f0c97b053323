"""Train one model."""

from touchstone import log
from touchstone.jobs.train import train
from touchstone.paths import Results
from touchstone.plan.jobs import TrainJob
from touchstone.study.config import Checkpoints

log.set_up(snakemake.log[0])
job = TrainJob.from_params(snakemake.params.job)
# how often it saves decides no number, so that it is no param: a change must not train again
every = Checkpoints(**snakemake.config.get("checkpoint", {}))
train(job, Results.of(job.subject.run), every.model_dump())
