"""Numbers from records and runs, each with its count; intervals; the table cells.csv.

Accuracies and shares are fractions in [0, 1]. Nothing here knows a published number.
"""

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from touchstone import records as records_io
from touchstone.findings import weights as weights_of

TOLERANCE = 1e-6  # the judge's: float32 distances of points projected onto the ball
NO_ANSWER = -1  # the judge's: the prediction where a logit is NaN

MODEL = ["dataset", "model", "defense", "seed"]
CELL_COLUMNS = [
    *["dataset", "original_dataset", "model", "defense", "seed", "attack", "member", "protocol", "space"],
    *["norm", "epsilon", "metric", "value", "n", "status", "reason"],
]
NORM_METRICS = ("success_rate", "median_dist", "mean_dist")
_ORDER = ["original_dataset", "model", "defense", "seed", "protocol", "attack", "metric", "member", "epsilon"]
_NUMERIC = {"seed": "int64", "epsilon": "float64", "value": "float64", "n": "int64"}


# ---- records -> numbers


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
    found = samples.groupby("epsilon", dropna=False)["broken"].agg(["mean", "size"]).reset_index()
    return pd.DataFrame({"epsilon": found["epsilon"], "value": 1.0 - found["mean"], "n": found["size"]})


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


# ---- intervals


class Interval(NamedTuple):
    """A 95 % interval: its ends, half-width, and what it covers. nan and "none" where nothing can be said."""

    low: float
    high: float
    half: float
    kind: str


class Deviation(NamedTuple):
    """A pooled standard deviation over seeds and its degrees of freedom."""

    value: float
    freedom: int


NO_INTERVAL = Interval(math.nan, math.nan, math.nan, "none")


def pooled_deviation(groups: Iterable[Sequence[float]]) -> Deviation | None:
    """Return the standard deviation within groups of seeds; None if no group has two or more."""
    groups = [np.asarray(group, dtype=float) for group in groups if len(group) >= 2]
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return None
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return Deviation(math.sqrt(squares / freedom), freedom)


def binomial_interval(p: float, n: int) -> Interval:
    """Return the interval of a share p of n samples: the 2.5 and 97.5 % quantiles of its bootstrap, exactly.

    A resample of n equal outcomes has no spread, so at p = 0 and 1 the limit of Clopper and Pearson (1934) is
    used instead: 10 unbroken samples do not prove that no sample can be broken.
    """
    certain = 1.0 - 0.025 ** (1.0 / n)
    if p <= 0.0:
        return Interval(0.0, certain, certain, "sampling only")
    if p >= 1.0:
        return Interval(1.0 - certain, 1.0, certain, "sampling only")
    low, high = (float(q) / n for q in stats.binom.ppf([0.025, 0.975], n, p))
    return Interval(low, high, max(p - low, high - p), "sampling only")


def interval(
    values: Sequence[float],
    n: int,
    *,
    sampling: Literal["binomial", "unknown", "none"],
    pooled: Deviation | None = None,
    population: int | None = None,
) -> Interval:
    """Return the interval of the mean of a number measured once per seed.

    Args:
        values: one per seed.
        n: samples (or weights) behind each value; all seeds share the samples.
        sampling: how the number varies with the samples: "binomial" (a share of them), "unknown" (a mean or
            a difference, whose variance the value does not tell), "none" (it reads no samples).
        pooled: deviation over seeds of the same metric elsewhere in the study, for fewer than 3 seeds.
        population: size of the whole test set. If n is smaller, the seeds share an error that their spread
            does not show; it is added.

    Returns:
        Student's t over 3 or more seeds ("t"); the pooled deviation for 2, or for 1 of a number that is no
        share ("pooled"); for 1 seed and a share, the samples alone ("sampling only").
    """
    count, mean = len(values), float(np.mean(values)) if len(values) else math.nan
    partial = population is not None and n < population
    if not count or (partial and sampling == "unknown"):
        return NO_INTERVAL
    if count == 1 and sampling == "binomial":
        return binomial_interval(mean, n)
    own = Deviation(float(np.std(values, ddof=1)), count - 1) if count >= 3 else pooled
    if own is None:
        return NO_INTERVAL
    half = float(stats.t.ppf(0.975, own.freedom)) * own.value / math.sqrt(count)
    kind = "t" if count >= 3 else "pooled"
    if partial and sampling == "binomial":
        correction = math.sqrt((population - n) / (population - 1))  # drawn without replacement
        half = math.hypot(half, correction * binomial_interval(mean, n).half)
        kind += " + sampling"
    low, high = mean - half, mean + half
    if sampling == "binomial":
        low, high = max(low, 0.0), min(high, 1.0)
    return Interval(low, high, half, kind)


