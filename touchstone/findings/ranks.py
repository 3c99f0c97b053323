"""Into which class an attack's newly successful points fall, by how probable the class was for the clean image."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

RANKS = (2, 3, 4, 5)  # of the published figure; the first is the clean prediction


def newly_successful(frame: pd.DataFrame, ranks: Sequence[int] = RANKS) -> pd.DataFrame:
    """Count, radius by radius, the samples that an attack breaks for the first time on a grid of radii.

    An attack may lose at a larger radius what it had at a smaller one (FGSM does); such a sample is new only once. What
    was misclassified before any attack is never new.

    Source: Li et al. (2021), figure 2, which counts what is successful and was not at the radius before.

    Args:
        frame: records of one attack with a fixed budget on one model, every radius on its own.
        ranks: whose shares are told; 2 is the likeliest class of the clean image but its prediction.

    Returns:
        A row per radius, upwards: epsilon, new (how many), and rank2, rank3, ...: shares of these in [0, 1], NaN where
        nothing is new.
    """
    attacked = frame[frame["clean_pred"] == frame["label"]]
    broken = attacked[attacked["success"]].sort_values("epsilon", kind="stable").drop_duplicates("sample")
    rows = []
    for epsilon in np.sort(frame["epsilon"].unique()):
        found = broken.loc[broken["epsilon"] == epsilon, "adv_rank"]
        shares = {f"rank{rank}": (found == rank).mean() if len(found) else np.nan for rank in ranks}
        rows.append({"epsilon": epsilon, "new": len(found), **shares})
    return pd.DataFrame(rows)
