"""Execute a notebook template and turn it into HTML and PDF."""

from touchstone import log
from touchstone.plan.jobs import ReportJob
from touchstone.report import render

log.set_up(snakemake.log[0])
job, out = ReportJob.from_params(snakemake.params.job), snakemake.output
render.execute(snakemake.input.template, out.ipynb, job.parameters, snakemake.log[0])
render.to_html(out.ipynb, out.html, page=snakemake.input.page, title=job.title)
render.to_pdf(out.ipynb, out.pdf, head=snakemake.input.head, title=job.title)