# ---- cells.csv


def cells(
    records: Iterable[Path],
    runs: Iterable[Path],
    *,
    thresholds: Sequence[float] = (),
    required: Mapping[str, Sequence[str]] | None = None,
    first_conv: str | None = weights_of.FIRST_CONV,
) -> pd.DataFrame:
    """Return every measured number, one row each: the columns CELL_COLUMNS.

    Args:
        records: the records.parquet files.
        runs: the run.json files; model.safetensors is read beside each that did not fail.
        thresholds: of the near-zero shares, metric `near_zero_<threshold>`.
        required: slug of a worst-case attack -> slugs of attacks without which its result is incomplete,
            besides its own members.
        first_conv: tensor for the metrics of weights; None leaves them out.

    Returns:
        Metrics: accuracy, of the published protocol; worst_accuracy under the slug of each attack of protocol
        `worst`, on its samples (and those of the attacks it requires): its union with what every other attack
        on the same model that made images (pixels inside [0, 1]) found there; status "incomplete" says what is
        missing; for minimal norm success_rate, median_dist, mean_dist;
        and, under the attack "clean", fuzziness, near_zero_<t>, max_abs_conv, rho_extreme. A failed run has
        rows without a value. `member` repeats the attack.

    Raises:
        ValueError: if a file is truncated or not of its format, or a worst-case attack is not in pixels.
    """
    paths = sorted(map(Path, records), key=_model_of)
    rows: list[dict[str, Any]] = []
    for _, group in groupby(paths, key=_model_of):
        read = [records_io.read(path) for path in group]
        usable = {m["cell"]["attack"]: frame for frame, m in read if m["status"] == "ok" and _in_pixels(m)}
        for frame, metadata in read:
            if metadata["protocol"] == "published":
                rows += _published_rows(frame, metadata)
            else:
                members = [member["slug"] for member in metadata["options"].get("members", [])]
                needed = [*members, *(required or {}).get(metadata["cell"]["attack"], [])]
                rows += _worst_rows(metadata, usable, needed)
    for path in sorted(map(Path, runs)):
        rows += _model_rows(path, thresholds, first_conv)
    table = pd.DataFrame(rows, columns=CELL_COLUMNS).astype(_NUMERIC)
    return table.sort_values(_ORDER, kind="stable", ignore_index=True)


