"""Write the papers' tables in their own shape."""

from touchstone import log
from touchstone.findings import paper
from touchstone.plan.jobs import PaperJob

log.set_up(snakemake.log[0])
paper.write(PaperJob.from_params(snakemake.params.job))
