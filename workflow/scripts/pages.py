"""Write the pages on which people say what they see, and the key to them."""

from pathlib import Path

from touchstone import log
from touchstone.jobs.people import pages
from touchstone.paths import Results
from touchstone.plan.jobs import PagesJob

log.set_up(snakemake.log[0])
job = PagesJob.from_params(snakemake.params.job)
pages(job, Results.of(job.run), Path(snakemake.input.template))
