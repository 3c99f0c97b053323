"""Features in a plane: every point is there, adversarial ones apart, silhouettes in words."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from touchstone.report.plots.embedding import Cloud, tsne

PLANE = np.arange(12, dtype="f4").reshape(6, 2)
CLASSES = np.array([0, 0, 7, 7, 0, 7])
MADE = np.array([False] * 4 + [True] * 2)


def cloud(adversarial: np.ndarray) -> Cloud:
    return Cloud("ce", "", PLANE, CLASSES, adversarial, {"clean": [0.25, 0.5], "all": [0.125]})


def titles(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes]


def drawn(ax: Axes, colour: str | None = None) -> dict[str, int]:
    lines = [line for line in ax.lines if colour is None or line.get_color() == colour]
    return {str(line.get_marker()): len(line.get_xdata()) for line in lines}


def test_clean_points_and_beside_them_the_adversarial_ones_in_black() -> None:
    figure = tsne([cloud(MADE)])
    clean, both = figure.axes
    assert drawn(clean) == {"$0$": 2, "$7$": 2}
    assert drawn(both, "black") == {"$0$": 1, "$7$": 1}
    assert titles(figure) == [
        "ce: clean points\nsilhouette 0.38 (0.25 to 0.50)",
        "ce: with adversarial points\nsilhouette 0.12",
    ]


def test_without_adversarial_points_a_kind_has_one_panel_and_a_failed_one_says_so() -> None:
    figure = tsne([cloud(np.zeros(6, "?")), Cloud("pc", "failed in epoch 3")])
    assert titles(figure) == ["ce: clean points\nsilhouette 0.38 (0.25 to 0.50)", "pc: clean points"]
    assert "failed in epoch 3" in [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.parametrize("clouds", [[], [Cloud("pc", "not part of this run")]])
def test_nothing_to_draw_is_said(clouds: list[Cloud]) -> None:
    said = [text.get_text() for text in tsne(clouds).findobj(Text)]
    assert (clouds[0].missing if clouds else "nothing to draw") in said
