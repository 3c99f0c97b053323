"""Execute a notebook template and turn it into HTML and PDF."""

from touchstone import log, provenance
from touchstone.report import render as notebooks

log.set_up(snakemake.log[0])
provenance.check_unchanged(**snakemake.params.code)
notebook, html, pdf = snakemake.output
notebooks.execute(snakemake.input.template, notebook, snakemake.params.parameters, snakemake.log[0])
notebooks.to_html(notebook, html, snakemake.params.title)
notebooks.to_pdf(notebook, pdf, snakemake.params.title)
