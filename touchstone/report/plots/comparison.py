"""Two runs beside each other."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from touchstone.report.plots.style import Look, canvas, looks, say, styled


class Panel(NamedTuple):
    """How a measure is drawn: what a number is, by how much it is multiplied, and whether its axes are logarithmic."""

    words: str
    scale: float = 1.0
    log: bool = False


PANELS: Mapping[str, Panel] = {
    "accuracy": Panel("accuracy (%)", scale=100.0),
    "distance": Panel("median distance of minimal-norm attacks", log=True),
}


@styled
def runs(cells: pd.DataFrame, *, one: str, other: str) -> Figure:
    """Draw the number of every cell in one run against that in another, a panel per measure.

    Cells have the colour and form of their study; those that differ are filled. A cell on the line has the same number
    in both. One whose median is infinite, since more than half of its samples were not broken, is counted in the title.

    Args:
        cells: as `touchstone.findings.compare.Comparison.cells`.
        one: name of the first run.
        other: of the second.
    """
    figure, axes = canvas(1, len(PANELS), height=3.2)
    drawn = looks(cells["study"])
    for ax, (measure, panel) in zip(axes.ravel(), PANELS.items(), strict=True):
        _panel(ax, cells[cells["measure"] == measure], panel, drawn)
        ax.set_xlabel(f"first run: {one}")
        ax.set_ylabel(f"second run: {other}")
    handles = [
        Line2D([], [], ls="", markersize=4, marker=look.marker, color=look.colour, label=study)
        for study, look in drawn.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=max(1, len(handles)))
    return figure


def _panel(ax: Axes, cells: pd.DataFrame, panel: Panel, of_study: Mapping[str, Look]) -> None:
    values = panel.scale * cells[["one", "other"]]
    drawn = pd.Series(np.isfinite(values).all(axis=1), index=cells.index)
    left_out = int((~drawn).sum())
    title = f"{panel.words}\n{len(cells):,} cells, {int(cells['differs'].sum()):,} differ (filled)"
    ax.set_title(title + (f", {left_out:,} infinite" if left_out else ""))
    if not drawn.any():
        say(ax, "no cell of this measure is in both runs" if cells.empty else "no median is finite in both runs")
        return
    for study, (colour, marker, _) in of_study.items():
        for differs, face in ((False, "none"), (True, colour)):
            here = drawn & (cells["study"] == study) & (cells["differs"] == differs)
            ax.scatter(
                values["one"][here],
                values["other"][here],
                s=14,
                marker=marker,
                edgecolors=[colour],
                facecolors=face,
                lw=0.8,
            )
    if panel.log:
        ax.set(xscale="log", yscale="log")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter("{x:g}")
    ax.axline((1.0, 1.0), (2.0, 2.0), color="0.6", lw=0.6, zorder=0)
