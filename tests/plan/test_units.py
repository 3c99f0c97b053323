"""What a pass costs: the table of the package, and how it is measured."""

from pathlib import Path

import pytest

from benchmarks import units as measuring
from touchstone.data import DATASETS
from touchstone.models.classifier import build
from touchstone.plan import units


def test_a_table_that_was_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = {
        units.Key.of("wrn", {"width": 2, "depth": 10}, (3, 32, 32)): units.Unit(100, 0.25, 0.5, 1.25),
        units.Key.of("lenet", {}, (1, 28, 28)): units.Unit(7, 1e-5, 3e-5, 4e-5),
    }
    units.write(tmp_path / "units.csv", measured, ["how it was measured"])
    assert (tmp_path / "units.csv").read_text().startswith("# how it was measured\nmodel,options,shape,")
    monkeypatch.setattr(units, "UNITS", tmp_path / "units.csv")
    assert units.units.__wrapped__() == measured


def test_the_table_says_how_it_was_measured_and_is_plausible() -> None:
    first, second = units.UNITS.read_text().splitlines()[:2]
    assert "CPU time" in first
    assert "one thread" in first
    assert "torch" in second
    for key, unit in units.units().items():
        assert 0 < unit.forward < unit.gradient < 10 * unit.forward, key
        assert unit.forward < unit.step < 10 * unit.forward, key


def test_a_net_is_measured_and_left_as_a_number_of_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "ASKED", 4)
    monkeypatch.setattr(measuring, "TRAINED", 4)
    model = build("lenet", DATASETS["digits"], seed=0)
    unit = measuring.measure(model, (1, 28, 28))
    assert unit.parameters == sum(p.numel() for p in model.parameters())
    assert min(unit) > 0


def test_large_nets_are_measured_on_few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes a second per image gets as many as fit."""
    clock = [0.0]
    monkeypatch.setattr(measuring, "LONGEST", 4.0)
    monkeypatch.setattr(measuring.time, "process_time", lambda: clock[0])
    asked: list[int] = []

    def run(count: int) -> None:
        asked.append(count)
        clock[0] += count

    assert measuring.per_image(run, 512) == 1.0
    assert asked == [2, 2, 4, 4]
