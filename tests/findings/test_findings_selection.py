from pathlib import Path

import pandas as pd

from touchstone.files import write_sealed
from touchstone.findings import selection

CELL = {"run": "demo", "study": "toy", "dataset": "mnist", "model": "lenet", "defense": "std+l1", "seed": 1000}


def candidate(accuracy: float, **more: object) -> dict[str, object]:
    measured = {"status": "ok", "reason": "", "bounded": True, "validation_accuracy": accuracy, "robust_accuracy": 0.2}
    return {**measured, "fuzziness": 0.4, "near_zero": 0.1, "max_abs": 0.5, "epochs": 3, "flags": [], **more}


def test_every_candidate_is_a_row_and_the_file_says_whose_it_is(tmp_path: Path) -> None:
    file = tmp_path / "anywhere.json"
    options = [{"l1": 1e-6}, {"lam": 0.01, "mu": 10.0}]
    chosen = {
        "cell": {**CELL, "stand_in": "digits"},
        "reference": candidate(0.99, options={}),
        "candidates": [candidate(0.5 + i / 4, options=given) for i, given in enumerate(options)],
        "selected": 1,
    }
    write_sealed(file, chosen)
    found = selection.candidates([file])
    assert list(found) == [*selection.WHOSE, "candidate", *selection.MEASURED, "selected"]
    assert set(found[selection.WHOSE].itertuples(index=False, name=None)) == {
        ("toy", "mnist", "lenet", "std+l1", "digits")
    }
    assert found["candidate"].tolist() == ["reference", "l1 = 1e-06", "lam = 0.01, mu = 10"]
    assert found["selected"].tolist() == [False, False, True]
    assert found["validation_accuracy"].tolist() == [0.99, 0.5, 0.75]


def test_nothing_selected_is_an_empty_table() -> None:
    assert list(selection.candidates([])) == [*selection.WHOSE, "candidate", *selection.MEASURED, "selected"]
    assert isinstance(selection.candidates([]), pd.DataFrame)
    assert selection.candidates([]).empty
