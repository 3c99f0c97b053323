"""Numbers from the records of attacks on one model, each with its count.

Accuracies and shares are fractions in [0, 1], distances are in pixels. Nothing here knows a published number.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from touchstone.cell import same_radius
from touchstone.findings.intervals import mean_half, median_half
from touchstone.records import NO_ANSWER, TOLERANCE
from touchstone.study.scale import NEAR

NORM_METRICS = ("success_rate", "median_norm", "mean_norm")
COMMON_NORM = "common_mean_norm"
VALUES = "l0_values"  # counted as another norm: an l0 of values, where a pixel has one per channel
VALUE_METRICS = ("accuracy_values", "median_norm_values", "mean_norm_values")
NO_SAMPLE = "no sample met every attack"


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
    return closest(records, f"dist_{norm}", records["success"] if counts is None else counts)


def closest(records: pd.DataFrame, column: str, counts: "pd.Series[bool]") -> "pd.Series[float]":
    """Return per sample the smallest of a column of distances over the rows that count; inf where none does."""
    return records[column].astype(float).where(counts, np.inf).groupby(records["sample"]).min()


def misclassified(records: pd.DataFrame) -> pd.Series:
    """Say which points are misclassified and inside their threat, also where their attack wanted more than that."""
    wrong = (records["adv_pred"] != records["label"]) & (records["adv_pred"] != NO_ANSWER)
    return records["success"] | (wrong & ~records["rejected"])


class Number(NamedTuple):
    """A number, how many samples are behind it, and its 95 % half-width over samples (nan: not known, or a share)."""

    value: float
    n: int
    half: float = math.nan


def norms(records: pd.DataFrame, norm: str) -> dict[str, Number]:
    """Return the minimal norms of one attack, over the samples that the model classifies correctly at x.

    A clean error has no norm to find: as distance 0 and as a success it would say more of the model's accuracy than
    of the attack.

    Args:
        records: rows of one attack.
        norm: in which distances (pixels, the smallest over restarts) are read.

    Returns:
        success_rate; median_norm, where a failure counts as inf; mean_norm, over the successes alone. nan over none.
    """
    dist = distances(records, norm)[correct(records)]
    broken = dist[np.isfinite(dist)]
    return {
        "success_rate": Number(len(broken) / len(dist) if len(dist) else math.nan, len(dist)),
        "median_norm": Number(float(dist.median()), len(dist), median_half(dist)),
        "mean_norm": Number(float(broken.mean()), len(broken), mean_half(broken)),
    }


class Rho(NamedTuple):
    """Over which samples the mean of ||r|| / ||x|| is taken.

    Attributes:
        everyone: the whole test set, a clean error with r = 0; else the samples that are right.
        ends: also those that the attack does not break, with the point where it ended; else they are left out, as no
            minimal r is known there.
    """

    everyone: bool
    ends: bool


RHO = {
    "rho_adv": Rho(everyone=False, ends=False),  # Matyasko (2020), eq. 3.20
    "rho_adv_ends": Rho(everyone=False, ends=True),  # as its code: what was moved, however far it came
    "rho_adv_all": Rho(everyone=True, ends=False),  # eq. 4.9
    "rho_adv_all_ends": Rho(everyone=True, ends=True),  # as its code
}


def rho(records: pd.DataFrame, over: Rho) -> Number:
    """Return the mean of `ratios`."""
    return _mean(ratios(records, over))


def ratios(records: pd.DataFrame, over: Rho) -> "pd.Series[float]":
    """Return ||r||_2 / ||x||_2 per sample, in the space of the threat, by whose mean DeepFool's authors compare nets.

    A black image has no such ratio and is left out; so is, among the samples that are right, one whose attack ended
    where it began.

    Args:
        records: rows of one minimal-norm attack in l2; of several rows of a sample the nearest that breaks it counts.
        over: which samples.
    """
    dist, right = closest(records, "dist", records["success"]), correct(records)
    if over.ends:
        ended = records["dist"].astype(float).groupby(records["sample"]).min()
        dist = dist.where(np.isfinite(dist), ended.where(ended > 0.0, np.inf))
    dist = dist.where(right, 0.0 if over.everyone else np.inf)
    size = records["x_l2_space"].astype(float).groupby(records["sample"]).first()
    return (dist / size)[np.isfinite(dist) & (size > 0.0)]


def rho_near(records: pd.DataFrame) -> Number:
    """Return the share of the samples that are right which an attack breaks with ||r||_2 / ||x||_2 below NEAR.

    Both are in the space of the threat; nan without a sample that is right.
    """
    dist, right = closest(records, "dist", records["success"]), correct(records)
    size = records["x_l2_space"].astype(float).groupby(records["sample"]).first()
    near = (dist < NEAR * size)[right]
    return Number(float(near.mean()) if len(near) else math.nan, len(near))


def confidence(records: pd.DataFrame, *, clean: bool = False) -> Number:
    """Return the mean probability of the class that is predicted.

    Args:
        records: rows of one attack at one radius.
        clean: at x, over all samples; else at the points that break a sample which was right.
    """
    if clean:
        return _mean(records["clean_conf"])
    broken = records["success"] & (records["clean_pred"] == records["label"])
    return _mean(records["adv_conf"][broken].groupby(records["sample"]).mean())


def prob_gap(records: pd.DataFrame) -> Number:
    """Return the mean of the true class' probability at x minus the largest other one, over all samples."""
    return _mean(records["clean_gap"])


