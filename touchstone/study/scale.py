"""How numbers are compared: units of published values, and the tolerance of each metric."""

from collections.abc import Callable
from typing import Literal, NamedTuple

# unit of a published value -> what one is in it
UNITS = {"fraction": 1.0, "percent": 100.0, "x1e-1": 10.0, "x1e-2": 100.0, "ratio": 1.0, "raw": 1.0}
SLACK = 1e-9  # rounding of decimal numbers: a difference of exactly tau is within tau


class Metric(NamedTuple):
    """How a metric is compared: tolerance of a published value (both as measured), and how samples enter."""

    tolerance: Callable[[float], float]
    sampling: Literal["binomial", "unknown", "none"]


def _points(value: float) -> float:
    return 0.005 if min(value, 1.0 - value) <= 0.05 + SLACK else 0.02


def _error(value: float) -> float:
    return max(0.002, 0.2 * value)


def _relative(share: float) -> Callable[[float], float]:
    return lambda value: share * abs(value)


def _absolute(size: float) -> Callable[[float], float]:
    return lambda _: size


METRICS = {
    "accuracy": Metric(_points, "binomial"),
    "worst_accuracy": Metric(_points, "binomial"),
    "success_rate": Metric(_points, "binomial"),
    "error": Metric(_error, "binomial"),
    "clean_accuracy_drop": Metric(_absolute(0.02), "unknown"),
    "mean_dist": Metric(_relative(0.10), "unknown"),
    "median_dist": Metric(_relative(0.10), "unknown"),
    "rho_adv": Metric(_relative(0.10), "unknown"),
    "confidence": Metric(_absolute(0.02), "unknown"),
    "confidence_gap": Metric(_absolute(0.02), "unknown"),
    "fuzziness": Metric(_relative(0.25), "none"),
    "near_zero_ratio": Metric(_relative(0.25), "none"),
}
COMPARED = ("clean_accuracy_drop", "near_zero_ratio")  # metrics that also need the reference defense
