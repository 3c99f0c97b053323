"""Figures of the report. Data come in, a matplotlib Figure goes out; nothing here imports torch.

PLOTS names the drawing functions, READS the function that turns paths into their data. Both are plain tables,
so that a study is checked without importing matplotlib (0.3 s that the Snakefile need not pay).
"""

# name -> function of (data, *, options) -> Figure
PLOTS: dict[str, str] = {
    "weight-histogram": "touchstone.plots.weights:histogram",
    "weight-values": "touchstone.plots.weights:histogram_and_values",
    "rho-grid": "touchstone.plots.weights:rho_grid",
    "training-loss": "touchstone.plots.training:loss",
    "worst-case": "touchstone.plots.robustness:worst_case",
    "selection": "touchstone.plots.selection:sensitivity",
}

# name -> function of the sources: {label: [run directory, ...]} or {label: [table.csv]}
READS: dict[str, str] = {
    "weight-histogram": "touchstone.plots.sources:weights",
    "weight-values": "touchstone.plots.sources:weights",
    "rho-grid": "touchstone.plots.sources:weights",
    "training-loss": "touchstone.plots.sources:histories",
    "worst-case": "touchstone.plots.sources:table",
    "selection": "touchstone.plots.sources:table",
}
