import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy import optimize, stats

from touchstone.findings import weights as weights_of


@pytest.mark.parametrize("weights", [[0.3, -2.0, 1.0], np.linspace(-3, 3, 70).reshape(2, 5, 7)])
def test_fuzziness_is_the_mean_entropy_of_rho(weights: Any) -> None:
    rho = [1 / (1 + abs(w)) for w in np.ravel(weights)]
    assert weights_of.fuzziness(weights) == pytest.approx(np.mean([stats.entropy([r, 1 - r]) for r in rho]), rel=1e-12)


def test_fuzziness_at_the_ends() -> None:
    assert weights_of.fuzziness(np.zeros((2, 3))) == 0.0
    assert weights_of.fuzziness([1.0, -1.0]) == pytest.approx(math.log(2), rel=1e-15)
    assert weights_of.fuzziness([1e-300, 1e300]) == pytest.approx(0.0, abs=1e-15)
    assert weights_of.fuzziness([1e-4]) == pytest.approx(weights_of.fuzziness([1e4]), rel=1e-9), "w and 1/w are alike"


def test_fuzziness_can_rise_while_the_penalty_falls() -> None:
    """Against the sentence after eq. 15 of the Min-Max paper."""
    peak = optimize.minimize_scalar(lambda w: -weights_of.fuzziness([w]), bounds=(0, 3), method="bounded").x
    assert peak == pytest.approx(1.0, abs=1e-4)

    def penalty(w: float) -> float:
        return w * (1 - w)

    assert optimize.minimize_scalar(lambda w: -penalty(w), bounds=(0, 1), method="bounded").x == pytest.approx(0.5)
    assert penalty(0.8) < penalty(0.6)
    assert weights_of.fuzziness([0.8]) > weights_of.fuzziness([0.6])


def test_shares_of_weights() -> None:
    weights = np.array([[0.0, 0.01, -0.009], [0.05, -20.0, 1.0]], dtype="float32")
    assert weights_of.near_zero(weights, 0.01) == pytest.approx(3 / 6)  # float32 0.01 lies below 0.01
    assert weights_of.near_zero([0.5, 0.25], 0.5) == 0.5
    assert weights_of.max_abs(weights) == 20.0
    assert weights_of.median_abs(weights) == pytest.approx(0.03)
    assert weights_of.rho_extreme(weights) == pytest.approx(5 / 6)  # |w| below 1/19 or above 19


def test_the_smallest_angle_between_classes_is_largest_on_a_simplex() -> None:
    k = 10
    simplex = np.eye(k) - 1 / k
    assert weights_of.min_angle(3.0 * simplex) == pytest.approx(math.degrees(math.acos(1 / (1 - k))))
    assert weights_of.min_angle([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]) == pytest.approx(45.0)
    assert weights_of.min_angle(np.ones((2, 1, 3, 3))) == pytest.approx(0.0, abs=1e-5), "filters are rows too"
    assert math.isnan(weights_of.min_angle([[1.0, 0.0], [0.0, 0.0]]))


@pytest.mark.parametrize(
    "function",
    [weights_of.fuzziness, weights_of.max_abs, weights_of.median_abs, weights_of.rho_extreme, weights_of.min_angle],
)
@pytest.mark.parametrize(("weights", "message"), [([], "got 0 of which 0"), ([1.0, np.nan], "got 2 of which 1")])
def test_weights_that_are_no_numbers_are_refused(function: Any, weights: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=f"expected finite weights, at least one; {message} not finite"):
        function(weights)


def test_weights_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"net.conv1.weight": np.arange(6, dtype="float32").reshape(2, 3), "net.fc.bias": np.ones(1)}, path)
    assert weights_of.read(path).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match=r"expected tensor 'net\.conv9', got net\.conv1\.weight, net\.fc\.bias"):
        weights_of.read(path, "net.conv9")
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be used: .*delete it and run .* \(rule train\)"):
        weights_of.read(path)
