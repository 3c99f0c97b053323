"""A run of 10,000 trainings and attacks is planned in seconds: `python -m benchmarks.jobs --cells` says in how many."""

import time
from pathlib import Path

import pytest

from benchmarks.jobs import many_cells
from touchstone.plan import cost
from touchstone.plan.plan import make_plan


@pytest.mark.slow
def test_ten_thousand_cells_are_planned_in_half_a_minute(tmp_path: Path) -> None:
    config = many_cells(tmp_path)
    begun = time.process_time()
    whole = cost.total(cost.costs(make_plan(tmp_path, config)))
    spent = time.process_time() - begun  # of this process alone, whatever else the machine does
    assert whole.trainings + whole.attacks >= 10_000
    assert spent <= 30
