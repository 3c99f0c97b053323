"""Bring a dataset's raw files in and verify them; data of the user's own stay where they are."""

import logging

from touchstone import log, paths
from touchstone.data.sources import fetch
from touchstone.files import write_json
from touchstone.plan.jobs import FetchJob

log.set_up(snakemake.log[0])
job = FetchJob.from_params(snakemake.params.job)
raw = paths.raw(job.dataset)
if job.own is None:
    fetch(job.dataset, snakemake.params.source, raw.folder, log=logging.info)
# nothing of the source, so that equal files from elsewhere leave an equal record
write_json(raw.fetched, job.record())
