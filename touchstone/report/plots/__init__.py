"""Figures of the report. Data come in, a matplotlib Figure goes out; nothing here imports torch.

PLOTS is a plain table, so that a study is checked without importing matplotlib (0.3 s that the Snakefile need not pay).
"""

from touchstone.registry import PlotSpec

# what a plot reads that is no table of results
MODELS, ATTACKS, EXAMPLES, FEATURES = "models", "attacks", "examples", "features"
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
    "worst-case": _of("cells", "robustness:worst_case", "table", takes=_KINDS),
    "selection": _of("selection", "selection:sensitivity", "table", takes=_KINDS),
    "gallery": _of(EXAMPLES, "gallery:gallery", "gallery", _ONE_SET, ("models", "epsilon"), where="attacked"),
    "gallery-of-targets": _of(EXAMPLES, "gallery:gallery", "targets", _ONE_SET, ("models",), where="attacked"),
    "ranks": _of(ATTACKS, "ranks:newly", "newly", _ONE_SET, ("models",), where="attacked"),
    "features": _of(
        FEATURES,
        "embedding:tsne",
        "features",
        ("datasets", "defenses", "samples"),
        ("models", "attacks", "epsilon"),
        where="features",
    ),
}
