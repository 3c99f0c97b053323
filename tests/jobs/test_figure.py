"""A figure is drawn from the files of the models or the table that its job names."""

from pathlib import Path

import pytest
from toy_records import MODEL

from touchstone.jobs import figure as module
from touchstone.jobs.figure import figure
from touchstone.paths import Results
from touchstone.plan.jobs import Code, FigureJob

CODE = Code((), "")


@pytest.mark.parametrize(
    ("models", "table", "drawn"),
    [
        ({"std": (MODEL,), "adv": ()}, "", {"std": ["models/mnist/lenet/std/0"], "adv": []}),
        ({}, "cells", {"cells": ["tables/cells.csv"]}),
    ],
)
def test_models_are_found_by_their_names_and_a_table_by_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: dict, table: str, drawn: dict
) -> None:
    asked = []
    monkeypatch.setattr(module, "draw", lambda plot, sources, **options: asked.append((plot, sources, options)))
    monkeypatch.setattr(module, "save", lambda _, files: asked.append(files))
    results, files = Results(tmp_path), [tmp_path / "x.svg"]
    figure(FigureJob(CODE, "demo", MODEL.study, "selection", {"width": 2}, models, table), results, files)
    at = {label: [tmp_path / MODEL.study / one for one in some] for label, some in drawn.items()}
    assert asked == [("selection", at, {"width": 2}), files]
