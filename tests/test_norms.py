from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from touchstone.attacks.balls import confine
from touchstone.norms import DUAL, distance, pixels, project, steepest, unit, values
from touchstone.types import Bounds

NORMS = ("linf", "l2", "l1")
ORDER = {"linf": np.inf, "l2": 2, "l1": 1}


def random_rows(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """40 rows of sizes from 1e-3 to 1e3, shaped as images; the first is zero."""
    torch.manual_seed(0)
    rows = torch.randn(40, 3, 4, 4, dtype=dtype) * torch.logspace(-3, 3, 40, dtype=dtype).view(-1, 1, 1, 1)
    rows[0] = 0
    return rows


def radii(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor([0.0, 1e-3, 0.3, 1.0, 40.0], dtype=dtype).repeat(8)


@pytest.mark.parametrize("norm", NORMS)
def test_distance_is_numpys(norm: str) -> None:
    rows = random_rows()
    expected = [np.linalg.norm(row.numpy().ravel(), ORDER[norm]) for row in rows]
    np.testing.assert_allclose(distance(rows, norm), expected, rtol=1e-12)


def test_l0_counts_pixels_of_images_and_entries_of_vectors() -> None:
    delta = torch.zeros(2, 3, 2, 2)
    delta[0, 0, 0, 0] = delta[0, 2, 0, 0] = delta[0, 1, 1, 0] = 1e-30
    assert pixels(delta).tolist() == [2, 0]
    assert distance(delta, "l0").tolist() == [2.0, 0.0]
    assert values(delta).tolist() == [3, 0]
    assert pixels(delta.flatten(1)).tolist() == [3, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", NORMS)
def test_projection_is_feasible_and_idempotent(norm: str, dtype: torch.dtype) -> None:
    eps = radii(dtype)
    once = project(random_rows(dtype), eps, norm)
    assert (distance(once, norm) <= eps * (1 + 1e-6)).all()
    moved = project(once, eps, norm) - once
    assert (distance(moved, norm) <= eps * 1e-6).all()


@pytest.mark.parametrize("norm", NORMS)
def test_points_inside_are_untouched_bit_for_bit(norm: str) -> None:
    rows = random_rows(torch.float32)
    assert torch.equal(project(rows, distance(rows, norm), norm), rows)
    assert torch.equal(project(rows, 1e6, norm), rows)


@pytest.mark.parametrize("norm", NORMS)
def test_projection_is_the_nearest_point(norm: str) -> None:
    """The residual r = d - p of the nearest point p of a ball has <r, p> = eps |r|_dual, and only there."""
    rows, eps = random_rows(), radii()
    nearest = project(rows, eps, norm)
    residual = (rows - nearest).flatten(1)
    outside = distance(rows, norm) > eps
    inner = (residual * nearest.flatten(1)).sum(dim=1)[outside]
    bound = eps[outside] * distance(residual, DUAL[norm])[outside]
    assert outside.sum() > 15
    torch.testing.assert_close(inner, bound, rtol=1e-9, atol=1e-12)


def test_l1_projection_is_scipys_threshold() -> None:
    d, eps = np.array([3.0, -1.0, 0.5, 0.0, -2.5]), 2.0
    theta = brentq(lambda t: np.maximum(np.abs(d) - t, 0).sum() - eps, 0, 3)
    expected = np.sign(d) * np.maximum(np.abs(d) - theta, 0)
    np.testing.assert_allclose(project(torch.tensor(d)[None], eps, "l1")[0], expected, atol=1e-12)


def test_l1_projection_of_a_large_float32_image_keeps_the_radius() -> None:
    torch.manual_seed(0)
    far = torch.randn(4, 3, 64, 64)
    assert (distance(project(far, 10.0, "l1").double(), "l1") <= 10 * (1 + 1e-6)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_l0_projection_keeps_the_pixels_whose_loss_would_be_largest(dtype: torch.dtype) -> None:
    """No choice of as many pixels is nearer: compared with all of them."""
    torch.manual_seed(1)
    delta, eps = torch.randn(4, 3, 2, 2, dtype=dtype), torch.tensor([0.0, 1.9, 2.0, 9.0])
    delta[3, :, 0, 0] = 0
    nearest = project(delta, eps, "l0")
    assert pixels(nearest).tolist() == [0, 1, 2, 3]
    assert ((nearest == delta) | (nearest == 0)).all()
    for row, count in ((1, 1), (2, 2)):
        masks = [torch.tensor(mask).view(2, 2) for mask in product([0, 1], repeat=4) if sum(mask) == count]
        lost = min(float((delta[row] * (1 - mask)).norm()) for mask in masks)
        assert float((delta[row] - nearest[row]).norm()) == pytest.approx(lost)
    assert torch.equal(nearest[3], delta[3])
    vector = project(torch.tensor([[1.0, -3.0, 2.0]]), 2.0, "l0")
    assert vector.tolist() == [[0.0, -3.0, 2.0]]


@pytest.mark.parametrize("norm", NORMS)
def test_scalar_radius_is_the_vector_of_it(norm: str) -> None:
    rows = random_rows()
    assert torch.equal(project(rows, 0.3, norm), project(rows, torch.full((40,), 0.3, dtype=rows.dtype), norm))


@pytest.mark.parametrize("norm", NORMS)
def test_steepest_direction_attains_the_dual_norm(norm: str) -> None:
    grad = random_rows()
    direction = steepest(grad, norm)
    assert (distance(direction, norm) <= 1 + 1e-12).all()
    inner = (grad * direction).flatten(1).sum(dim=1)
    torch.testing.assert_close(inner, distance(grad, DUAL[norm]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_steepest_direction_of_zero_nan_and_tiny_gradients(norm: str) -> None:
    grad = torch.stack([torch.zeros(5), torch.full((5,), torch.nan), torch.full((5,), -1e-30)])
    direction = steepest(grad, norm)
    assert not direction[:2].any()
    torch.testing.assert_close(distance(direction, norm)[2], torch.tensor(1.0))


def test_unit_rows_have_norm_one_and_zero_stays_zero() -> None:
    rows = torch.tensor([[0.0, 0.0], [3.0, -4.0], [1e-30, 0.0], [1e30, 1e30]])
    assert distance(unit(rows, "l2"), "l2").tolist() == pytest.approx([0, 1, 1, 1])
    assert unit(rows, "l1")[1].tolist() == pytest.approx([3 / 7, -4 / 7])


@pytest.mark.parametrize("function", [distance, steepest, lambda rows, norm: project(rows, 1.0, norm)])
def test_unknown_norm_lists_the_known_ones(function: object) -> None:
    with pytest.raises(ValueError, match=r"unknown norm 'l3'; allowed: (l0, )?l1, l2, linf"):
        function(torch.zeros(1, 2), "l3")
    with pytest.raises(ValueError, match="unknown norm 'l0'"):
        steepest(torch.zeros(1, 2), "l0")


def test_points_on_a_large_l2_sphere_are_within_the_judges_tolerance() -> None:
    """A size summed in float32, or an offset rounded in each entry, once left the ball by more than that."""
    x = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    z = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    for eps in (3.0, 20.0):
        inside = confine(z, x, torch.full((8,), eps), "l2", Bounds(torch.tensor(-9.0), torch.tensor(9.0)))
        size = (inside.double() - x.double()).flatten(1).norm(dim=1)
        assert (size <= eps + 1e-6).all()
        assert (size > eps * (1 - 1e-5)).all()
