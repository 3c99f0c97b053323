"""From the name of a plot to its files."""

import io
from collections.abc import Iterable
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


FORMS = {".svg": {"Date": None, "Creator": None}, ".png": {"Software": None}}  # suffix -> what would differ by the day


def save(figure: Figure, files: Iterable[str | Path]) -> None:
    """Write a figure; the same figure gives the same bytes on every day.

    Args:
        figure: what a plot returned.
        files: in which forms, by their suffixes of FORMS; missing folders are made.
    """
    # ids of SVG elements come from the salt; date and version of the software would differ between machines
    with mpl.rc_context({**STYLE, "svg.hashsalt": "touchstone"}):
        for file in map(Path, files):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=file.suffix[1:], metadata=FORMS[file.suffix])
            write_bytes(file, buffer.getvalue())
