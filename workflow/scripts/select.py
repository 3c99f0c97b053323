"""Choose the constants that the paper leaves out."""

from pathlib import Path

from touchstone import log, provenance
from touchstone.jobs.select import select

log.set_up(snakemake.log[0])
job = snakemake.params.job
provenance.check_unchanged(job["code"], job["targets"])
select(job, Path(snakemake.input.data), Path(snakemake.output[0]))
