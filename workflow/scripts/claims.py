"""Gather what is said of all studies: their claims, the papers' tables in their own shape, and what produced it all."""

from touchstone import log, provenance
from touchstone.files import write_sealed
from touchstone.findings import paper, tables
from touchstone.paths import Results
from touchstone.plan.jobs import ClaimsJob

log.set_up(snakemake.log[0])
job = ClaimsJob.from_params(snakemake.params.job)
results = Results.of(job.run)
tables.gather(snakemake.input.claims, results.claims)
paper.write(job)
write_sealed(results.provenance(), provenance.record(results, snakemake.params.command))
