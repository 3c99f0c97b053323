"""Pictures: what attacks made of images, and what they changed in them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from touchstone.report.plots.style import PAGE, WIDTH, styled

Pixels = NDArray[np.floating[Any]]  # (C, H, W)
State = Literal["original", "broken", "not broken", "wrong before"]

SIDE, GAP = 0.5, 0.02  # of a picture, and between two, in inches
LABEL = 1.2  # inches, left of a row
SMALL = 5.5  # points
LINE = 1.25 * SMALL / 72  # inches
ROUNDING = 1e-3  # of pixels: a change of 0.1 in float32 is more than a tenth
FACTORS = [base * 10**power for power in range(4) for base in (1, 2, 5)]
KEY = (
    "Under an image: the class that it is taken for and its confidence, then its distance in pixels of [0, 1].\n"
    "Grey: what the attack changed, times the factor at the left; darker is less, lighter is more."
)


@dataclass(frozen=True)
class Picture:
    """An image, and what a model says of it.

    Attributes:
        pixels: (C, H, W) in [0, 1]; one channel or three.
        label: class that it is taken for; of an original its own.
        confidence: probability of that class; None where no model is asked, and nothing is written under it.
        change: (C, H, W), what an attack added; None for an original.
        distance: of the change in pixels, in the norm of its row; None for an original.
        state: broken by the attack, not broken, or taken for another class before it.
    """

    pixels: Pixels
    label: int
    confidence: float | None = None
    change: Pixels | None = None
    distance: float | None = None
    state: State = "original"


@dataclass(frozen=True)
class Row:
    """Pictures side by side.

    Attributes:
        label: what they have in common, in lines.
        pictures: one per column, None where there is none.
        missing: why there are none at all.
    """

    label: tuple[str, ...]
    pictures: tuple[Picture | None, ...] = ()
    missing: str = ""

    @property
    def factor(self) -> int:
        """By how much its changes can be magnified: 1, 2, 5, 10, ... so that the largest stays within [-1, 1]."""
        largest = max((float(np.abs(p.change).max()) for p in self.pictures if p and p.change is not None), default=0)
        return max((f for f in FACTORS if f * largest <= 1 + ROUNDING), default=1) if largest else 1

    @property
    def changed(self) -> bool:
        """Whether an attack changed anything in its pictures."""
        return any(p is not None and p.change is not None and bool(p.change.any()) for p in self.pictures)


@dataclass(frozen=True)
class Gallery:
    """Rows of pictures, one per column; columns: what is above each."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@styled
def gallery(shown: Gallery, *, changes: bool = True) -> Figure:
    """Draw images in rows, with what an attack changed in each below it.

    A change of 0 is mid-grey, in every channel; a magnified one of -1 is black and of 1 white.

    Args:
        shown: what is drawn.
        changes: whether to draw what the attacks changed.
    """
    key = KEY if changes else KEY.partition("\n")[0]
    around = LINE * (2 + key.count("\n"))
    side = _side(shown, changes, around)
    heights = [_height(row, side, changes) for row in shown.rows]
    total = around + sum(heights)
    figure = Figure(figsize=(WIDTH, total))
    ax = figure.add_axes((0, 0, 1, 1), frameon=False, xticks=[], yticks=[])  # its units are inches, downwards
    lefts = [LABEL + n * (side + GAP) for n in range(len(shown.columns))]
    for left, heading in zip(lefts, shown.columns, strict=True):
        ax.text(left + side / 2, LINE / 2, heading, ha="center", va="center", fontsize=SMALL)
    for row, top in zip(shown.rows, LINE + np.cumsum([0, *heights]), strict=False):
        _row(ax, row, top, lefts, side, changes)
    ax.text(LABEL, total - LINE / 2, key, ha="left", va="bottom", fontsize=SMALL, color="0.3")
    ax.set_xlim(0, WIDTH)
    ax.set_ylim(total, 0)
    return figure


def _side(shown: Gallery, changes: bool, around: float) -> float:
    """Return the side of a picture in inches, so that all of them fit on a page beside what else takes height there."""
    height = PAGE - around - sum(_height(row, 0, changes) for row in shown.rows)
    pictures = sum((2 if changes and row.changed else 1) for row in shown.rows if not row.missing)
    width = WIDTH - LABEL
    return min(SIDE, width / max(1, len(shown.columns)) - GAP, height / max(1, pictures))


def _height(row: Row, side: float, changes: bool) -> float:
    """Return the height of a row in inches."""
    if row.missing:
        return LINE * (1 + len(row.label))
    lines = max((len(_under(picture)) for picture in row.pictures if picture), default=0)
    return (2 * side + GAP if changes and row.changed else side) + LINE * (lines + 0.8)


def _row(ax: Axes, row: Row, top: float, lefts: Sequence[float], side: float, changes: bool) -> None:
    magnified = changes and row.changed
    label = "\n".join([*row.label, f"changes × {row.factor}"] if magnified else row.label)
    if row.missing:
        ax.text(LABEL, top, row.missing, ha="left", va="top", fontsize=SMALL, color="0.3", style="italic")
    ax.text(0, top, label, ha="left", va="top", fontsize=SMALL, linespacing=1.25)
    for left, picture in zip(lefts, row.pictures, strict=False):
        if picture is None:
            continue
        _show(ax, picture.pixels, left, top, side)
        bottom = top + side
        if magnified and picture.change is not None:
            _show(ax, 0.5 + row.factor * picture.change / 2, left, bottom + GAP, side)
            bottom += GAP + side
        text = "\n".join(_under(picture))
        ax.text(left + side / 2, bottom + LINE / 4, text, ha="center", va="top", fontsize=SMALL, linespacing=1.1)


def _show(ax: Axes, pixels: Pixels, left: float, top: float, side: float) -> None:
    image = np.clip(np.moveaxis(pixels, 0, -1), 0, 1)
    ax.imshow(
        image[..., 0] if image.shape[-1] == 1 else image,
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=(left, left + side, top + side, top),
        interpolation="nearest",
        aspect="auto",
    )


def _under(picture: Picture) -> list[str]:
    """Return the lines under a picture."""
    if picture.confidence is None:
        return []
    lines = [f"{picture.label}: {100 * picture.confidence:.0f} %"]
    if picture.distance is not None:
        far = f"{picture.distance:.3g}" if math.isfinite(picture.distance) else "-"
        lines.append(picture.state if picture.state == "not broken" else far)
    if picture.state == "wrong before":
        lines.append(picture.state)
    return lines
