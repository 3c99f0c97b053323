"""Verdicts and cells for tables, in a few words."""

import math
from typing import Any

import pandas as pd

from touchstone.findings.cells import COLUMNS
from touchstone.findings.vocabulary import ELSEWHERE


def verdicts(*rows: dict[str, Any]) -> pd.DataFrame:
    base = {"source_table": "Table 1", "dataset": "mnist", "defense": "std", "attack": "fgsm", "certainty": "certain"}
    base |= {"model": "lenet", "norm": "linf", "epsilon": "0.3", "epsilon_unit": "pixel01", "attack_params": ""}
    base |= {"metric": "accuracy", "threat": "white-box", "cell_dataset": ""}
    base |= {"reading": "headline", "value": "0.9861", "ours": 0.98404, "h": 0.0021, "verdict": "reproduced"}
    base |= {"only": "", "cell_metric": "accuracy", "unit": "fraction"}
    return pd.DataFrame([{**base, "id": str(number), **row} for number, row in enumerate(rows)])


def cells(*rows: dict[str, Any]) -> pd.DataFrame:
    base = {"study": "toy", "dataset": "mnist", "model": "lenet", "defense": "std", "seed": 0, "stand_in": ""}
    base |= {"attack": "worst-linf", "protocol": "worst", "space": "pixel", "norm": "linf"}
    base |= {"epsilon": 0.3, "metric": "worst_accuracy", "value": 0.5, "n": 1000, "status": "ok", "reason": ""}
    base |= {"suite": "quick"}
    return pd.DataFrame([{**base, **row} for row in rows], columns=COLUMNS)


CODED = {"reading": "coded", "verdict": ELSEWHERE, "only": "only as coded"}
PIXEL = {"reading": "pixel", "verdict": ELSEWHERE, "only": "only with epsilon in pixels"}
CLEAN = {
    "attack": "clean",
    "norm": "none",
    "epsilon": math.nan,
    "metric": "accuracy",
    "protocol": "published",
    "suite": "",
}
PUBLISHED = {"protocol": "published", "metric": "accuracy"}
MINIMAL = {"attack": "cw-l2", "norm": "l2", "epsilon": math.nan, "protocol": "published"}
