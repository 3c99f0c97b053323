"""Each figure of a study is drawn and written in every form."""

from pathlib import Path

import pytest
from toy_drawings import drawing

from touchstone.jobs import figures as module
from touchstone.jobs.figures import figures
from touchstone.paths import Results
from touchstone.plan.jobs import Code, FiguresJob


def test_every_figure_of_a_study_is_written_in_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(module, "draw", lambda *what: asked.append(what) or what[0].plot)
    monkeypatch.setattr(module, "save", lambda *what: asked.append(what))
    results, drawings = Results(tmp_path), (drawing("worst-case"), drawing("selection"))
    figures(FiguresJob(Code((), ""), "demo", "minmax", drawings), results)
    files = [tmp_path / "minmax" / "figures" / f"one.{form}" for form in ("svg", "pdf", "png")]
    first, second = drawings
    assert asked == [(first, results), ("worst-case", files), (second, results), ("selection", files)]