def read_cells(path: Path) -> pd.DataFrame:
    """Return cells.csv as `cells` made it. Raises ValueError if its columns differ."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(table.columns) != CELL_COLUMNS:
        raise ValueError(f"{path}: expected columns {', '.join(CELL_COLUMNS)}, got {', '.join(table.columns)}")
    return table.assign(**{name: pd.to_numeric(table[name]).astype(kind) for name, kind in _NUMERIC.items()})


def _model_of(path: Path) -> tuple[str, ...]:
    cell = records_io.read_metadata(path)["cell"]
    return tuple(str(cell[key]) for key in MODEL)


def _identity(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: cell[key] for key in MODEL}, "original_dataset": cell["original"]}


def _row(metadata: Mapping[str, Any], **numbers: Any) -> dict[str, Any]:
    slug, threat = metadata["cell"]["attack"], metadata["threat"] or {"space": "", "norm": "none"}
    place = {"attack": slug, "member": slug, "protocol": metadata["protocol"], "space": threat["space"]}
    blank = {"epsilon": math.nan, "value": math.nan, "n": 0, "status": "ok", "reason": ""}
    return {**_identity(metadata["cell"]), **place, "norm": threat["norm"], **blank, **numbers}


def _failed_rows(metadata: Mapping[str, Any], metrics: Iterable[str]) -> Iterator[dict[str, Any]]:
    budgets = metadata["threat"]["epsilons"] if metadata["kind"] in ("fixed", "suite") else [math.nan]
    for metric, eps in product(metrics, budgets):
        yield _row(metadata, metric=metric, epsilon=eps, status="failed", reason=metadata["reason"])


def _published_rows(frame: pd.DataFrame, metadata: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    minimal = metadata["kind"] == "minimal"
    if metadata["status"] == "failed":
        yield from _failed_rows(metadata, ["accuracy", *(NORM_METRICS if minimal else ())])
        return
    for found in accuracy(frame, clean=metadata["kind"] == "none").to_dict("records"):
        yield _row(metadata, metric="accuracy", **found)
    if minimal:
        own = frame[frame["epsilon"].isna()]  # not those cut back to a budget
        for metric, value in norms(own, metadata["threat"]["norm"]).items():
            yield _row(metadata, metric=metric, value=value, n=own["sample"].nunique())


def _worst_rows(
    metadata: Mapping[str, Any], frames: Mapping[str, pd.DataFrame], required: Sequence[str]
) -> Iterator[dict[str, Any]]:
    if not _in_pixels(metadata):
        where = f"space {metadata['threat']['space']!r}, bounds {metadata['threat']['bounds']!r}"
        slug = metadata["cell"]["attack"]
        raise ValueError(f"{slug}: a worst-case attack works in pixels inside [0, 1]; got {where}")
    if metadata["status"] == "failed":
        yield from _failed_rows(metadata, ["worst_accuracy"])
        return
    norm, epsilons = metadata["threat"]["norm"], metadata["threat"]["epsilons"]
    over = [metadata["cell"]["attack"], *(slug for slug in required if slug in frames)]
    table = worst_case(frames, norm=norm, epsilons=epsilons, required=required, over=over)
    for found in table.to_dict("records"):
        reason = found.pop("incomplete")
        yield _row(metadata, metric="worst_accuracy", status="incomplete" if reason else "ok", reason=reason, **found)


def _in_pixels(metadata: Mapping[str, Any]) -> bool:
    """Whether the points are images: made in pixels inside [0, 1], or not moved at all."""
    threat = metadata["threat"]
    return threat is None or (threat["space"] == "pixel" and threat["bounds"] in ("data", [0, 1]))


def _model_rows(path: Path, thresholds: Sequence[float], key: str | None) -> Iterator[dict[str, Any]]:
    try:
        run = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON, got: {error}; {weights_of.RETRAIN}") from error
    names = ["fuzziness", *(f"near_zero_{t:g}" for t in thresholds), "max_abs_conv", "rho_extreme"]
    base = _identity(run["cell"])
    base |= {"attack": "clean", "member": "clean", "protocol": "published", "space": "", "norm": "none"}
    base |= {"epsilon": math.nan, "status": run["status"], "reason": run.get("reason") or ""}
    if key is None:
        return
    if run["status"] == "failed":
        yield from ({**base, "metric": name, "value": math.nan, "n": 0} for name in names)
        return
    weights = weights_of.read(path.with_name("model.safetensors"), key)
    shares = (weights_of.near_zero(weights, threshold) for threshold in thresholds)
    values = [weights_of.fuzziness(weights), *shares, weights_of.max_abs(weights), weights_of.rho_extreme(weights)]
    for name, value in zip(names, values, strict=True):
        yield {**base, "metric": name, "value": value, "n": weights.size}
