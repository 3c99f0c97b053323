"""One look for all figures, without pyplot's global state."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

P = ParamSpec("P")

STYLE: dict[Any, Any] = {  # of names that matplotlib's stubs list one by one
    **sns.axes_style("ticks"),
    "font.family": "DejaVu Sans",  # ships with matplotlib, so every machine draws the same letters
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.linewidth": 0.4,
    "lines.linewidth": 1.2,
    "savefig.dpi": 160,
    "svg.fonttype": "path",  # the PDF is made without system fonts
}
WIDTH = 6.3  # inches: the text width of the A4 report
MARKERS = "osD^vPX*"


def styled(plot: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a plot function under STYLE and leave matplotlib's settings as they were."""

    @wraps(plot)
    def run(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            return plot(*args, **kwargs)

    return run


def canvas(rows: int, columns: int, *, height: float, **kwargs: Any) -> tuple[Figure, np.ndarray]:
    """Return a figure of the report's text width and its (rows, columns) array of axes; height in inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def colours(labels: Iterable[str]) -> dict[str, tuple[float, float, float]]:
    """Give each label a colour that survives colour blindness, in order of appearance."""
    return {label: sns.color_palette("colorblind")[i % 10] for i, label in enumerate(dict.fromkeys(labels))}


def say(ax: Axes, text: str) -> None:
    """Write a sentence into the middle of empty axes, in place of data that do not exist."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="0.3", style="italic", wrap=True)
