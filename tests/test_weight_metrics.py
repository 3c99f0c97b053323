from touchstone.findings import weights
from touchstone.study.scale import METRICS
from touchstone.study.statements import OF_WEIGHTS
from touchstone.weight_metrics import IN_SELECTION, WEIGHT_METRICS, near_zero_name


def test_every_metric_has_a_function_of_its_name() -> None:
    assert {*weights.WHOLE, "near_zero"} == WEIGHT_METRICS.keys()
    assert {getattr(weights, name) for name in weights.WHOLE} == {*weights.WHOLE.values()}


def test_a_layer_has_all_of_them_and_one_per_threshold() -> None:
    layer = [[0.0, 0.02], [0.02, 0.0]]
    found = {name: metric(layer) for name, metric in weights.of_layer([0.01, 1e-3, 0.05]).items()}
    shares = {"near_zero_0.01": 0.5, "near_zero_0.001": 0.5, "near_zero_0.05": 1.0}
    assert found == {
        "fuzziness": found["fuzziness"],
        "max_abs_conv": 0.02,
        "median_abs_conv": 0.01,
        "rho_extreme": 1.0,
        "min_angle": 90.0,
        **shares,
    }
    assert near_zero_name(0.01) == "near_zero_0.01"


def test_a_selection_shows_them_and_a_statement_compares_them_by_name() -> None:
    assert IN_SELECTION == ("fuzziness", "near_zero", "max_abs")
    of_size = ("fuzziness", "near_zero_param_ratio_vs_std", "max_abs_conv", "median_abs_conv")
    assert (*of_size, "rho_extreme", "min_angle") == OF_WEIGHTS
    assert {name for name, metric in METRICS.items() if metric.sampling == "none"} < {*OF_WEIGHTS}
