"""Put the claims of all studies into one table."""

from touchstone import log, provenance
from touchstone.findings import tables

log.set_up(snakemake.log[0])
provenance.check_unchanged(**snakemake.params.code)
tables.gather(snakemake.input, snakemake.output[0])
