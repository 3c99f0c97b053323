"""From the name of a plot to its files."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import matplotlib as mpl
from matplotlib.figure import Figure

from touchstone.files import write_bytes
from touchstone.paths import Results
from touchstone.plan.jobs import Drawing
from touchstone.registry import load, nearest, options
from touchstone.report.plots import PLOTS
from touchstone.report.plots.style import STYLE


def draw(drawing: Drawing, results: Results) -> Figure:
    """Read what a figure shows, and draw it.

    Raises:
        ValueError: if there is no plot of its name.
    """
    if drawing.plot not in PLOTS:
        raise ValueError(f"no plot named {drawing.plot!r}; {nearest(drawing.plot, PLOTS)}")
    plot, given = PLOTS[drawing.plot], drawing.options
    of_reader = {name: value for name, value in given.items() if name in options(plot.read)}
    rest = {name: value for name, value in given.items() if name not in of_reader}
    return cast(Figure, load(plot.fn)(load(plot.read)(drawing, results, **of_reader), **rest))


# form -> what would differ by the day
METADATA: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def save(figure: Figure, files: Iterable[str | Path]) -> None:
    """Write a figure; the same figure gives the same bytes on every day.

    Args:
        figure: what a plot returned.
        files: in which forms, by their suffixes of METADATA; missing folders are made.
    """
    # ids of SVG elements come from the salt; date and version of the software would differ between machines
    with mpl.rc_context({**STYLE, "svg.hashsalt": "touchstone"}):
        for file in map(Path, files):
            buffer, form = io.BytesIO(), file.suffix[1:]
            figure.savefig(buffer, format=form, metadata=METADATA[form])
            write_bytes(file, buffer.getvalue())
