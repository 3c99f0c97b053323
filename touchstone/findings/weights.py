"""Numbers that read the weights of one layer and nothing else; torch is not needed."""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from scipy.special import xlogy

from touchstone.files import DamagedError
from touchstone.models import FIRST_CONV
from touchstone.weight_metrics import WEIGHT_METRICS, near_zero_name

EXTREME = 0.05  # rho within this of 0 or 1 counts as extreme (the reading of Min-Max fig. 6 that we test)


def fuzziness(weights: ArrayLike) -> float:
    """Return the fuzziness of a weight tensor, in [0, ln 2]; Shen, Chen and Wang (Min-Max), eq. 14-15.

    rho = 1 / (1 + |w|), fuzziness = -mean(rho log rho + (1 - rho) log(1 - rho)). The paper leaves the base of
    the logarithm open; natural here. It peaks at |w| = 1, the paper's penalty |w| (1 - |w|) at 0.5, so for
    weights between the two it rises while the penalty falls, against the sentence after eq. 15.

    Raises:
        ValueError: if there is no weight, or one is not finite.
    """
    rho = 1.0 / (1.0 + _magnitudes(weights))
    return float(-np.mean(xlogy(rho, rho) + xlogy(1.0 - rho, 1.0 - rho)))  # xlogy: 0 log 0 = 0


def near_zero(weights: ArrayLike, threshold: float) -> float:
    """Return the share of weights with |w| < threshold. Raises ValueError as `fuzziness`."""
    return float(np.mean(_magnitudes(weights) < threshold))


def max_abs(weights: ArrayLike) -> float:
    """Return the largest |w|. Raises ValueError as `fuzziness`."""
    return float(_magnitudes(weights).max())


def median_abs(weights: ArrayLike) -> float:
    """Return the |w| that half of the weights are below. Raises ValueError as `fuzziness`."""
    return float(np.median(_magnitudes(weights)))


def rho_extreme(weights: ArrayLike, margin: float = EXTREME) -> float:
    """Return the share of weights whose rho = 1 / (1 + |w|) is within margin of 0 or 1 (Min-Max, fig. 6)."""
    rho = 1.0 / (1.0 + _magnitudes(weights))
    return float(np.mean((rho < margin) | (rho > 1.0 - margin)))


def min_angle(weights: ArrayLike) -> float:
    """Return the smallest angle between two rows of weights, in degrees: of a classifier between two classes.

    K rows as far apart as they can be point at the vertices of a simplex, arccos(1 / (1 - K)) from each other (Xu et
    al., theorem 1). A row is whatever the first axis counts, a filter of a convolution too.

    Returns:
        In [0, 180]; nan with fewer than two rows that are not zero.

    Raises:
        ValueError: as `fuzziness`.
    """
    _magnitudes(weights)
    values = np.asarray(weights, dtype=np.float64)
    rows = values.reshape(len(values), -1)
    lengths = np.linalg.norm(rows, axis=1)
    unit = rows[lengths > 0] / lengths[lengths > 0, None]
    if len(unit) < 2:
        return math.nan
    cosines = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    return float(np.degrees(np.arccos(np.clip(cosines.max(), -1.0, 1.0))))


# functions of WEIGHT_METRICS that need no threshold
WHOLE: Mapping[str, Callable[[ArrayLike], float]] = {
    "fuzziness": fuzziness,
    "max_abs": max_abs,
    "median_abs": median_abs,
    "rho_extreme": rho_extreme,
    "min_angle": min_angle,
}


def of_layer(thresholds: Iterable[float]) -> dict[str, Callable[[ArrayLike], float]]:
    """Return the metrics of a layer by their names in cells.csv, that of near-zero weights once for each threshold."""
    whole = {WEIGHT_METRICS[name].cell: metric for name, metric in WHOLE.items()}
    return whole | {near_zero_name(t): partial(near_zero, threshold=t) for t in thresholds}


def _magnitudes(weights: ArrayLike) -> NDArray[np.float64]:
    size: NDArray[np.float64] = np.abs(np.asarray(weights, dtype=np.float64)).ravel()
    if not size.size or not np.isfinite(size).all():
        bad = int((~np.isfinite(size)).sum())
        raise ValueError(f"expected finite weights, at least one; got {size.size} of which {bad} not finite")
    return size


def names(path: Path) -> set[str]:
    """Return the names of the tensors of a model.safetensors. Raises DamagedError if it is truncated."""
    try:
        with safe_open(path, framework="numpy") as file:
            return set(file.keys())
    except SafetensorError as error:
        raise DamagedError(path, "train", error) from error


def layers(path: Path, keys: Iterable[str]) -> dict[str, NDArray[np.float64]]:
    """Return those of some tensors that a model.safetensors has, as float64. Raises DamagedError if it is truncated."""
    held = names(path)
    return {key: read(path, key) for key in keys if key in held}


def read(path: Path, key: str = FIRST_CONV) -> NDArray[np.float64]:
    """Return one tensor of a model.safetensors, as float64.

    Raises:
        DamagedError: if the file is truncated.
        ValueError: if it has no such tensor.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            if key in (held := file.keys()):
                return np.asarray(file.get_tensor(key), dtype=np.float64)
    except SafetensorError as error:
        raise DamagedError(path, "train", error) from error
    raise ValueError(f"{path}: expected tensor {key!r}, got {', '.join(sorted(held))}")
