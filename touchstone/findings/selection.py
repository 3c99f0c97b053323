"""selection.csv: every candidate for constants that a paper does not state, a row each."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from touchstone.files import read_sealed
from touchstone.weight_metrics import IN_SELECTION

WHOSE = ["study", "dataset", "model", "defense", "stand_in"]
MEASURED = ["status", "bounded", "validation_accuracy", "robust_accuracy", *IN_SELECTION]


def candidates(files: Iterable[Path]) -> pd.DataFrame:
    """Return a row per candidate of every sensitivity.json, the reference first.

    Columns: WHOSE, candidate (its options in words), MEASURED, selected.
    """
    rows = []
    for file in files:
        chosen = read_sealed(file, "sensitivity")
        whose = {name: chosen["cell"][name] for name in WHOSE}
        rows.append({**whose, "candidate": "reference", **chosen["reference"], "selected": False})
        for place, one in enumerate(chosen["candidates"]):
            words = _words(one["options"])
            rows.append({**whose, "candidate": words, **one, "selected": place == chosen["selected"]})
    return pd.DataFrame(rows, columns=[*WHOSE, "candidate", *MEASURED, "selected"])


def _words(options: Mapping[str, float]) -> str:
    return ", ".join(f"{name} = {value:g}" for name, value in options.items())
