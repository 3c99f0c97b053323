"""Draw one figure."""

from pathlib import Path

from touchstone import log, provenance
from touchstone.report.plots.output import draw, save

log.set_up(snakemake.log[0])
job = snakemake.params.job
provenance.check_unchanged(job["code"], job["targets"])
save(draw(job["plot"], job["sources"], **job["options"]), Path(snakemake.output[0]).with_suffix(""))
