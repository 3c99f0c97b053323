"""What an option of the defenses does: numbers against its value."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from touchstone.findings.tables import data_words
from touchstone.ranges import Positive
from touchstone.report.plots.numbers import Estimate, deviations, estimate
from touchstone.report.plots.sources import NOT_PART, Swept
from touchstone.report.plots.style import OTHERS, canvas, legend_above, say, say_below, styled
from touchstone.study.scale import METRICS


class Axis(NamedTuple):
    """One panel: on which dataset, along which option of the defenses, and of which metric."""

    dataset: str
    option: str
    metric: str


@styled
def sweep(swept: Swept, *, metrics: Sequence[str], sigmas: Positive | None = None) -> Figure:
    """Draw numbers against options of the defenses: a row of panels per dataset, a panel per option and metric.

    A curve per model and attack: the mean over seeds, with a band. Values that are not part of the run are named.

    Source: Matyasko (2020), figures 3.4 and 3.5; Xu et al. (2020), figures 5 and 6.

    Args:
        swept: cells, and the values of the options.
        metrics: what is drawn of each attack, in their order; one for all of them.
        sigmas: the band is so many standard deviations over seeds wide on each side; if not given, it is the 95 %
            interval of the mean, over seeds from three on and over samples else.

    Raises:
        ValueError: if there is neither one metric nor one for each attack.
    """
    if len(metrics) not in (1, len(swept.attacks)):
        raise ValueError(f"give one metric, or one for each of {', '.join(swept.attacks)}; got {', '.join(metrics)}")
    shown = dict(zip(swept.attacks, cycle(metrics), strict=False))
    kinds = [(option, metric) for option in swept.along for metric in dict.fromkeys(metrics)]
    there = {*swept.cells.loc[swept.cells["value"].notna(), "dataset"]}
    datasets = [one for one in swept.datasets if one in there] or [*swept.datasets]
    figure, axes = canvas(len(datasets), len(kinds), height=2.3 * len(datasets) + 0.3)
    for line, dataset in zip(axes, datasets, strict=True):
        for ax, (option, metric) in zip(line, kinds, strict=True):
            attacks = [attack for attack, one in shown.items() if one == metric]
            _panel(ax, swept, Axis(dataset, option, metric), attacks, sigmas)
    say_below(figure, [f"{dataset}: {NOT_PART}" for dataset in swept.datasets if dataset not in datasets])
    legend_above(figure)
    return figure


def _panel(ax: Axes, swept: Swept, axis: Axis, attacks: Sequence[str], sigmas: Positive | None) -> None:
    places, cells = swept.along[axis.option], swept.cells
    share = METRICS[axis.metric].sampling == "binomial"
    asked = (cells["dataset"] == axis.dataset) & (cells["metric"] == axis.metric) & cells["attack"].isin(attacks)
    rows = cells[asked & cells["defense"].isin(places) & cells["value"].notna()]
    rows = rows.assign(place=rows["defense"].map(places))
    ax.set_title(_title(axis.dataset, rows, places))
    ax.set_xlabel(axis.option)
    ax.set_ylabel(axis.metric.replace("_", " ") + (" (%)" if share else ""))
    if rows.empty:
        say(ax, NOT_PART)
        ax.set(xticks=[], yticks=[])
        return
    _scale(ax, sorted(places.values()))
    ax.grid(axis="y")
    models = list(dict.fromkeys(cells["model"]))
    for place, curve in rows.groupby(["model", "attack", "epsilon"], sort=False, dropna=False):
        model, attack, radius = map(str, place)
        name = " ".join([*([model] if len(models) > 1 else []), attack, *([] if radius == "nan" else [radius])])
        look = OTHERS[models.index(model) % len(OTHERS)]
        found = {float(str(x)): _number(seeds, sigmas, share=share) for x, seeds in curve.groupby("place")}
        means, lows, highs = (100 * np.array(ends) if share else ends for ends in zip(*found.values(), strict=True))
        dash = "--" if attack == "clean" else "-"
        ax.plot(list(found), means, dash, color=look.colour, marker=look.marker, markersize=4, label=name)
        ax.fill_between(list(found), lows, highs, color=look.colour, alpha=0.2, linewidth=0)


def _title(dataset: str, rows: pd.DataFrame, places: Mapping[str, float]) -> str:
    """Name the data, and the values that are missing of those that are not all missing."""
    stand_in = str(rows["stand_in"].iloc[0]) if len(rows) else ""
    missing = sorted(set(places.values()) - set(rows["place"])) if len(rows) else []
    lacking = [f"not part of this run: {', '.join(f'{value:g}' for value in missing)}"] if missing else []
    return "\n".join([data_words(dataset, stand_in), *lacking])


def _number(seeds: pd.DataFrame, sigmas: Positive | None, *, share: bool) -> Estimate:
    if sigmas is not None:
        return deviations(seeds["value"], sigmas)
    return estimate(seeds["value"], seeds["n"], share=share)


def _scale(ax: Axes, places: Sequence[float]) -> None:
    """Take a logarithm of what spans an order of magnitude; a zero stands left of the smallest."""
    positive = [place for place in places if place > 0]
    if not positive or max(positive) < 10 * min(positive):
        return
    if len(positive) == len(places):
        ax.set_xscale("log")
    else:
        ax.set_xscale("symlog", linthresh=min(positive), linscale=0.5)
    names = [f"{place:g}".replace("e-0", "e-") for place in places]
    ax.set_xticks(places, names, rotation=45 if len(places) > 5 else 0)
    ax.minorticks_off()
