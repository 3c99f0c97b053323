"""Bring a dataset's raw files in and verify them."""

import logging
from pathlib import Path

from touchstone import log, provenance
from touchstone.data.sources import fetch
from touchstone.files import write_json

log.set_up(snakemake.log[0])
provenance.check_unchanged(**snakemake.params.code)
out = Path(snakemake.output[0])
fetch(snakemake.wildcards.dataset, snakemake.params.source, out.parent, log=logging.info)
write_json(out, {"dataset": snakemake.wildcards.dataset, "source": snakemake.params.source})
