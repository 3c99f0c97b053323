"""How robust the nets are: accuracy in the worst case against the radius, and under each attack."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from touchstone.findings.cells import WORST
from touchstone.findings.tables import NORMS, data_words
from touchstone.report.plots.numbers import check_columns, estimate
from touchstone.report.plots.style import PAGE, Look, canvas, in_units, looks, say, styled

PANEL = ["dataset", "stand_in", "model", "norm", "suite"]
KEY = ["dataset", "model", "defense", "seed", "attack", "epsilon"]
NEEDED = [*KEY, "stand_in", "protocol", "norm", "metric", "value", "n", "status", "suite"]
WIDEST = 14  # columns of a heat map that stand side by side
_PLACES = {norm: place for place, norm in enumerate(["none", *(norm for norm in NORMS if norm != "none")])}


@styled
def security_curves(cells: pd.DataFrame) -> Figure:
    """Draw worst-case accuracy against epsilon (pixels in [0, 1]), a panel per dataset, model and norm.

    Per defense the mean over seeds with its 95 % interval, over seeds from three on and over samples else, from the
    accuracy on clean images at 0. A curve of which a cell is incomplete (a member of the suite is missing) or failed
    has hollow markers and is named in the panel's title. The legend is headed by the suite of attacks.

    Args:
        cells: the table cells.csv, one row per measured number.

    Raises:
        ValueError: if columns are missing, or two rows measure the same cell.
    """
    check_columns(cells, NEEDED)
    rows = cells[cells["metric"] == WORST].sort_values("norm", key=lambda norms: norms.map(_PLACES), kind="stable")
    check_unique(rows)
    panels = list(rows.groupby(PANEL, sort=False))
    columns = 2 if len(panels) <= 8 else 3
    lines = max(1, -(-len(panels) // columns))
    figure, axes = canvas(lines, min(columns, max(1, len(panels))), height=min(2.2 * lines + 0.3, PAGE))
    for ax in axes.ravel()[len(panels) :]:
        ax.set_axis_off()
    if not panels:
        say(axes[0, 0], "no worst-case attack was run")
        return figure
    clean = cells[(cells["metric"] == "accuracy") & (cells["attack"] == "clean")]
    drawn = looks(rows["defense"])
    for ax, (_, panel) in zip(axes.ravel(), panels, strict=False):
        first = panel.iloc[0]
        here = clean[(clean["dataset"] == first["dataset"]) & (clean["model"] == first["model"])]
        _curves(ax, panel, here.assign(epsilon=0.0), drawn)
    handles = [
        Line2D([], [], markersize=5, label=name, color=look.colour, marker=look.marker, linestyle=look.dash)
        for name, look in drawn.items()
    ]
    per_row = -(-len(handles) // -(-len(handles) // 5))
    suites = "suite " + ", ".join(rows["suite"].unique())
    figure.legend(handles=handles, title=suites, loc="outside upper center", ncols=per_row, handlelength=3)
    return figure


def _curves(ax: Axes, panel: pd.DataFrame, clean: pd.DataFrame, drawn: dict[str, Look]) -> None:
    notes: dict[str, list[str]] = {}
    for defense in panel["defense"].unique():
        rows = panel[panel["defense"] == defense]
        begins = clean[clean["defense"] == defense] if rows["epsilon"].min() > 0 else clean.head(0)
        found = {
            radius: estimate(seeds["value"], seeds["n"], share=True)
            for radius, seeds in pd.concat([begins, rows]).groupby("epsilon")
            if seeds["value"].notna().any()
        }
        for status in rows["status"].unique():
            if status != "ok":
                notes.setdefault(status, []).append(defense)
        means = np.array([one.mean for one in found.values()])
        ends = np.array([(one.mean - one.low, one.high - one.mean) for one in found.values()]).reshape(-1, 2)
        look = drawn[defense]
        ax.errorbar(
            list(found),
            100 * means,
            yerr=100 * ends.T,
            markersize=4,
            markerfacecolor="white" if rows["status"].ne("ok").any() else None,
            elinewidth=0.8,
            capsize=2,
            color=look.colour,
            marker=look.marker,
            linestyle=look.dash,
        )
    first = panel.iloc[0]
    counted = panel["n"][panel["n"] > 0]
    low, high = counted.min(), counted.max()
    count = "0" if counted.empty else f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
    title = [f"{data_words(first['dataset'], first['stand_in'])}, {first['model']}", f"{first['norm']}, n = {count}"]
    ax.set_title("\n".join(title + [f"{status}: {', '.join(whose)}" for status, whose in notes.items()]))
    ax.set_xlabel(in_units("pixel"))
    ax.set_ylabel("worst-case accuracy (%)")
    ax.set_ylim(-3, 103)
    ax.set_xlim(left=0)
    ax.grid(axis="y")


@styled
def heat_map(cells: pd.DataFrame) -> Figure:
    """Draw the accuracy of every net under every attack, worst cases included, dark where it falls.

    A row is a net, a column an attack at the middle one of its radii on that net (the lower of two), which stands
    beside its name where all nets share it, ∞ for an attack that may go as far as it likes. The mean over seeds is
    written into each cell.

    Args:
        cells: the table cells.csv.

    Raises:
        ValueError: if columns are missing, or two rows measure the same cell.
    """
    check_columns(cells, NEEDED)
    rows = cells[((cells["metric"] == "accuracy") & (cells["protocol"] == "published")) | (cells["metric"] == WORST)]
    rows = rows[rows["value"].notna()]
    check_unique(rows)
    blocks = [block for _, data in rows.groupby(["dataset", "stand_in"], sort=False) for block in _blocks(data)]
    heights = [0.9 + 0.2 * len(block) for _, block in blocks] or [1.0]
    scale = min(1.0, PAGE / sum(heights))
    ratios = {"height_ratios": heights}
    figure, axes = canvas(len(heights), 1, height=scale * sum(heights), gridspec_kw=ratios)
    if not blocks:
        say(axes[0, 0], "no attack was run")
    for ax, (title, block) in zip(axes[:, 0], blocks, strict=False):
        _heat(ax, 100 * block)
        ax.set_title(title)
    if blocks:
        figure.colorbar(axes[0, 0].images[0], ax=list(axes[:, 0]), label="accuracy (%)", aspect=20)
    return figure


def _blocks(data: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the title and the table (nets, attacks) of each part of the nets on one dataset."""
    whose = data["model"] + " " + data["defense"] if data["model"].nunique() > 1 else data["defense"]
    shown = _middle(data.assign(net=whose, worst=data["protocol"] == "worst", place=data["norm"].map(_PLACES)))
    table = shown.pivot_table(index="net", columns="attack", values="value", sort=False)
    names = list(dict.fromkeys(shown.sort_values(["place", "worst"], kind="stable")["attack"]))
    table = table.reindex(index=list(dict.fromkeys(whose)), columns=names)
    radii = shown.groupby("attack")["epsilon"].unique()
    table.columns = pd.Index([_column(name, radii[name]) for name in names])
    first = data.iloc[0]
    title = data_words(first["dataset"], first["stand_in"])
    return [(title, table.iloc[:, at : at + WIDEST]) for at in range(0, len(names), WIDEST)]


