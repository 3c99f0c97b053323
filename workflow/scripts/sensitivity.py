"""Show what the choice of unstated constants does."""

from touchstone import log
from touchstone.jobs.cards import one_card
from touchstone.jobs.sensitivity import sensitivity
from touchstone.paths import Results
from touchstone.plan.jobs import SensitivityJob

log.set_up(snakemake.log[0])
job = SensitivityJob.from_params(snakemake.params.job)
with one_card(snakemake.resources.gpu, snakemake.params.share):
    sensitivity(job, Results.of(job.subject.run))
