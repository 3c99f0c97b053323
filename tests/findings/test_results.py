"""A finished run as pandas."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_records import MODEL, clean, header, points
from toy_runs import finished

import touchstone
from touchstone.cell import ModelId
from touchstone.files import RunError
from touchstone.findings.cells import TEXTS as CELL_TEXTS
from touchstone.findings.results import CLAIM_NUMBERS
from touchstone.findings.verdicts import RESULT
from touchstone.paths import Results
from touchstone.records import COLUMNS, Attacked

ATTACKED = [
    Attacked(clean(), points(label=[0, 1, 2, 3], clean_pred=[0, 1, 2, 0], epsilon=[np.nan] * 4, norm="none")),
    Attacked(header("pgd"), points(epsilon=[0.3] * 4, success=[True, True, False, True])),
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return finished(tmp_path / "results" / "demo", ATTACKED)


def test_numbers_are_numbers_and_what_is_empty_is_a_text(run: Path) -> None:
    cells = touchstone.load_run(run).cells
    (ours,) = cells.loc[(cells["attack"] == "pgd") & (cells["metric"] == "accuracy"), "value"]
    assert ours == 0.25
    assert set(cells["suite"]) == {""}
    assert all(pd.api.types.is_numeric_dtype(cells[name]) != (name in CELL_TEXTS) for name in cells)


def test_claims_say_their_study(run: Path) -> None:
    loaded = touchstone.load_run(run)
    assert loaded.claims[["study", "id"]].to_numpy().tolist() == [["toy", "t1"]] * 2
    assert loaded.claims["ours"].tolist() == [0.5, 0.25]
    assert loaded.statements["verdict"].tolist() == ["holds"]


def test_every_column_of_numbers_is_one_of_the_table() -> None:
    assert set(CLAIM_NUMBERS) - {"cell_epsilon", "low", "high"} < set(RESULT)


def test_records_say_their_model_and_attack(run: Path) -> None:
    records = touchstone.load_run(run).records
    assert list(records) == [*ModelId._fields, "attack", "protocol", *COLUMNS]
    assert records.groupby("attack").size().to_dict() == {"clean": 4, "pgd": 4}
    assert records.loc[records["attack"] == "pgd", "success"].sum() == 3


def test_records_of_an_earlier_run_are_left_out(run: Path) -> None:
    """Their model has no cell."""
    model = MODEL._replace(defense="gone")
    gone = [one._replace(header=clean(model=model)) for one in ATTACKED[:1]]
    finished(run.parent / "other", gone)
    path = Results(run).attack(model, "all").records
    path.parent.mkdir(parents=True)
    shutil.copy(Results(run.parent / "other").attack(model, "all").records, path)
    assert set(touchstone.load_run(run).records["defense"]) == {"std"}


def test_records_that_are_there_twice_are_refused(run: Path) -> None:
    path = Results(run).attack(MODEL, "all").records
    other = Results(run).attack(MODEL, "linf").records
    other.parent.mkdir()
    shutil.copy(path, other)
    with pytest.raises(RunError, match=r"clean on toy/mnist/lenet/std/0 is in .*all.* and in .*linf"):
        next(touchstone.load_run(run).batches())


def test_a_folder_without_a_run_names_the_nearest_one(run: Path) -> None:
    with pytest.raises(RunError, match=r"results/dmo: holds no tables of a finished run; .*did you mean 'demo'"):
        touchstone.load_run(run.parent / "dmo")
    with pytest.raises(AttributeError, match="load_runs"):
        touchstone.load_runs  # noqa: B018
