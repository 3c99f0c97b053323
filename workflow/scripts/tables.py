"""Turn records and models into numbers, verdicts and tables, and say what they were produced by."""

from pathlib import Path

from touchstone import log, provenance
from touchstone.files import write_sealed
from touchstone.jobs.tables import TableFiles, tables
from touchstone.paths import Results
from touchstone.plan.tables import TablesJob

log.set_up(snakemake.log[0])
written = snakemake.input
files = TableFiles(
    claims=next(map(Path, written.claims), None),
    statements=next(map(Path, written.statements), None),
    records=[*map(Path, written.records)],
    runs=[*map(Path, written.runs)],
    selections=[*map(Path, written.selections)],
    prepared=[*map(Path, written.prepared)],
    features=[*map(Path, written.features)],
    answers=next(map(Path, written.answers), None),
)
job = TablesJob.from_params(snakemake.params.job)
tables(job, files)
results = Results.of(job.run)
write_sealed(results.provenance(job.study), provenance.record(results, snakemake.params.command, job.study))
