"""Weights of a convolution: how they are distributed, where they lie, how far they are from 0 and from infinity."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from touchstone.findings.weights import EXTREME, rho_extreme
from touchstone.findings.weights import near_zero as share_near_zero
from touchstone.ranges import NotNegative, Positive
from touchstone.report.plots.sources import Series, Weights
from touchstone.report.plots.style import canvas, looks, say, styled

BINS = 41  # odd: the middle bin is centred on zero
COUNT = "weights per model"


@styled
def histogram(series: list[Series[Weights]], *, near_zero: Positive = 0.01) -> Figure:
    """Draw the distribution of the weights, a panel per label, counts averaged over seeds.

    Source: Shen et al. (2020), figures 4 and 5.

    Args:
        series: of arrays of any shape.
        near_zero: threshold t > 0; the share of weights with |w| < t is printed in each panel.
    """
    figure, axes = canvas(1, len(series), height=2.1, sharex=True, sharey=True)
    edges, drawn = _edges(series), looks(s.label for s in series)
    for ax, one in zip(axes[0], series, strict=True):
        _histogram(ax, one, edges, drawn[one.label].colour, near_zero)
    axes[0, 0].set_ylabel(COUNT)
    return figure


@styled
def histogram_and_values(series: list[Series[Weights]], *, near_zero: Positive = 0.01) -> Figure:
    """Draw, a row per label, (a) the distribution of the weights and (b) their values in order of position.

    Source: Shen et al. (2020), figure 2. Column (b) shows the first seed that finished, since positions
    of different seeds have nothing in common.

    Args:
        series: of weight arrays (out, in, kernel, kernel).
        near_zero: threshold of the share printed in (a), > 0.
    """
    figure, axes = canvas(len(series), 2, height=1.7 * len(series), sharex="col", sharey="col")
    edges, drawn = _edges(series), looks(s.label for s in series)
    for (left, right), one in zip(axes, series, strict=True):
        _histogram(left, one, edges, drawn[one.label].colour, near_zero)
        left.set_ylabel(COUNT)
        left.label_outer()
        right.set_ylabel("weight")
        if not one.runs:
            say(right, "\n".join(one.notes))
            continue
        seed, values = next(iter(one.runs.items()))
        right.vlines(np.arange(values.size), 0, values.ravel(), color=drawn[one.label].colour, linewidth=0.8)
        right.axhline(0, color="0.5", linewidth=0.5)
        right.set_title(f"{one.label}, seed {seed}")
    for ax, letter in zip(axes[0], "ab", strict=True):
        ax.set_title(f"({letter})  {ax.get_title()}")
    axes[-1, 1].set_xlabel("position of the weight")
    return figure


@styled
def rho_grid(series: list[Series[Weights]], *, margin: NotNegative = EXTREME) -> Figure:
    """Draw rho = 1 / (1 + |w|) of every weight, a panel per label: filters side by side, input channels below.

    Source: Shen et al. (2020), eq. 15 and figure 6. The first seed that finished is shown.

    Args:
        series: of weight arrays (out, in, kernel, kernel).
        margin: the share of weights with rho < margin or rho > 1 - margin is printed, 0 < margin < 0.5.
    """
    figure, axes = canvas(len(series), 1, height=_grid_height(series))
    for ax, one in zip(axes[:, 0], series, strict=True):
        if not one.runs:
            say(ax, "\n".join(one.notes))
            ax.set_axis_off()
            continue
        seed, values = next(iter(one.runs.items()))
        extreme = rho_extreme(values, margin)
        sns.heatmap(
            _tiles(1 / (1 + np.abs(values))),
            ax=ax,
            vmin=0,
            vmax=1,
            cmap="cividis",
            square=True,
            cbar=False,
            xticklabels=False,
            yticklabels=False,
        )
        ax.set_title(f"{one.label}, seed {seed}: {extreme:.0%} of the weights within {margin:g} of 0 or 1")
    meshes = [ax.collections[0] for ax in axes[:, 0] if ax.collections]
    if meshes:
        figure.colorbar(meshes[0], ax=list(axes[:, 0]), label="ρ = 1 / (1 + |w|)", shrink=0.8, aspect=30)
    return figure


def _edges(series: list[Series[Weights]]) -> Weights:
    """Return BINS + 1 edges, symmetric about zero, that hold every weight of every label."""
    largest = max((np.abs(v).max() for one in series for v in one.runs.values()), default=1.0)
    return np.linspace(-1, 1, BINS + 1) * (largest or 1.0)


def _histogram(ax: Axes, one: Series[Weights], edges: Weights, colour: str, near_zero: Positive) -> None:
    ax.set_xlabel("weight")
    if not one.runs:
        ax.set_title(one.label)
        say(ax, "\n".join(one.notes))
        return
    values = np.concatenate([v.ravel() for v in one.runs.values()])
    frame = pd.DataFrame({"weight": values, "share": 1 / len(one.runs)})
    sns.histplot(frame, x="weight", weights="share", bins=list(edges), ax=ax, color=colour, linewidth=0.2)
    ax.set_ylabel("")
    ax.set_yscale("symlog", linthresh=1)  # one bin holds nearly all weights of some models; 0 is a count too
    ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_major_locator(MaxNLocator(5))
    seeds = f"{len(one.runs)} seed{'s' if len(one.runs) > 1 else ''}"
    near = f"|w| < {near_zero:g}: {share_near_zero(values, near_zero):.1%}"
    ax.set_title("\n".join([f"{one.label} ({seeds})", near, *one.gaps]))


def _tiles(values: Weights) -> Weights:
    """Lay (out, in, k, k) out as one (in * (k + 1) - 1, out * (k + 1) - 1) image with gaps of nan between kernels."""
    out, channels, height, width = values.shape
    image = np.full((channels, height + 1, out, width + 1), np.nan)
    image[:, :height, :, :width] = values.transpose(1, 2, 0, 3)
    return image.reshape(channels * (height + 1), out * (width + 1))[:-1, :-1]


def _grid_height(series: list[Series[Weights]]) -> float:
    """Return the figure's height in inches for which square weights fill the width (bounded for one-channel nets)."""
    shapes = [v.shape for one in series for v in one.runs.values()]
    if not shapes:
        return 1.0 * len(series)
    out, channels, height, width = shapes[0]
    return float(len(series) * (0.4 + min(2.4, 5.0 * channels * (height + 1) / (out * (width + 1)))))
