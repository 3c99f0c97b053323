"""The picture of two runs."""

import numpy as np
import pandas as pd

from touchstone.report.plots.comparison import runs

CELLS = pd.DataFrame(
    [
        ("minmax", "accuracy", 0.5, 0.6, False),
        ("critic", "accuracy", 0.1, 0.9, True),
        ("critic", "distance", 0.2, np.inf, True),
        ("critic", "distance", 0.2, 0.3, False),
    ],
    columns=["study", "measure", "one", "other", "differs"],
)


def test_a_panel_per_measure_says_how_many_differ() -> None:
    left, right = runs(CELLS, one="a", other="b").axes
    assert left.get_title() == "accuracy (%)\n2 cells, 1 differ (filled)"
    assert right.get_title() == "median distance of minimal-norm attacks\n2 cells, 1 differ (filled), 1 infinite"
    assert (left.get_xlabel(), left.get_ylabel()) == ("first run: a", "second run: b")
    drawn = np.concatenate([points.get_offsets() for points in left.collections])
    assert sorted(drawn[np.isfinite(drawn).all(axis=1)].tolist()) == [[10.0, 90.0], [50.0, 60.0]]


def test_what_is_not_there_is_said() -> None:
    left, right = runs(CELLS[:0], one="a", other="b").axes
    assert {ax.texts[0].get_text() for ax in (left, right)} == {"no cell of this measure is in both runs"}
