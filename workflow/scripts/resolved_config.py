"""Write the configuration of the run with every recipe, cap and threat resolved."""

from touchstone import log, provenance
from touchstone.files import write_yaml

log.set_up(snakemake.log[0])
provenance.check_unchanged(**snakemake.params.code)
write_yaml(snakemake.output[0], snakemake.params.config)
