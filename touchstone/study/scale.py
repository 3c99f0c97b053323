"""How numbers are compared: units of published values, and the tolerance of each metric."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

# unit of a published value -> what one is in it
UNITS = {"fraction": 1.0, "percent": 100.0, "x1e-1": 10.0, "x1e-2": 100.0, "ratio": 1.0, "raw": 1.0}


class RadiusUnit(NamedTuple):
    """What a printed epsilon is measured in: spaces of a threat that it can mean, and how often it holds our unit."""

    spaces: tuple[str, ...]
    size: float


EPSILON_UNITS = {
    "pixel01": RadiusUnit(("pixel",), 1.0),
    "255": RadiusUnit(("pixel",), 255.0),
    "count": RadiusUnit(("pixel",), 1.0),
    # of inputs as the net sees them, or nobody said of which
    "normalized": RadiusUnit(("normalized", "whitened", "pixel"), 1.0),
}
# of a share: the usual tolerance, the least difference of a pair that is tested, and how near a net must be
POINTS = 0.02
FLOOR = 0.005  # accuracy: what is left under an attack that breaks all but a few, as many attacks would
LITTLE = 0.05  # accuracy: the most that "a little" is, averaged over attacks
SLIGHT = 0.02  # accuracy: the most that is lost without an attack where the loss is hardly visible
SLACK = 1e-9  # rounding of decimal numbers: a difference of exactly tau is within tau

Tolerance = Callable[[float], float]


class Scale(NamedTuple):
    """Where the seeds of different nets scatter alike: `to` it, and its slope at a number."""

    to: Callable[[float], float]
    slope: Callable[[float], float]


PLAIN = Scale(lambda value: value, lambda _: 1.0)
LOG = Scale(math.log, lambda value: 1.0 / value)
LOGIT = Scale(lambda value: math.log(value / (1.0 - value)), lambda value: 1.0 / (value * (1.0 - value)))


class Metric(NamedTuple):
    """How a metric is compared.

    Attributes:
        tolerance: of a published value; both as measured.
        sampling: how samples enter: "binomial" (a share of them), "measured" (their half-width stands beside the
            number), "none" (it reads no samples).
        scale: on which deviations over seeds are pooled.
        clean: tolerance of a number without an attack, where that is another.
    """

    tolerance: Tolerance
    sampling: Literal["binomial", "measured", "none"]
    scale: Scale
    clean: Tolerance | None = None

    def tau(self, value: float, *, clean: bool) -> float:
        """Return the tolerance of a published value, measured without an attack or under one."""
        return self.clean(value) if clean and self.clean else self.tolerance(value)


def _points(value: float) -> float:
    """Accuracies and errors under attack: alike, as one is 1 minus the other."""
    return 0.005 if min(value, 1.0 - value) <= 0.05 + SLACK else POINTS


def _of_error(value: float) -> float:
    return max(0.002, 0.2 * value)


def _of_accuracy(value: float) -> float:
    return _of_error(1.0 - value)


def _relative(share: float) -> Tolerance:
    return lambda value: share * abs(value)


def _absolute(size: float) -> Tolerance:
    return lambda _: size


SHARE = Metric(_points, "binomial", LOGIT)
METRICS = {
    "accuracy": SHARE._replace(clean=_of_accuracy),
    "worst_accuracy": SHARE,
    "success_rate": SHARE,
    "error": SHARE._replace(clean=_of_error),
    "adv_error": SHARE,
    "clean_accuracy_drop_vs_std": Metric(_absolute(0.02), "measured", PLAIN),
    "mean_norm": Metric(_relative(0.10), "measured", LOG),
    "median_norm": Metric(_relative(0.10), "measured", LOG),
    "common_mean_norm": Metric(_relative(0.10), "measured", LOG),
    "accuracy_values": SHARE,
    "mean_norm_values": Metric(_relative(0.10), "measured", LOG),
    "median_norm_values": Metric(_relative(0.10), "measured", LOG),
    **dict.fromkeys(
        ["rho_adv", "rho_adv_ends", "rho_adv_all", "rho_adv_all_ends"], Metric(_relative(0.10), "measured", LOG)
    ),
    "avg_confidence": Metric(_absolute(0.02), "measured", PLAIN),
    "prob_gap": Metric(_absolute(0.02), "measured", PLAIN),
    "fuzziness": Metric(_relative(0.25), "none", LOG),
    "near_zero_param_ratio_vs_std": Metric(_relative(0.25), "none", LOG),
}
ERRORS = ("error", "adv_error")  # of 1 minus an accuracy: any, and what papers call so under attack
# metrics that also need the reference defense
COMPARED = ("clean_accuracy_drop_vs_std", "near_zero_param_ratio_vs_std")
