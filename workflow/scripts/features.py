"""Keep what models make of images before their last layer, for one figure."""

from touchstone import log
from touchstone.jobs.cards import one_card
from touchstone.jobs.features import features
from touchstone.paths import Results
from touchstone.plan.jobs import FeaturesJob

log.set_up(snakemake.log[0])
job = FeaturesJob.from_params(snakemake.params.job)
with one_card(snakemake.resources.gpu, snakemake.params.share):
    features(job, Results.of(job.run))
