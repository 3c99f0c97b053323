"""Train one model."""

from pathlib import Path

from touchstone import log, provenance
from touchstone.jobs.train import train
from touchstone.study.config import Checkpoints

log.set_up(snakemake.log[0])
job = snakemake.params.job
provenance.check_unchanged(job["code"], job["targets"])
train(
    job,
    snakemake.params.cell,
    prepared=Path(snakemake.input.data),
    selection=next(map(Path, snakemake.input.selection), None),
    init=next(map(Path, snakemake.input.init), None),
    out=Path(snakemake.output[0]).parent,
    every=Checkpoints(**snakemake.config.get("checkpoint", {})).model_dump(),  # decides no number: not in params
)
