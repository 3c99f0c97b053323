"""Features of images in a plane."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from touchstone.report.plots.sources import NOT_PART
from touchstone.report.plots.style import canvas, say, say_below, styled

PALETTE = sns.color_palette("colorblind", 10)  # of classes, which are no defenses; in grey their digits tell them apart


@dataclass(frozen=True)
class Cloud:
    """Features of images of one kind of model.

    Attributes:
        label: which kind.
        missing: why there are none, "" if there are.
        plane: (n, 2), where they lie in the plane; of one net.
        classes: (n,), of the images.
        adversarial: (n,), which of them an attack made.
        silhouettes: of the features themselves, a number per net: of the clean points, and of all where there are
            adversarial ones.
    """

    label: str
    missing: str = ""
    plane: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 2), "f4"))
    classes: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, "i8"))
    adversarial: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, "?"))
    silhouettes: Mapping[str, Sequence[float]] = field(default_factory=dict)


@styled
def tsne(clouds: Sequence[Cloud]) -> Figure:
    """Draw features in the plane that t-SNE finds, each as the digit of its class, and how far classes are apart.

    Per kind of model a panel of clean points, and beside it, where there are any, one with the adversarial ones in
    black: digits of the class that the image is of. Both lie in one plane. Silhouettes are means over the nets, with
    their range; the plane is that of the first.

    Source: Li et al. (2021), figures 1 and 3; Xu et al. (2020), figure 3.

    Args:
        clouds: the kinds of models, in the order of drawing.
    """
    there = [cloud for cloud in clouds if cloud.missing != NOT_PART]
    lacking = [f"{cloud.label}: {cloud.missing}" for cloud in clouds if there and cloud.missing == NOT_PART]
    clouds = there or clouds
    both = any(cloud.adversarial.any() for cloud in clouds)
    columns = 2 if both else min(2 if len(clouds) % 2 == 0 else 3, max(1, len(clouds)))
    lines = len(clouds) if both else -(-len(clouds) // columns)
    high = 0.6 if all(cloud.missing for cloud in clouds) else 2.9 if columns == 2 else 2.3
    figure, axes = canvas(max(1, lines), columns, height=high * max(1, lines))
    for ax in axes.ravel():
        ax.set_axis_off()
    panels = [(cloud, attacked) for cloud in clouds for attacked in ((False, True) if both else (False,))]
    for ax, (cloud, attacked) in zip(axes.ravel(), panels, strict=False):
        _panel(ax, cloud, attacked)
    say_below(figure, lacking)
    if not clouds:
        say(axes[0, 0], "nothing to draw")
    return figure


def _panel(ax: Axes, cloud: Cloud, attacked: bool) -> None:
    what = "with adversarial points" if attacked else "clean points"
    if cloud.missing:
        ax.set_title(f"{cloud.label}: {what}")
        say(ax, cloud.missing)
        return
    for label in np.unique(cloud.classes):
        of_class, colour = cloud.classes == label, PALETTE[label % len(PALETTE)]
        digit: dict[str, Any] = {"linestyle": "", "marker": f"${label}$", "markeredgewidth": 0}
        clean = cloud.plane[of_class & ~cloud.adversarial]
        ax.plot(*clean.T, color=colour, markersize=3.5, alpha=0.45 if attacked else 1, **digit)
        if attacked:
            ax.plot(*cloud.plane[of_class & cloud.adversarial].T, color="black", markersize=3.5, **digit)
    kind = "all" if attacked else "clean"
    ax.set_title(f"{cloud.label}: {what}\n{_said(cloud.silhouettes[kind])}")


def _said(silhouettes: Sequence[float]) -> str:
    """Put silhouettes of nets into words."""
    if not len(silhouettes):
        return ""
    mean = f"silhouette {np.mean(silhouettes):.2f}"
    return mean if len(silhouettes) == 1 else f"{mean} ({min(silhouettes):.2f} to {max(silhouettes):.2f})"
