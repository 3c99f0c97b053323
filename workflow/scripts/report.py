"""Execute a notebook template and turn it into HTML and PDF."""

from touchstone import log
from touchstone.plan.jobs import ReportJob
from touchstone.report import render

log.set_up(snakemake.log[0])
job, given = ReportJob.from_params(snakemake.params.job), snakemake.input
made_with = {"template": given.template, "head": given.head, "page": given.page}
render.document(job, snakemake.output, snakemake.log[0], **made_with)
