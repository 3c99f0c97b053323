"""Write the configuration of the run with every recipe, cap and threat resolved."""

from touchstone import log
from touchstone.files import write_yaml
from touchstone.plan.jobs import WriteJob

log.set_up(snakemake.log[0])
write_yaml(snakemake.output[0], WriteJob.from_params(snakemake.params.job).values)
