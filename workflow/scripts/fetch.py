"""Bring a dataset's raw files in and verify them; data of the user's own stay where they are."""

from touchstone import log
from touchstone.jobs.fetch import fetch
from touchstone.plan.jobs import FetchJob

log.set_up(snakemake.log[0])
fetch(FetchJob.from_params(snakemake.params.job), snakemake.params.source)
