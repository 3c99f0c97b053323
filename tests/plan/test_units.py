"""What a pass costs: the table of the package, and how it is measured."""

import re
from pathlib import Path

import pytest
import yaml
from small_study import NEEDED
from torch import Tensor, nn

from benchmarks import units as measuring
from touchstone.data import DATASETS
from touchstone.models.classifier import build
from touchstone.paths import own_units
from touchstone.plan import cost, units
from touchstone.plan.plan import make_plan
from touchstone.study.config import ConfigError


def test_a_table_that_was_written_is_read(tmp_path: Path) -> None:
    measured = {
        units.Key.of("wrn", {"width": 2, "depth": 10}, (3, 32, 32)): units.Unit(100, 0.25, 0.5, 1.25),
        units.Key.of("lenet", {}, (1, 28, 28)): units.Unit(7, 1e-5, 3e-5, 4e-5),
    }
    units.write(tmp_path / "units.csv", measured, ["how it was measured"])
    assert (tmp_path / "units.csv").read_text().startswith("# how it was measured\nmodel,options,shape,")
    assert units.read(tmp_path / "units.csv") == measured


def test_the_table_says_how_it_was_measured_and_is_plausible() -> None:
    first, second = units.UNITS.read_text().splitlines()[:2]
    assert "CPU time" in first
    assert "one thread" in first
    assert "torch" in second
    for key, unit in units.read(units.UNITS).items():
        assert 0 < unit.forward < unit.gradient < 10 * unit.forward, key
        assert unit.forward < unit.step < 10 * unit.forward, key


@pytest.mark.parametrize(
    "text", ["", "model,options\nlenet,1\n", "{head}\nlenet,{{}},1x28x28,7\n", "{head}\nlenet,{{}},1x28x28,7,a,b,c\n"]
)
def test_a_table_that_was_not_written_so_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "units.csv"
    file.write_text(text.format(head=",".join(units.HEAD)))
    with pytest.raises(ConfigError, match=r"units\.csv: is no table of unit costs; delete it"):
        units.read(file)


def test_what_this_machine_measured_goes_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    package = units.read(units.UNITS)
    assert units.units.__wrapped__() == package
    assert re.fullmatch(r"the package's \(.+, \d{4}-\d\d-\d\d, torch .+\)", units.whose())
    mine = {units.Key.of("lenet", {}, (1, 28, 28)): units.Unit(7, 1.0, 2.0, 3.0)}
    own_units().parent.mkdir()
    units.write(own_units(), mine, ["how", "a machine, 2026-11-29, torch 2"])
    assert units.units.__wrapped__() == package | mine
    assert units.whose().startswith(
        "results/units.csv (a machine, 2026-11-29, torch 2), and for nets that it lacks the"
    )


def test_a_net_of_the_users_own_is_measured_for_a_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = {"datasets": ["mnist"], "models": ["mine"], "defenses": ["std"], "attacks": ["pgd2"]}
    study = NEEDED | {"models": {"mine": {"fn": "toy_nets:foreign"}}, "cells": [cells]}
    (project / "studies" / "small").mkdir()
    (project / "studies" / "small" / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    config = {"run": "mine", "studies": ["small"], "device": "cpu", "threads": 1, "jobs": "per_model", "batch_size": 4}
    config |= {"data": {"digits": {"source": "embedded"}}, "stand_in": {"mnist": "digits"}}
    (project / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(project)
    for name in ("ASKED", "TRAINED"):
        monkeypatch.setattr(measuring, name, 4)
    monkeypatch.setattr(cost, "units", units.units.__wrapped__)  # a table that is not kept
    plan = make_plan(project, project / "config.yaml")
    lacks = cost.total(cost.costs(plan)).lacks
    assert lacks == ("net toy_nets:foreign on 1x28x28: not measured",)
    assert measuring.own(lambda _: None, Path("config.yaml")) == Path("results/units.csv")
    assert cost.total(cost.costs(plan)).lacks == ()
    before = units.read(own_units())
    monkeypatch.setattr(measuring, "measured", lambda *_: {})
    measuring.own(lambda _: None, Path("config.yaml"))
    assert units.read(own_units()) == before, "of other runs it is kept"


def test_a_net_that_flattens_with_view_and_has_frozen_weights_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Viewed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen, self.last = nn.Linear(48, 5).requires_grad_(False), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.frozen(x.view(len(x), -1)))

    monkeypatch.setattr(measuring, "ASKED", 4)
    monkeypatch.setattr(measuring, "TRAINED", 4)
    unit = measuring.measure(Viewed(), (3, 4, 4))
    assert unit.parameters == 49 * 5 + 12
    assert min(unit) > 0


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