def _mean(values: "pd.Series[float]") -> Number:
    """Return the mean of what is known; nan over none."""
    known = values.dropna()
    return Number(float(known.mean()), len(known), mean_half(known))


def within(records: pd.DataFrame, radii: Sequence[float], norm: str) -> pd.DataFrame:
    """Return a minimal-norm attack's rows at each radius: its point breaks a sample if it lies within that.

    Args:
        records: rows without a budget.
        radii: in pixels.
        norm: in which the distance is read; VALUES too.
    """
    dist = records[f"dist_{norm}"]
    parts = [records.assign(epsilon=eps, success=records["success"] & (dist <= eps + TOLERANCE)) for eps in radii]
    return pd.concat(parts, ignore_index=True) if parts else records.head(0)


def common_norms(frames: Mapping[str, pd.DataFrame], norm: str) -> dict[str, Number]:
    """Return the mean norm of each attack over the samples that all of them break: their common success set.

    Args:
        frames: attack slug -> its records on one model, without those cut back to a budget.
        norm: as in `norms`.
    """
    table = pd.concat({slug: distances(frame, norm)[correct(frame)] for slug, frame in frames.items()}, axis=1)
    common = table[np.isfinite(table).all(axis=1)]  # nan where a sample was not met
    return {slug: Number(float(common[slug].mean()), len(common), mean_half(common[slug])) for slug in frames}


def correct(records: pd.DataFrame) -> pd.Series:
    """Say per sample whether the model classifies it correctly at x."""
    return (records["clean_pred"] == records["label"]).groupby(records["sample"]).all()


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
        nearest[slug] = distances(records, norm, misclassified(records)).where(correct(records), 0.0)
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
    rows = []
    for eps in epsilons:
        value = float((dist > eps + TOLERANCE).mean()) if len(dist) else math.nan
        rows.append((float(eps), value, len(dist), incomplete(value, frames, required)))
    return pd.DataFrame(rows, columns=["epsilon", "value", "n", "incomplete"])


def incomplete(value: float, frames: Mapping[str, pd.DataFrame], required: Collection[str]) -> str:
    """Say what is missing from a worst case; empty at accuracy 0, which no further attack can lower.

    Args:
        value: the accuracy, nan without samples.
        frames: attack slug -> its records.
        required: slugs of attacks, or of members of a cascade.
    """
    if math.isnan(value):
        return NO_SAMPLE
    seen = set(frames).union(*(records["member"].unique() for records in frames.values()))
    missing = ", ".join(slug for slug in required if slug not in seen)
    return f"missing {missing}" if missing and value else ""


# ---- the worst case in the space of a published attack


class UnderThreat(NamedTuple):
    """A published attack beside everything that breaks a sample inside its threat, on the samples met by both.

    accuracy: against all of it. gap: the accuracy under the published attack minus that, never below 0.
    """

    accuracy: float
    gap: float
    n: int


def reach(records: pd.DataFrame) -> "pd.Series[float]":
    """Return per sample the smallest radius, in the norm and space of the attack's threat, that holds a broken point.

    A point counts where it lies, whatever radius and confidence its attack aimed at; inf where there is none.
    """
    return closest(records, "dist", misclassified(records))


def under_threat(
    own: pd.DataFrame, reached: pd.Series, pixels: pd.Series, *, epsilon: float, radius: float
) -> UnderThreat | None:
    """Return the worst case inside the threat of a published attack at one radius.

    Args:
        own: its records.
        reached: smallest radius at which it or another attack under the same threat breaks a sample, as of `reach`.
        pixels: smallest distance in pixels at which anything breaks a sample, as of `worst_distances`.
        epsilon: the radius, in the threat's own space.
        radius: of a ball in pixels that lies inside that threat.

    Returns:
        None where the attack has no rows at this radius; nan where it met no sample that the others met.
    """
    here = [eps for eps in own["epsilon"].unique() if same_radius(eps, epsilon)]
    if not here:
        return None
    rows = own[own["epsilon"].isin(here)]
    table = pd.concat(
        {
            "own": rows["success"].groupby(rows["sample"]).any(),
            "kin": reached <= epsilon + TOLERANCE,
            "pixels": pixels <= radius + TOLERANCE,
        },
        axis=1,
        join="inner",
    ).astype(bool)
    if table.empty:
        return UnderThreat(math.nan, math.nan, 0)
    worst = table.any(axis=1)
    return UnderThreat(1.0 - float(worst.mean()), float((worst & ~table["own"]).mean()), len(table))
