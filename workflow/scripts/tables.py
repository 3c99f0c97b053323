"""Turn records and models into numbers, verdicts and tables."""

from pathlib import Path

from touchstone import log, provenance
from touchstone.jobs.tables import tables

log.set_up(snakemake.log[0])
job = snakemake.params.job
provenance.check_unchanged(job["code"], job["targets"])
tables(
    job,
    Path(snakemake.input.study),
    map(Path, snakemake.input.records),
    runs=list(map(Path, snakemake.input.runs)),
    selections=map(Path, snakemake.input.selections),
    prepared=map(Path, snakemake.input.prepared),
    out=Path(snakemake.output[0]).parent,
)
