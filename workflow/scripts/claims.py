"""Put the claims of all studies into one table."""

from touchstone import log
from touchstone.findings import tables
from touchstone.plan.jobs import WriteJob

log.set_up(snakemake.log[0])
WriteJob.from_params(snakemake.params.job)
tables.gather(snakemake.input.tables, snakemake.output[0])
