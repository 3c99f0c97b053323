"""Keep what models make of images before their last layer, for one figure."""

from touchstone import log
from touchstone.jobs.features import features
from touchstone.paths import Results
from touchstone.plan.jobs import FeaturesJob

log.set_up(snakemake.log[0])
job = FeaturesJob.from_params(snakemake.params.job)
features(job, Results.of(job.run))
