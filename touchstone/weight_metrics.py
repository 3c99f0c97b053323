"""The metrics of the weights of one layer, by what they are called where: in tables, statements and selections.

On the ground floor, since what trains and attacks knows no study, and no study knows how they are measured.
"""

from typing import NamedTuple


class WeightMetric(NamedTuple):
    """What a metric of weights is called.

    Attributes:
        cell: in cells.csv; {} stands for a threshold.
        compared: in a statement that compares it.
        selection: whether selection.csv has it, in a column with the name of its function.
    """

    cell: str
    compared: str
    selection: bool = True


# function in touchstone.findings.weights -> its names
WEIGHT_METRICS = {
    "fuzziness": WeightMetric("fuzziness", "fuzziness"),
    "near_zero": WeightMetric("near_zero_{:g}", "near_zero_param_ratio_vs_std"),
    "max_abs": WeightMetric("max_abs_conv", "max_abs_conv"),
    "median_abs": WeightMetric("median_abs_conv", "median_abs_conv", selection=False),
    "rho_extreme": WeightMetric("rho_extreme", "rho_extreme", selection=False),
    "min_angle": WeightMetric("min_angle", "min_angle", selection=False),
}
IN_SELECTION = tuple(name for name, metric in WEIGHT_METRICS.items() if metric.selection)


def near_zero_name(threshold: float) -> str:
    """Return the name in cells.csv of the share of weights under a threshold."""
    return WEIGHT_METRICS["near_zero"].cell.format(threshold)
