"""Numbers from the records of attacks on one model, each with its count.

Accuracies and shares are fractions in [0, 1], distances are in pixels. Nothing here knows a published number.
"""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from touchstone.records import NO_ANSWER, TOLERANCE

NORM_METRICS = ("success_rate", "median_dist", "mean_dist")


def accuracy(records: pd.DataFrame, *, clean: bool = False) -> pd.DataFrame:
    """Return the share of samples that no row breaks, per epsilon.

    Args:
        records: rows of one attack; a sample with several restarts or members is broken if any of them is.
        clean: the rows are of the attack `clean`: judge by the clean prediction.

    Returns:
        epsilon (nan: no budget), value in [0, 1], n samples; one row per epsilon, ascending.
    """
    broken = records["clean_pred"] != records["label"] if clean else records["success"]
    table = records[["epsilon", "sample"]].assign(broken=broken)
    samples = table.groupby(["epsilon", "sample"], dropna=False, as_index=False)["broken"].any()
    found = samples.groupby("epsilon", dropna=False).agg(broken=("broken", "mean"), n=("broken", "size")).reset_index()
    return pd.DataFrame({"epsilon": found["epsilon"], "value": 1.0 - found["broken"], "n": found["n"]})


def distances(records: pd.DataFrame, norm: str, counts: pd.Series | None = None) -> pd.Series:
    """Return per sample the smallest distance (pixels) of a point that counts; inf where there is none.

    Args:
        records: rows of one attack.
        norm: in which the distance is read.
        counts: which rows count; the successful ones if not given.
    """
    counts = records["success"] if counts is None else counts
    return records[f"dist_{norm}"].astype(float).where(counts, np.inf).groupby(records["sample"]).min()


def misclassified(records: pd.DataFrame) -> pd.Series:
    """Say which points are misclassified and inside their threat, also where their attack wanted more than that."""
    wrong = (records["adv_pred"] != records["label"]) & (records["adv_pred"] != NO_ANSWER)
    return records["success"] | (wrong & ~records["rejected"])


def norms(records: pd.DataFrame, norm: str) -> dict[str, float]:
    """Return success_rate, median_dist (failures count as inf) and mean_dist (over successes, nan if none).

    Distances are in pixels, the smallest over restarts.
    """
    dist = distances(records, norm)
    broken = dist[np.isfinite(dist)]
    values = len(broken) / len(dist), dist.median(), broken.mean()
    return dict(zip(NORM_METRICS, map(float, values), strict=True))


def worst_distances(frames: Mapping[str, pd.DataFrame], norm: str, *, over: Collection[str] | None = None) -> pd.Series:
    """Return per sample the smallest distance at which any of the attacks breaks it.

    Args:
        frames: attack slug -> its records on one model, all in pixels inside [0, 1]. Any attack's point counts,
            also one made for another norm or budget, or short of the confidence that its attack aimed at.
        norm: of the threat; distances are read in it.
        over: slugs of the attacks that must have met a sample for it to count, all of them if not given. What
            the others found counts on the samples that they have met.

    Returns:
        Distances by sample, on the intersection of the samples of `over`: 0 for a clean error, inf if unbroken.
        The worst-case accuracy at eps is the share above eps + TOLERANCE, hence never rises with eps.
    """
    if not frames:
        return pd.Series(dtype=float)
    nearest = {}
    for slug, records in frames.items():
        wrong = (records["clean_pred"] != records["label"]).groupby(records["sample"]).any()
        nearest[slug] = distances(records, norm, misclassified(records)).mask(wrong, 0.0)
    table = pd.concat(nearest, axis=1)
    met = table.index[table[list(frames if over is None else over)].notna().all(axis=1)]
    return table.loc[met].min(axis=1)


def worst_case(
    frames: Mapping[str, pd.DataFrame],
    *,
    norm: str,
    epsilons: Sequence[float],
    required: Collection[str] = (),
    over: Collection[str] | None = None,
) -> pd.DataFrame:
    """Return the accuracy against the union of all attacks, per sample.

    Args:
        frames: attack slug -> its records, as in `worst_distances`.
        norm: of the threat.
        epsilons: radii in pixels.
        required: slugs (attacks, or members of a cascade) without which the result is incomplete.
        over: as in `worst_distances`.

    Returns:
        epsilon, value (nan without samples), n, incomplete (what is missing; empty at accuracy 0, which no
        further attack can lower).
    """
    dist = worst_distances(frames, norm, over=over)
    seen = set(frames).union(*(records["member"].unique() for records in frames.values()))
    missing = ", ".join(slug for slug in required if slug not in seen)
    rows = []
    for eps in epsilons:
        value = float((dist > eps + TOLERANCE).mean()) if len(dist) else math.nan
        incomplete = f"missing {missing}" if missing and value != 0 else ""
        rows.append((float(eps), value, len(dist), incomplete if len(dist) else "no sample met every attack"))
    return pd.DataFrame(rows, columns=["epsilon", "value", "n", "incomplete"])
