"""Tables of cells as tests of plots need them."""

from itertools import product
from typing import Any

import pandas as pd


def cells(**changes: Any) -> pd.DataFrame:
    """Worst-case accuracies of two defenses, two seeds and two radii."""
    rows = [
        {"defense": defense, "seed": seed, "epsilon": eps, "value": base - eps + 0.1 * seed}
        for (defense, base), seed, eps in product((("std", 0.5), ("adv", 0.8)), (0, 1), (0.1, 0.3))
    ]
    about = {"dataset": "mnist", "stand_in": "digits", "model": "lenet", "attack": "worst-linf", "norm": "linf"}
    about |= {"protocol": "worst", "metric": "worst_accuracy", "suite": "quick", "n": 300, "status": "ok"}
    return pd.DataFrame(rows).assign(**about | changes)


def published(attack: str, metric: str, **changes: Any) -> pd.DataFrame:
    """Numbers of a published attack on the same nets, at the same radii unless these are changed."""
    return cells(**{"attack": attack, "metric": metric, "protocol": "published", "suite": ""} | changes)
