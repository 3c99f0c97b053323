"""Turn raw files into one safetensors file with a fixed split."""

from pathlib import Path

from touchstone import log, provenance
from touchstone.data.prepare import prepare

log.set_up(snakemake.log[0])
provenance.check_unchanged(**snakemake.params.code)
prepare(snakemake.wildcards.dataset, Path(snakemake.input[0]).parent, Path(snakemake.output[0]))
