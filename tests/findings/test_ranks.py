"""Newly successful points, counted by hand."""

import numpy as np
import pytest
from toy_records import points

from touchstone.findings.ranks import newly_successful

# sample 0 falls at 0.1; 1 at 0.1, holds at 0.2, falls again at 0.3; 2 and 3 at 0.3; 4 is wrong before; 5 holds
BROKEN = {0.1: (0, 1, 4), 0.2: (0, 4), 0.3: (0, 1, 2, 3, 4)}
RANK = [2, 3, 2, 9, 1, 2]


def test_what_falls_for_the_first_time_is_counted_by_the_rank_of_its_class() -> None:
    rows = [(sample, epsilon) for epsilon in (0.3, 0.1, 0.2) for sample in range(6)]
    frame = points(
        sample=[sample for sample, _ in rows],
        epsilon=[epsilon for _, epsilon in rows],
        success=[sample in BROKEN[epsilon] for sample, epsilon in rows],
        adv_rank=[RANK[sample] for sample, _ in rows],
        clean_pred=[int(sample == 4) for sample, _ in rows],
    )
    found = newly_successful(frame, ranks=(2, 3))
    assert found["epsilon"].tolist() == [0.1, 0.2, 0.3]
    assert found["new"].tolist() == [2, 0, 2]
    assert found["rank2"].tolist() == pytest.approx([0.5, np.nan, 0.5], nan_ok=True)
    assert found["rank3"].tolist() == pytest.approx([0.5, np.nan, 0.0], nan_ok=True)
