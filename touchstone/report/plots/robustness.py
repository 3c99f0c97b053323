"""Worst-case robustness curves."""

from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from touchstone.report.plots.style import MARKERS, canvas, colours, say, styled

PANEL = ["dataset", "attack"]  # one attack of the protocol `worst` per norm
NEEDED = [
    *[
        "dataset",
        "stand_in",
        "model",
        "defense",
        "seed",
        "attack",
        "norm",
        "epsilon",
        "metric",
        "value",
        "n",
        "status",
        "suite",
    ]
]


class Look(NamedTuple):
    """How the curve of one label looks."""

    colour: tuple[float, float, float]
    marker: str


@styled
def worst_case(cells: pd.DataFrame) -> Figure:
    """Draw worst-case accuracy against epsilon (pixels in [0, 1]), a panel per dataset and worst-case attack.

    Per label the mean over seeds, with the range of the seeds as a bar; a cell that is incomplete (a member of
    the worst-case list is missing) or failed has hollow markers and is named in the panel's title. The legend is
    headed by the suite of attacks.

    Args:
        cells: the table cells.csv, one row per measured number.

    Raises:
        ValueError: if columns are missing, or two rows measure the same cell.
    """
    lacking = [c for c in NEEDED if c not in cells]
    if lacking:
        raise ValueError(f"the table lacks {', '.join(lacking)}; it has {', '.join(cells.columns)}")
    rows = cells[cells["metric"] == "worst_accuracy"]
    _check_unique(rows)
    rows = rows.assign(label=_labels(rows))
    panels = list(rows.groupby(PANEL, sort=False))
    columns = min(2, max(1, len(panels)))
    lines = max(1, -(-len(panels) // columns))
    figure, axes = canvas(lines, columns, height=2.2 * lines + 0.3)
    for ax in axes.ravel()[len(panels) :]:
        ax.set_axis_off()
    if not panels:
        say(axes[0, 0], "no worst-case attack was run")
        return figure
    palette = colours(rows["label"])
    looks = {label: Look(colour, MARKERS[i % len(MARKERS)]) for i, (label, colour) in enumerate(palette.items())}
    for ax, (_, panel) in zip(axes.ravel(), panels, strict=False):
        _panel(ax, panel, looks)
    handles = [Line2D([], [], markersize=5, label=label, color=c, marker=m) for label, (c, m) in looks.items()]
    suites = "suite " + ", ".join(rows["suite"].unique())
    per_row = -(-len(handles) // -(-len(handles) // 5))
    figure.legend(handles=handles, title=suites, loc="outside upper center", ncols=per_row)
    return figure


def _panel(ax: Axes, panel: pd.DataFrame, looks: dict[str, Look]) -> None:
    notes: dict[str, list[str]] = {}
    for label in panel["label"].unique():
        rows = panel[panel["label"] == label]
        found = rows[rows["value"].notna()].groupby("epsilon")["value"].agg(["mean", "min", "max"])
        for status in rows["status"].unique():
            if status != "ok":
                notes.setdefault(status, []).append(label)
        ax.errorbar(
            found.index,
            100 * found["mean"],
            yerr=(100 * (found["mean"] - found["min"]), 100 * (found["max"] - found["mean"])),
            markersize=5,
            markerfacecolor="white" if rows["status"].ne("ok").any() else None,
            elinewidth=0.8,
            capsize=2,
            color=looks[label].colour,
            marker=looks[label].marker,
        )
    first = panel.iloc[0]
    data = f"{first['stand_in']} (for {first['dataset']})" if first["stand_in"] else first["dataset"]
    counted = panel["n"][panel["n"] > 0]
    low, high = counted.min(), counted.max()
    count = "0" if counted.empty else f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
    title = [f"{data}, {first['norm']}, n = {count} per seed"]
    ax.set_title("\n".join(title + [f"{status}: {', '.join(labels)}" for status, labels in notes.items()]))
    ax.set_xlabel("epsilon (pixels in [0, 1])")
    ax.set_ylabel("worst-case accuracy (%)")
    ax.set_ylim(-3, 103)
    ax.set_xlim(left=0)
    ax.grid(axis="y")


def _labels(rows: pd.DataFrame) -> pd.Series:
    """Name a curve by its defense, and by model and defense where there are several models."""
    several = rows["model"].nunique() > 1
    return rows["model"] + " " + rows["defense"] if several else rows["defense"]


def _check_unique(rows: pd.DataFrame) -> None:
    key = ["dataset", "model", "defense", "seed", "attack", "epsilon"]
    twice = rows[rows.duplicated(key, keep=False)]
    if len(twice):
        first = ", ".join(f"{k}={twice.iloc[0][k]}" for k in key)
        raise ValueError(f"{len(twice)} rows of worst_accuracy measure a cell twice, the first is {first}")
