"""Training curves."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from touchstone.registry import nearest
from touchstone.report.plots.sources import NOT_PART, Series, Weights
from touchstone.report.plots.style import Look, canvas, legend_above, looks, say_below, styled


@styled
def loss(series: list[Series[pd.DataFrame]], *, columns: Sequence[str] = ("loss",)) -> Figure:
    """Draw the training loss of each epoch: mean over seeds, with the range of the seeds as a band.

    A run that failed is drawn alone up to its last finite epoch, marked with a cross and named in the legend.

    Source: Shen et al. (2020), figure 3.

    Args:
        series: of histories, a row per epoch, with the columns to draw.
        columns: columns of the history, a panel each ("loss" is the objective, its terms have their own names).

    Raises:
        ValueError: if a history lacks a column.
    """
    figure, axes = canvas(1, len(columns), height=2.5)
    drawn = looks(one.label for one in series)
    for ax, column in zip(axes[0], columns, strict=True):
        for one in series:
            curves = {seed: _column(one.label, run, column) for seed, run in one.runs.items()}
            _curves(ax, one, curves, drawn[one.label], named=True)
        _by_epoch(ax)
        ax.set_ylabel("training loss" if column == "loss" else f"training loss, term {column}")
    legend_above(figure)
    return figure


KINDS = {"robust": "under attack", "clean": "clean"}  # in the words of a legend
PARTS = {"train": "training rows", "test": "test images"}


@styled
def accuracy(
    series: list[Series[pd.DataFrame]], *, kinds: Sequence[Literal["robust", "clean"]] = ("robust",)
) -> Figure:
    """Draw the accuracy that a monitor measured during trainings: a row of panels per dataset, training rows and test.

    Mean over seeds, with their range as a band, under the monitor's attack and, fainter and dotted, on clean images.

    Source: Xu et al. (2020), figures 4 and 7.

    Args:
        series: of histories with the columns of a monitor (`touchstone.jobs.probe.monitor`).
        kinds: which accuracies are drawn.

    Raises:
        ValueError: if a training was not watched.
    """
    named = dict.fromkeys(one.dataset for one in series)
    datasets = [*dict.fromkeys(one.dataset for one in series if one.runs)] or [*named]
    figure, axes = canvas(len(datasets), 2, height=2.3 * len(datasets) + 0.2, sharey=True)
    drawn = looks((one.label for one in series), {one.label: one.defense for one in series if one.label != one.model})
    for line, dataset in zip(axes, datasets, strict=True):
        for ax, (part, words) in zip(line, PARTS.items(), strict=True):
            for one in (one for one in series if one.dataset == dataset):
                for kind in kinds:
                    faint = kind == "clean"
                    curves = {s: 100 * _column(one.label, run, f"{part}_{kind}") for s, run in one.runs.items()}
                    look = drawn[one.label]._replace(dash=":") if faint else drawn[one.label]
                    _curves(ax, one, curves, look, named=not faint)
            _by_epoch(ax)
            ax.set_ylim(-3, 103)
            ax.set_title(f"{dataset}, {words}")
            ax.grid(axis="y")
        line[0].set_ylabel(f"accuracy (%)\n{', '.join(KINDS[kind] for kind in kinds)}")
    legend_above(figure)
    say_below(figure, [_lacks(one, series) for one in named if one not in datasets])
    return figure


def _lacks(dataset: str, series: Sequence[Series[pd.DataFrame]]) -> str:
    """Say why nothing is drawn on a dataset."""
    there = [one for one in series if one.dataset == dataset]
    reasons = {reason for one in there for reason in one.missing.values()}
    notes = [NOT_PART] if reasons == {NOT_PART} else [note for one in there for note in one.notes]
    return f"{dataset}: {'; '.join(notes)}"


def _curves(ax: Axes, one: Series[pd.DataFrame], curves: Mapping[str, Weights], look: Look, *, named: bool) -> None:
    """Draw what was measured of one kind of model after each epoch; epochs in which nothing was are left out."""
    finished = [curve for seed, curve in curves.items() if seed not in one.missing]
    if finished:
        length = min(map(len, finished))
        values = np.stack([curve[:length] for curve in finished])  # (seeds, epochs)
        there = np.isfinite(values).all(0)
        epochs = 1 + np.flatnonzero(there)
        name = f"{one.label} ({len(finished)} seed{'s' if len(finished) > 1 else ''})" if named else None
        marker = look.marker if len(epochs) < 30 else ""
        means, style = values[:, there].mean(0), {"color": look.colour, "linestyle": look.dash, "marker": marker}
        ax.plot(epochs, means, label=name, markersize=3, **style)
        low, high = values[:, there].min(0), values[:, there].max(0)
        ax.fill_between(epochs, low, high, color=look.colour, alpha=0.2, linewidth=0)
    for seed in one.missing:
        curve = curves.get(seed, np.empty(0))
        ends = np.flatnonzero(np.isfinite(curve))
        ax.plot(1 + ends, curve[ends], color=look.colour, linestyle=":")
        ax.plot(1 + ends[-1:], curve[ends[-1:]], "x", color=look.colour)
    for note in one.notes if named else ():
        ax.plot([], [], ":x", color=look.colour, label=note)


def _by_epoch(ax: Axes) -> None:
    if any(np.size(line.get_xdata()) for line in ax.lines):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        ax.set_xticks([])  # of no training
    ax.set_xlabel("epoch")


def _column(label: str, history: pd.DataFrame, column: str) -> Weights:
    if column not in history:
        raise ValueError(f"the history of {label!r} has no column {column!r}; {nearest(column, history.columns)}")
    return history[column].to_numpy(float)
