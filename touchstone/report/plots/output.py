"""From the name of a plot to its files."""

import io
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
from matplotlib.figure import Figure

from touchstone.files import write_bytes
from touchstone.registry import load, nearest
from touchstone.report.plots import PLOTS, READS
from touchstone.report.plots.sources import Sources
from touchstone.report.plots.style import STYLE


def draw(name: str, sources: Sources, **options: Any) -> Figure:
    """Read the sources of a plot and draw it.

    Args:
        name: a key of PLOTS.
        sources: label -> paths. Weights and losses take the folders of the trained models of each label, in the
            order of drawing; tables take one label with one CSV file.
        options: keyword arguments of the plot's function.

    Raises:
        ValueError: if there is no plot of that name.
    """
    if name not in PLOTS:
        raise ValueError(f"no plot named {name!r}; {nearest(name, PLOTS)}")
    return cast(Figure, load(PLOTS[name])(load(READS[name])(sources), **options))


def save(figure: Figure, path: str | Path) -> tuple[Path, Path]:
    """Write path.svg and path.png; the same figure gives the same bytes on every day.

    Args:
        figure: what a plot returned.
        path: without suffix; its folder is made if it is missing.

    Returns:
        The two paths written.
    """
    svg, png = Path(f"{path}.svg"), Path(f"{path}.png")
    # ids of SVG elements come from the salt; date and version of the software would differ between machines
    with mpl.rc_context({**STYLE, "svg.hashsalt": "touchstone"}):
        for file, metadata in ((svg, {"Date": None, "Creator": None}), (png, {"Software": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=file.suffix[1:], metadata=metadata)
            write_bytes(file, buffer.getvalue())
    return svg, png
