"""Bars of shares and a line of counts, compared with numbers made here."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from touchstone.report.plots.ranks import newly
from touchstone.report.plots.sources import Series


def run(new: list[int], second: list[float]) -> pd.DataFrame:
    other = [np.nan if np.isnan(value) else 0.1 for value in second]
    return pd.DataFrame(
        {"epsilon": [0.1, 0.2], "new": new, "rank2": second, **dict.fromkeys(("rank3", "rank4", "rank5"), other)}
    )


def series(**runs: pd.DataFrame) -> Series[pd.DataFrame]:
    missing = {} if runs else {"-": "not part of this run"}
    return Series("ce, fgsm", "mnist", "ce", "lenet5", runs, missing)


def test_bars_are_means_over_seeds_with_their_range_and_a_seed_without_new_ones_has_no_share() -> None:
    figure = newly([series(a=run([4, 0], [0.5, np.nan]), b=run([8, 2], [0.7, 0.9]))])
    shares, counts = figure.axes
    heights = [bar.get_height() for bar in shares.patches]
    assert heights[:2] == pytest.approx([60, 90])
    assert heights[2:] == pytest.approx([10] * 6)
    assert counts.lines[0].get_ydata() == pytest.approx([6, 1])
    whiskers = [segment for line in shares.collections for segment in line.get_segments()]
    assert whiskers[0][:, 1] == pytest.approx([50, 70])
    assert [label.get_text() for label in shares.get_xticklabels()] == ["0.1", "0.2"]
    assert shares.get_xlabel() == "epsilon (pixels in [0, 1])"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "2nd",
        "3rd",
        "4th",
        "5th",
        "newly successful (right axis)",
    ]


@pytest.mark.parametrize(
    ("drawn", "said"), [([], "nothing to draw"), ([series()], "mnist:\nce, fgsm: not part of this run")]
)
def test_nothing_to_draw_is_said(drawn: list[Series[pd.DataFrame]], said: str) -> None:
    figure = newly(drawn)
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert said in texts


def test_radii_have_the_unit_of_their_space() -> None:
    figure = newly([replace(series(a=run([4, 2], [0.5, 0.5])), space="normalized")])
    assert figure.axes[0].get_xlabel() == "epsilon (normalized values)"


def test_what_was_not_run_takes_no_panel_but_is_said() -> None:
    figure = newly([series(a=run([4, 2], [0.5, 0.5])), series()])
    assert [ax.get_title() for ax in figure.axes] == ["mnist: ce, fgsm", ""], "the panel and its right axis"
    assert figure.get_supxlabel() == "mnist: ce, fgsm: not part of this run"
