"""One look for all figures, without pyplot's global state."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, NamedTuple, ParamSpec

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
LETTERS = 110  # that fit into a line of a legend
PAGE = 9.0  # inches: the height that a figure may have there
BLACK, GREY, ORANGE, SKY, GREEN, BLUE, RED, PURPLE = (
    *("#000000", "#7f7f7f", "#e69f00", "#56b4e9"),
    *("#009e73", "#0072b2", "#d55e00", "#cc79a7"),
)  # Okabe and Ito (2008), for all kinds of colour vision, and a grey
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)))


class Look(NamedTuple):
    """How one series is drawn, wherever it appears; in grey its dashes and marker tell it from others.

    Attributes:
        colour: of lines, bands, bars and markers.
        marker: of matplotlib.
        dash: a line style of matplotlib.
    """

    colour: str
    marker: str
    dash: Any


# A kind of defense has a colour and a marker in all studies, its variants differ in their dashes: each text here has
# those of one dash. What no study compares may look alike: `minmax`, `critic`, `pc` and `weightpen` are each what its
# own study is about.
_KINDS: dict[tuple[str, str], tuple[str, ...]] = {
    (BLACK, "o"): ("std plain ce", "plain+aug ce-warm"),
    (GREY, "v"): ("std+l1 dropout", "std+l2"),
    (RED, "s"): ("adv at-fgsm linf-at at-pgd ce+at", "l2-at madry-wrn ce+at-warm"),
    (SKY, "D"): ("vat vat-printed gce", "vat-coded gce+at", "gce+at-chen"),
    (GREEN, "^"): (
        "margin-l2-printed margin-ce-c1e-2",
        "margin-l1 margin-ce-c1e-3",
        "margin-l2-coded margin-ce-c5e-3+aug",
        "margin-l1-c1e-1 margin-ce-c1e-2+decay margin-ce-c1e-3+decay",
        "margin-l1-c1e-0 margin-hinge-c1e-2",
    ),
    (BLUE, "P"): (
        "minmax-printed pc-printed critic-mlp-printed critic-lenet-printed weightpen-printed",
        "minmax-coded pc-coded critic-mlp-coded critic-lenet-coded weightpen-coded",
        "pc+at-printed critic-mlp-random-target weightpen-wrn-printed",
        "pc+at-coded critic-mlp-label-everywhere weightpen-wrn-coded",
        "critic-mlp-no-cycle weightpen-unbounded",
    ),
    (PURPLE, "X"): ("mmc-printed", "mmc-coded"),
    (ORANGE, "*"): ("trades", "mart"),
}
LOOKS = {
    slug: Look(colour, marker, dash)
    for (colour, marker), variants in _KINDS.items()
    for dash, slugs in zip(DASHES, variants, strict=False)
    for slug in slugs.split()
}
# what has no place in the table, in order of appearance
OTHERS = tuple(map(Look, (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, GREY, BLACK), "osD^vPX*", (*DASHES, "-")))


def looks(names: Iterable[str], defenses: Mapping[str, str] | None = None) -> dict[str, Look]:
    """Return how each name is drawn: as the table says of its defense, the others in order of appearance.

    Args:
        names: of what is drawn.
        defenses: name -> the defense that it is of, where it is not that itself. Several of one defense share its
            colour and marker, and differ in their dashes.
    """
    found: dict[str, Look] = {}
    for name in dict.fromkeys(names):
        look = LOOKS.get((defenses or {}).get(name, name)) or OTHERS[len(found) % len(OTHERS)]
        again = sum((look.colour, look.marker) == (other.colour, other.marker) for other in found.values())
        taken = look in found.values()
        found[name] = look._replace(dash=DASHES[again % len(DASHES)]) if taken else look
    return found


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


def in_units(space: str) -> str:
    """Return what an axis of radii in a space is called."""
    return f"epsilon ({'pixels in [0, 1]' if space == 'pixel' else f'{space} values'})"


def legend_above(figure: Figure) -> None:
    """Name what the panels draw, each name once, in lines above them, where no curve is; nothing without names."""
    handles = {str(h.get_label()): h for ax in figure.axes for h in ax.get_legend_handles_labels()[0]}
    if handles:
        columns = max(1, LETTERS // (6 + max(map(len, handles))))
        figure.legend(handles=list(handles.values()), loc="outside upper center", ncols=columns, handlelength=3)


def say_below(figure: Figure, notes: Sequence[str]) -> None:
    """Write below a figure what it has no panel of, a line each; nothing without notes."""
    if notes:
        figure.supxlabel("\n".join(notes), fontsize="small", style="italic", color="0.3")


def say(ax: Axes, text: str) -> None:
    """Write a sentence into the middle of empty axes, in place of data that do not exist."""
    text = text.replace(": ", ":\n", 1)  # it has a panel's width
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="0.3", style="italic", wrap=True)
