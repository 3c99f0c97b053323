"""Check and count what people have answered."""

from pathlib import Path

from touchstone import log
from touchstone.findings import people
from touchstone.plan.jobs import WriteJob

log.set_up(snakemake.log[0])
WriteJob.from_params(snakemake.params.job)
people.count(Path(snakemake.input.key), [*map(Path, snakemake.input.returned)], Path(snakemake.output[0]))
