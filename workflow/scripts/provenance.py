"""Write what produced the results: code, versions, machine, times."""

from touchstone import log, provenance
from touchstone.files import write_sealed
from touchstone.paths import Results
from touchstone.plan.jobs import ProvenanceJob

log.set_up(snakemake.log[0])
job = ProvenanceJob.from_params(snakemake.params.job)
results = Results.of(job.run)
write_sealed(results.provenance(), provenance.record(results, snakemake.params.command))
