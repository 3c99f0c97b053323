"""Bring a dataset's raw files in and verify them."""

import logging
from pathlib import Path

from touchstone import log
from touchstone.data.sources import fetch
from touchstone.files import write_json
from touchstone.plan.jobs import FetchJob

log.set_up(snakemake.log[0])
job, out = FetchJob.from_params(snakemake.params.job), Path(snakemake.output[0])
fetch(job.dataset, snakemake.params.source, out.parent, log=logging.info)
# nothing of the source, so that equal files from elsewhere leave an equal record
write_json(out, {"dataset": job.dataset, "files": {file.path: file.md5 for file in job.files}})
