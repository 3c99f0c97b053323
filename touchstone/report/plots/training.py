"""Training curves."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from touchstone.registry import nearest
from touchstone.report.plots.sources import Series, Weights
from touchstone.report.plots.style import canvas, colours, styled


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
    palette = colours(s.label for s in series)
    for ax, column in zip(axes[0], columns, strict=True):
        for one in series:
            colour = palette[one.label]
            curves = {seed: _column(one.label, run, column) for seed, run in one.runs.items()}
            finished = [curve for seed, curve in curves.items() if seed not in one.missing]
            if finished:
                length = min(map(len, finished))
                values = np.stack([curve[:length] for curve in finished])  # (seeds, epochs)
                epochs = np.arange(1, length + 1)
                name = f"{one.label} ({len(finished)} seed{'s' if len(finished) > 1 else ''})"
                ax.plot(epochs, values.mean(0), color=colour, label=name, marker="." if length < 30 else "")
                ax.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)
            for seed in one.missing:
                curve = curves.get(seed, np.empty(0))
                ax.plot(np.arange(1, len(curve) + 1), curve, color=colour, linestyle=":")
                ax.plot(len(curve), curve[-1], "x", color=colour) if len(curve) else None
            for note in one.notes:
                ax.plot([], [], ":x", color=colour, label=note)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_xlabel("epoch")
        ax.set_ylabel("training loss" if column == "loss" else f"training loss, term {column}")
        ax.legend()
    return figure


def _column(label: str, history: pd.DataFrame, column: str) -> Weights:
    if column not in history:
        raise ValueError(f"the history of {label!r} has no column {column!r}; {nearest(column, history.columns)}")
    return history[column].to_numpy(float)
