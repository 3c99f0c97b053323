"""Figures of the report. Data come in, a matplotlib Figure goes out; nothing here imports torch.

PLOTS is a plain table, so that a study is checked without importing matplotlib (0.3 s that the Snakefile need not pay).
"""

from touchstone.registry import PlotSpec

MODELS, RECORDS = "models", "records"  # what a plot reads that is no table of results
_KINDS = ("datasets", "models", "defenses")  # of the nets that a figure may name


def _of(data: str, draw: str, read: str, needs: tuple[str, ...] = (), takes: tuple[str, ...] = ()) -> PlotSpec:
    here = "touchstone.report.plots"
    return PlotSpec(f"{here}.{draw}", f"{here}.sources:{read}", data, needs, takes)


PLOTS: dict[str, PlotSpec] = {
    "weight-histogram": _of(MODELS, "weights:histogram", "weights", ("datasets", "defenses"), ("models",)),
    "weight-values": _of(MODELS, "weights:histogram_and_values", "weights", ("datasets", "defenses"), ("models",)),
    "rho-grid": _of(MODELS, "weights:rho_grid", "weights", ("datasets", "defenses"), ("models",)),
    "training-loss": _of(MODELS, "training:loss", "histories", ("datasets", "defenses"), ("models",)),
    "training-accuracy": _of(MODELS, "training:accuracy", "histories", ("datasets", "defenses"), ("models",)),
    "rho-density": _of(RECORDS, "density:density", "ratios", ("datasets", "defenses", "attacks"), ("models",)),
    "sweep": _of("cells", "sweeps:sweep", "swept", ("datasets", "defenses", "attacks", "along"), ("models",)),
    "worst-case": _of("cells", "robustness:security_curves", "table", takes=_KINDS),
    "heat-map": _of("cells", "robustness:heat_map", "table", takes=_KINDS),
    "selection": _of("selection", "selection:sensitivity", "table", takes=_KINDS),
}
