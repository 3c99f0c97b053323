"""Figures of the report. Data come in, a matplotlib Figure goes out; nothing here imports torch.

PLOTS is a plain table, so that a study is checked without importing matplotlib (0.3 s that the Snakefile need not pay).
"""

from touchstone.registry import PlotSpec

# what a plot reads that is no table of results
MODELS, RECORDS, POINTS, FEATURES = "models", "records", "points", "features"
_KINDS = ("datasets", "models", "defenses")  # of the nets that a figure may name


def _of(
    data: str, draw: str, read: str, needs: tuple[str, ...] = (), takes: tuple[str, ...] = (), *, where: str = "sources"
) -> PlotSpec:
    here = "touchstone.report.plots"
    return PlotSpec(f"{here}.{draw}", f"{here}.{where}:{read}", data, needs, takes)


_ONE_SET = ("datasets", "defenses", "attacks")


PLOTS: dict[str, PlotSpec] = {
    "weight-histogram": _of(MODELS, "weights:histogram", "weights", ("datasets", "defenses"), ("models",)),
    "weight-values": _of(MODELS, "weights:histogram_and_values", "weights", ("datasets", "defenses"), ("models",)),
    "rho-grid": _of(MODELS, "weights:rho_grid", "weights", ("datasets", "defenses"), ("models",)),
    "training-loss": _of(MODELS, "training:loss", "histories", ("datasets", "defenses"), ("models",)),
    "training-accuracy": _of(MODELS, "training:accuracy", "histories", ("datasets", "defenses"), ("models",)),
    "rho-density": _of(RECORDS, "density:density", "ratios", ("datasets", "defenses", "attacks"), ("models",)),
    "sweep": _of("cells", "sweeps:sweep", "swept", ("datasets", "defenses", "attacks", "along"), ("models",)),
    "worst-case": _of("cells", "robustness:security_curves", "table", takes=_KINDS),
    "heat-map": _of("cells", "robustness:heat_map", "table", takes=(*_KINDS, "attacks")),
    "selection": _of("selection", "selection:sensitivity", "table", takes=_KINDS),
    "gallery": _of(POINTS, "gallery:gallery", "gallery", _ONE_SET, ("models", "epsilon"), where="attacked"),
    "gallery-of-broken": _of(
        POINTS, "gallery:gallery", "broken", (*_ONE_SET, "samples"), ("models", "epsilon"), where="attacked"
    ),
    "gallery-of-targets": _of(POINTS, "gallery:gallery", "targets", _ONE_SET, ("models",), where="attacked"),
    "ranks": _of(RECORDS, "ranks:newly", "newly", _ONE_SET, ("models",), where="attacked"),
    "features": _of(
        FEATURES,
        "embedding:tsne",
        "features",
        ("datasets", "defenses", "samples"),
        ("models", "attacks", "epsilon"),
        where="features",
    ),
}
