"""Into which of the clean image's likeliest classes newly successful points fall."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from touchstone.findings.ranks import RANKS
from touchstone.report.plots.sources import Series
from touchstone.report.plots.style import canvas, in_units, looks, say, say_below, styled

NAMES = {f"rank{rank}": f"{rank}{'nd' if rank == 2 else 'rd' if rank == 3 else 'th'}" for rank in RANKS}
Handles = dict[str, Any]  # name -> artist, of a legend
HATCHES = ("", "////", "....", "xx")  # which tell the bars apart in grey


@styled
def newly(series: Sequence[Series[pd.DataFrame]]) -> Figure:
    """Draw, radius by radius, where newly successful points of an attack fall (bars), and how many there are (line).

    Mean over seeds, with the range of the seeds as whiskers; a panel per kind of model and attack.

    Source: Li et al. (2021), figure 2.

    Args:
        series: per kind of model and attack what `touchstone.findings.ranks.newly_successful` returns of each seed.
    """
    there = [one for one in series if one.runs]
    lines = -(-len(there) // 2)
    figure, axes = canvas(max(1, lines), min(2, max(1, len(there))), height=2.4 * lines + 0.3 + 0.14 * len(series))
    for ax in axes.ravel()[len(there) :]:
        ax.set_axis_off()
    missing = [f"{one.dataset}: {note}" for one in series if not one.runs for note in one.notes]
    if not there:
        say(axes[0, 0], "\n".join(missing) or "nothing to draw")
    else:
        say_below(figure, missing)
    handles: Handles = {}
    for number, (ax, one) in enumerate(zip(axes.ravel(), there, strict=False)):
        ax.set_title("\n".join([f"{one.dataset}: {one.label}", *one.gaps]))
        handles |= _panel(ax, list(one.runs.values()))
        ax.set_xlabel(in_units(one.space))
        if number % 2 == 0:
            ax.set_ylabel("share of the newly successful (%)")
    title = "share that falls in the clean image's nth most probable class"
    if handles:
        about: dict[str, Any] = {"title": title, "ncols": len(handles)}
        figure.legend(list(handles.values()), list(handles), loc="outside upper center", **about)
    return figure


def _panel(ax: Axes, runs: Sequence[pd.DataFrame]) -> Handles:
    """Draw one kind of model under one attack; return the handles of the legend by their names."""
    look, place, width = looks(NAMES), np.arange(len(runs[0])), 0.8 / len(NAMES)
    handles: Handles = {}
    for n, (column, name) in enumerate(NAMES.items()):
        middle, below, above = _over_seeds(100 * np.stack([run[column].to_numpy(float) for run in runs]))
        handles[name] = ax.bar(
            place + (n - (len(NAMES) - 1) / 2) * width,
            middle,
            width,
            yerr=None if len(runs) == 1 else (below, above),
            error_kw={"elinewidth": 0.6},
            color=look[column].colour,
            hatch=HATCHES[n],
            edgecolor="white",
            linewidth=0.3,
        )
    middle, below, above = _over_seeds(np.stack([run["new"].to_numpy(float) for run in runs]))
    other = ax.twinx()
    handles["newly successful (right axis)"] = other.errorbar(
        place,
        middle,
        yerr=None if len(runs) == 1 else (below, above),
        color="black",
        marker="o",
        markersize=3,
        elinewidth=0.6,
        clip_on=False,  # a count of 0 lies on the edge
    )
    other.set_ylabel("newly successful")
    other.set_ylim(bottom=0)
    other.spines["right"].set_visible(True)
    ax.set_ylim(0, 100)
    ax.set_xticks(place, [f"{radius:g}" for radius in runs[0]["epsilon"]], rotation=45)
    return handles


def _over_seeds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, and what minimum and maximum are below and above it, of values (seeds, radii); NaN where all are."""
    there = np.ma.masked_invalid(values)
    middle = there.mean(0)
    below, above = middle - there.min(0), there.max(0) - middle
    return middle.filled(np.nan), below.filled(np.nan), above.filled(np.nan)
