"""Figures of the report. Data come in, a matplotlib Figure goes out; nothing here imports torch.

PLOTS names the drawing functions, READS the function that turns paths into their data. Both are plain tables,
so that a study is checked without importing matplotlib (0.3 s that the Snakefile need not pay).
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from touchstone.files import write_bytes
from touchstone.registry import load, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def draw(name: str, sources: dict[str, list[str]], **options: Any) -> "Figure":
    """Read the sources of a plot and draw it.

    Args:
        name: a key of PLOTS.
        sources: label -> paths. Weights and losses take the run directories
            `.../models/<dataset>/<model>/<defense>/<seed>` of each label, in the order of drawing; tables
            take one label with one CSV file.
        options: keyword arguments of the plot's function.

    Raises:
        ValueError: if there is no plot of that name.
    """
    if name not in PLOTS:
        raise ValueError(f"no plot named {name!r}; {nearest(name, PLOTS)}")
    return load(PLOTS[name])(load(READS[name])(sources), **options)


def save(figure: "Figure", path: str | Path) -> tuple[Path, Path]:
    """Write path.svg and path.png; the same figure gives the same bytes on every day.

    Args:
        figure: what a plot returned.
        path: without suffix; its folder is made if it is missing.

    Returns:
        The two paths written.
    """
    import matplotlib as mpl

    from touchstone.plots.style import STYLE

    svg, png = Path(f"{path}.svg"), Path(f"{path}.png")
    # ids of SVG elements come from the salt; date and version of the software would differ between machines
    with mpl.rc_context({**STYLE, "svg.hashsalt": "touchstone"}):
        for file, metadata in ((svg, {"Date": None, "Creator": None}), (png, {"Software": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=file.suffix[1:], metadata=metadata)
            write_bytes(file, buffer.getvalue())
    return svg, png
