"""Write what produced the results: code, versions, machine, times."""

from pathlib import Path

from touchstone import log, provenance
from touchstone.files import write_sealed
from touchstone.paths import Results
from touchstone.plan.jobs import WriteJob

log.set_up(snakemake.log[0])
job, out = WriteJob.from_params(snakemake.params.job), Path(snakemake.output[0])
write_sealed(out, provenance.record(Results(out.parent), job.values["command"]))
