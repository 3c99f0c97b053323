"""Figures of the report. Data come in, a matplotlib Figure goes out; nothing here imports torch.

PLOTS names the drawing functions, READS the function that turns paths into their data. Both are plain tables,
so that a study is checked without importing matplotlib (0.3 s that the Snakefile need not pay). TABLES names those
that draw a table of results; the others draw trained models.
"""

# name -> function of (data, *, options) -> Figure
PLOTS: dict[str, str] = {
    "weight-histogram": "touchstone.report.plots.weights:histogram",
    "weight-values": "touchstone.report.plots.weights:histogram_and_values",
    "rho-grid": "touchstone.report.plots.weights:rho_grid",
    "training-loss": "touchstone.report.plots.training:loss",
    "worst-case": "touchstone.report.plots.robustness:worst_case",
    "selection": "touchstone.report.plots.selection:sensitivity",
}

# name -> function of the sources: {label: [run directory, ...]} or {label: [table.csv]}
READS: dict[str, str] = {
    "weight-histogram": "touchstone.report.plots.sources:weights",
    "weight-values": "touchstone.report.plots.sources:weights",
    "rho-grid": "touchstone.report.plots.sources:weights",
    "training-loss": "touchstone.report.plots.sources:histories",
    "worst-case": "touchstone.report.plots.sources:table",
    "selection": "touchstone.report.plots.sources:table",
}

# name -> the table of results that it draws
TABLES: dict[str, str] = {"worst-case": "cells", "selection": "selection"}
