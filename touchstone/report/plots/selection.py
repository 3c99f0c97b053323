"""How much the choice of an unstated constant matters."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from touchstone.findings.tables import data_words
from touchstone.report.plots.numbers import check_columns
from touchstone.report.plots.style import canvas, looks, say, styled

NEEDED = [
    *["dataset", "stand_in", "model", "defense", "candidate", "status"],
    *["validation_accuracy", "robust_accuracy", "selected"],
]
CURVES = {
    "validation_accuracy": ("validation accuracy", "o-"),
    "robust_accuracy": ("accuracy under the probe attack", "s--"),
}


@styled
def sensitivity(selection: pd.DataFrame) -> Figure:
    """Draw validation and robust accuracy of every candidate, a panel per dataset, model and defense.

    Candidates keep their order (weak to strong); the selected one has a grey band, a failed one a cross.

    Args:
        selection: the table selection.csv, one row per candidate; accuracies are fractions.

    Raises:
        ValueError: if columns are missing.
    """
    check_columns(selection, NEEDED)
    panels = list(selection.groupby(["dataset", "stand_in", "model", "defense"], sort=False))
    columns = min(3, max(1, len(panels)))
    lines = -(-len(panels) // columns) or 1
    figure, axes = canvas(lines, columns, height=2.5 * lines + 0.2, sharey=True)
    for ax in axes.ravel()[len(panels) :]:
        ax.set_axis_off()
    if not panels:
        say(axes[0, 0], "nothing had to be selected")
        return figure
    several = selection["model"].nunique() > 1
    for ax, (place, panel) in zip(axes.ravel(), panels, strict=False):
        _panel(ax, panel)
        dataset, stand_in, model, defense = map(str, place)
        whose = f"{model} {defense}" if several else defense
        ax.set_title(f"{whose}\n{data_words(dataset, stand_in)}")
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _panel(ax: Axes, panel: pd.DataFrame) -> None:
    x = np.arange(len(panel))
    drawn = looks(CURVES)
    for column, (name, line) in CURVES.items():
        ax.plot(x, 100 * panel[column].to_numpy(float), line, color=drawn[column].colour, markersize=3.5, label=name)
    failed = panel["status"].ne("ok").to_numpy()
    ax.plot(x[failed], np.zeros(failed.sum()), "x", color="0.2", label="failed")
    for index in x[panel["selected"].astype(bool).to_numpy()]:
        ax.axvspan(index - 0.4, index + 0.4, color="0.88", linewidth=0, zorder=0)
    ax.fill_between([], [], color="0.88", label="selected")
    ax.set_xticks(x, panel["candidate"].astype(str), rotation=45, ha="right", fontsize=6)
    ax.set_ylim(-3, 103)
    ax.grid(axis="y")
