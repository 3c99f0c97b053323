"""How numbers are compared: units of published values, every metric with its tolerance, seeds and levels."""

import math
from collections.abc import Callable, Collection
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
EDGE = 0.05  # of a share: so near 0 and 1 it scatters less, and its tolerance is EDGE_POINTS
EDGE_POINTS = 0.005
FLOOR = 0.005  # accuracy: what is left under an attack that breaks all but a few, as many attacks would
LITTLE = 0.05  # accuracy: the most that "a little" is, averaged over attacks
SLIGHT = 0.02  # accuracy: the most that is lost without an attack where the loss is hardly visible
SLACK = 1e-9  # rounding of decimal numbers: a difference of exactly tau is within tau
LEVEL = 0.05  # of every test; an interval is that of 1 - LEVEL, which texts call 95 %
LEAST_SEEDS = 3  # whose own deviation is used, and of which a verdict may speak

Tolerance = Callable[[float], float]


class Scale(NamedTuple):
    """Where the seeds of different nets scatter alike: `to` it, and its slope at a number."""

    to: Callable[[float], float]
    slope: Callable[[float], float]


PLAIN = Scale(lambda value: value, lambda _: 1.0)
LOG = Scale(math.log, lambda value: 1.0 / value)
LOGIT = Scale(lambda value: math.log(value / (1.0 - value)), lambda value: 1.0 / (value * (1.0 - value)))


class Metric(NamedTuple):
    """A metric that a re-run gives, and how its numbers are compared.

    Attributes:
        kinds: of attacks that it comes from.
        low, high: its range, in our unit.
        tolerance: of a published value; both as measured.
        sampling: how samples enter: "binomial" (a share of them), "measured" (their half-width stands beside the
            number), "none" (it reads no samples).
        scale: on which deviations over seeds are pooled.
        clean: tolerance of a number without an attack, where that is another.
        at_radius: it is measured at the radii of its attack, where that has any.
        norm: the only one in which it is measured; "" for any.
        absent: why a run may lack it, where it is not by what the run leaves out; "" otherwise.
        paired: what is compared of one sample, where two attacks are: whether it is left right, whether it is broken,
            or how far that took; "" where nothing is.
    """

    kinds: Collection[str]
    low: float
    high: float
    tolerance: Tolerance
    sampling: Literal["binomial", "measured", "none"]
    scale: Scale
    clean: Tolerance | None = None
    at_radius: bool = False
    norm: str = ""
    absent: str = ""
    paired: Literal["", "left", "reached", "distance"] = ""

    def tau(self, value: float, *, clean: bool) -> float:
        """Return the tolerance of a published value, measured without an attack or under one."""
        return self.clean(value) if clean and self.clean else self.tolerance(value)


def _points(value: float) -> float:
    """Accuracies and errors under attack: alike, as one is 1 minus the other."""
    return EDGE_POINTS if min(value, 1.0 - value) <= EDGE + SLACK else POINTS


def _of_error(value: float) -> float:
    """Errors without an attack: a fifth, and 0.2 points at least."""
    return max(0.002, 0.2 * value)


def _of_accuracy(value: float) -> float:
    return _of_error(1.0 - value)


def _relative(share: float) -> Tolerance:
    return lambda value: share * abs(value)


def _absolute(size: float) -> Tolerance:
    return lambda _: size


_ANY = ("none", "fixed", "minimal")
SHARE = Metric(_ANY, 0.0, 1.0, _points, "binomial", LOGIT, at_radius=True)
_CONFIDENCE = Metric(_ANY, 0.0, 1.0, _absolute(POINTS), "measured", PLAIN, at_radius=True)
_SIZE = Metric(["minimal"], 0.0, math.inf, _relative(0.10), "measured", LOG)
_WEIGHTS = Metric(["none"], 0.0, math.inf, _relative(0.25), "none", LOG)
_OF_PEOPLE = SHARE._replace(kinds=["minimal"], at_radius=False, absent="people have not answered")
METRICS = {
    "accuracy": SHARE._replace(clean=_of_accuracy, paired="left"),
    "accuracy_values": SHARE._replace(kinds=["minimal"], norm="l0", paired="left"),
    "error": SHARE._replace(clean=_of_error),
    "adv_error": SHARE._replace(kinds=["fixed", "minimal"]),
    "avg_confidence": _CONFIDENCE,
    "prob_gap": _CONFIDENCE._replace(kinds=["none"], low=-1.0, at_radius=False),
    "success_rate": SHARE._replace(kinds=["minimal"], at_radius=False, paired="reached"),
    "mean_norm": _SIZE._replace(paired="distance"),
    **dict.fromkeys(["median_norm", "common_mean_norm"], _SIZE),
    "mean_norm_values": _SIZE._replace(norm="l0", paired="distance"),
    "median_norm_values": _SIZE._replace(norm="l0"),
    **dict.fromkeys(["rho_adv", "rho_adv_ends", "rho_adv_all", "rho_adv_all_ends"], _SIZE._replace(norm="l2")),
    **dict.fromkeys(["human_change", "human_no_change"], _OF_PEOPLE),
    "clean_accuracy_drop_vs_std": _CONFIDENCE._replace(kinds=["none"], low=-1.0, at_radius=False),
    **dict.fromkeys(["fuzziness", "near_zero_param_ratio_vs_std"], _WEIGHTS),
}
RHO_NEAR = "rho_near"  # share of the samples that are right with ||r|| / ||x|| below NEAR; only statements ask it
NEAR = 0.1
SILHOUETTE = "silhouette"  # of the features of clean images, by class; only statements ask it
# what only statements ask
OF_STATEMENTS = {
    RHO_NEAR: SHARE,
    SILHOUETTE: _CONFIDENCE._replace(kinds=["none"], low=-1.0, sampling="none", at_radius=False),
    **dict.fromkeys(["max_abs_conv", "median_abs_conv", "rho_extreme", "min_angle"], _WEIGHTS),
}
TENSOR = "@"  # before the tensor that a metric of weights is of, where it is not the first that is measured
ERRORS = ("error", "adv_error")  # of 1 minus an accuracy: any, and what papers call so under attack
# metrics that also need the reference defense
COMPARED = ("clean_accuracy_drop_vs_std", "near_zero_param_ratio_vs_std")


def measure(name: str) -> Metric:
    """Return a metric that claims or statements have, of whatever tensor; raises KeyError for another name."""
    metric = name.partition(TENSOR)[0]
    return METRICS[metric] if metric in METRICS else OF_STATEMENTS[metric]
