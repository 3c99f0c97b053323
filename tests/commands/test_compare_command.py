"""`touchstone compare`: what it prints and writes."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_records import header, points
from toy_runs import finished

from touchstone.commands import compare
from touchstone.findings.compare import Comparison
from touchstone.records import Attacked

N = 20


def attacked(broken: int) -> list[Attacked]:
    return [Attacked(header("pgd"), points(epsilon=[0.1] * N, success=np.arange(N) < broken))]


def test_it_prints_what_differs_and_writes_all(tmp_path: Path) -> None:
    one, other = finished(tmp_path / "a", attacked(0)), finished(tmp_path / "b", attacked(N))
    said = compare.run(Namespace(one=one, other=other, out=tmp_path / "out")).splitlines()
    assert said[:5] == [
        "1 of 1 cell differs, at a false discovery rate of 5 %",
        "",
        "model                  attack  norm  epsilon   measure   n    first  second        p        q",
        "toy/mnist/lenet/std/0  pgd     linf      0.1  accuracy  20  100.0 %   0.0 %  1.9e-06  1.9e-06",
        "",
    ]
    assert len(pd.read_csv(tmp_path / "out" / "cells.csv")) == 1
    assert (tmp_path / "out" / "cells.png").stat().st_size > 1000


def test_two_runs_of_one_config_have_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "save", lambda *_: None)  # drawn above
    runs = [finished(Path("results") / name, attacked(3)) for name in ("a", "b")]
    said = compare.run(Namespace(one=runs[0], other=Path("b"), out=None))  # or by its name
    assert said.startswith("no difference: 1 cell is equal, sample by sample\n")
    assert Path("results/_compared/a_b/words.csv").is_file()


def test_cells_without_a_common_sample_are_said() -> None:
    found = Comparison((), (), (), unlike=(), disjoint=("a cell",))
    assert "1 cell without a common sample, not compared: a cell" in compare.text(found)


def test_a_long_table_is_cut_and_says_so() -> None:
    lines = [(str(number),) for number in range(compare.MOST + 2)]
    assert compare.table(("n",), lines).splitlines()[-2:] == [str(compare.MOST - 1), "... and 2 more"]