def _middle(data: pd.DataFrame) -> pd.DataFrame:
    """Return the means over seeds at the middle radius of each attack on each net; without one where it has none."""
    kind = ["net", "attack"]
    means = data.groupby([*kind, "place", "worst", "epsilon"], sort=False, dropna=False)["value"].mean().reset_index()
    radii = means.groupby(kind)["epsilon"].transform("count")
    rising = means[means["epsilon"].notna() | (radii == 0)].sort_values("epsilon", kind="stable")
    groups = rising.groupby(kind)
    middle: pd.DataFrame = rising[groups.cumcount() == (groups["value"].transform("size") - 1) // 2]
    return middle.sort_index()


def _column(attack: str, radii: Sequence[float]) -> str:
    """Name an attack with its radius: none if it moves nothing or the nets have their own, ∞ if it has none."""
    if attack == "clean" or len(radii) > 1:
        return attack
    return f"{attack} {'∞' if np.isnan(radii[0]) else f'{radii[0]:.3g}'}"


def _heat(ax: Axes, table: pd.DataFrame) -> None:
    values = table.to_numpy(float)
    ax.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    ax.set_xticks(range(values.shape[1]), list(table.columns), rotation=45, ha="right", fontsize=6)
    ax.set_yticks(range(values.shape[0]), list(table.index))
    ax.tick_params(length=0)
    for (row, column), value in np.ndenumerate(values):
        text, dark = ("–", False) if np.isnan(value) else (f"{value:.0f}", value <= 55)
        ax.text(column, row, text, ha="center", va="center", fontsize=6, color="white" if dark else "black")


def check_unique(rows: pd.DataFrame) -> None:
    """Raise ValueError where two rows measure one cell."""
    twice = rows[rows.duplicated([*KEY, "metric"], keep=False)]
    if len(twice):
        first = ", ".join(f"{k}={twice.iloc[0][k]}" for k in KEY)
        metric = twice.iloc[0]["metric"]
        raise ValueError(f"{len(twice)} rows of {metric} measure a cell twice, the first is {first}")
