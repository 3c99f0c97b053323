"""Turn raw files into one safetensors file with a fixed split."""

from touchstone import log
from touchstone.data.prepare import prepare
from touchstone.paths import prepared
from touchstone.plan.jobs import PrepareJob

log.set_up(snakemake.log[0])
job = PrepareJob.from_params(snakemake.params.job)
prepare(job.dataset, snakemake.params.raw, prepared(job.dataset), job.own)
