"""How far the single images of a test set are from being broken."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from touchstone.ranges import Positive
from touchstone.report.plots.sources import Series, Weights
from touchstone.report.plots.style import Look, canvas, looks, say, styled

POINTS, EVERY = 256, 20  # at which a density is drawn; of which one has a marker
ROOM = 1.5  # height of the axis beside that of the highest density: a legend stands above the curves
SHOWN = 0.995  # share of the images that the axis holds, of the defense with the largest ratios


@styled
def density(
    series: list[Series[Weights]], *, panels: Mapping[str, Sequence[str]] | None = None, mark: Positive | None = None
) -> Figure:
    """Draw the density over images of ||r|| / ||x||: a curve per defense, a panel per model or group of them.

    Kernel density estimate over the images of all seeds together, with a Gaussian kernel of Scott's bandwidth.

    Source: Matyasko (2020), figure 3.6.

    Args:
        series: of ratios, one per image.
        panels: heading -> models that share a panel; if not given, each model has its own.
        mark: a ratio; the share of the images below it is said of each curve.
    """
    groups = panels or {model: [model] for model in dict.fromkeys(one.model for one in series)}
    figure, axes = canvas(1, len(groups), height=3.0, sharex=True, sharey=True)
    drawn = looks(one.defense for one in series)
    ratios = [np.concatenate(list(one.runs.values())) for one in series if one.runs]
    right = max((float(np.quantile(found, SHOWN)) for found in ratios if len(found)), default=1.0)
    for ax, (heading, models) in zip(axes[0], groups.items(), strict=True):
        shown = [one for one in series if one.model in models]
        for one in shown:
            _curve(ax, one, drawn[one.defense], np.linspace(0.0, right, POINTS), mark)
        if mark is not None:
            ax.axvline(mark, color="0.6", linewidth=0.6, zorder=0)
        ax.set_title(heading)
        ax.set_xlabel("||r|| / ||x|| of an image")
        ax.set_xlim(0.0, right)
        if shown:
            ax.legend(loc="upper right", fontsize=6)
        else:
            say(ax, "not part of this run")
    axes[0, 0].set_ylim(0.0, ROOM * max(ax.dataLim.y1 for ax in axes[0]))
    axes[0, 0].set_ylabel("density over images")
    return figure


def _curve(ax: Axes, one: Series[Weights], look: Look, grid: Weights, mark: Positive | None) -> None:
    if not one.runs:
        for note in one.notes:
            _line(ax, np.empty(0), np.empty(0), look, note)
        return
    ratios = np.concatenate(list(one.runs.values()))
    below = "" if mark is None else f", {(ratios < mark).mean():.1%} below {mark:g}"
    name = f"{one.defense} ({len(one.runs)} seed{'s' if len(one.runs) > 1 else ''}{below})"
    name = "; ".join([name, *one.gaps])
    if len(np.unique(ratios)) < 2:  # a kernel has no width there
        _line(ax, np.empty(0), np.empty(0), look, f"{name}: too few images")
        return
    _line(ax, grid, gaussian_kde(ratios)(grid), look, name)


def _line(ax: Axes, x: Weights, y: Weights, look: Look, name: str) -> None:
    """Draw a curve with few markers, which stand elsewhere than those of the curves before it."""
    (curve,) = ax.plot(x, y, color=look.colour, linestyle=look.dash, label=name)
    curve.set(marker=look.marker, markersize=3, markevery=(3 * len(ax.lines) % EVERY, EVERY))
