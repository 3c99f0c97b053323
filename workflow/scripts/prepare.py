"""Turn raw files into one safetensors file with a fixed split."""

from touchstone import log
from touchstone.data.prepare import prepare
from touchstone.files import alone
from touchstone.paths import prepared, raw
from touchstone.plan.jobs import PrepareJob

log.set_up(snakemake.log[0])
job = PrepareJob.from_params(snakemake.params.job)
with alone(raw(job.dataset).lock):  # checkouts may share their data
    prepare(job.dataset, snakemake.params.raw, prepared(job.dataset), job.own)
