"""Run attacks on one model, each over all its epsilons."""

from pathlib import Path

from touchstone import log, provenance
from touchstone.jobs.attack import attack

log.set_up(snakemake.log[0])
model = Path(snakemake.input.model)
models = model.parents[4]  # models/<dataset>/<model>/<defense>/<seed>/model.safetensors
for job, records in zip(snakemake.params.jobs, snakemake.output, strict=False):  # examples come after all records
    provenance.check_unchanged(job["code"], job["targets"])
    cell = {**snakemake.params.cell, "attack": job["attack"]}
    attack(job, cell, Path(snakemake.input.data), model, Path(records).parent, models)
