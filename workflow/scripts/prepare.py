"""Turn raw files into one safetensors file with a fixed split."""

from touchstone import log, paths
from touchstone.data.prepare import prepare
from touchstone.plan.jobs import PrepareJob

log.set_up(snakemake.log[0])
job = PrepareJob.from_params(snakemake.params.job)
prepare(job.dataset, paths.raw(job.dataset).folder, snakemake.output.data)
