"""Write what produced the results: code, versions, machine, times."""

from pathlib import Path

from touchstone import log, provenance
from touchstone.files import write_json

log.set_up(snakemake.log[0])
provenance.check_unchanged(**snakemake.params.code)
record = provenance.record(Path(snakemake.output[0]).parent, snakemake.params.command)
write_json(Path(snakemake.output[0]), record)
