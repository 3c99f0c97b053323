"""Turn records and models into numbers, verdicts and tables."""

from pathlib import Path

from touchstone import log
from touchstone.jobs.tables import tables
from touchstone.plan.jobs import TablesJob

log.set_up(snakemake.log[0])
tables(
    TablesJob.from_params(snakemake.params.job),
    definition=Path(snakemake.input.study[0]),
    records=map(Path, snakemake.input.records),
    runs=list(map(Path, snakemake.input.runs)),
    selections=map(Path, snakemake.input.selections),
    prepared=map(Path, snakemake.input.prepared),
)
