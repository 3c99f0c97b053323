"""Proximal operators against their definition: no other point has a smaller objective."""

from collections.abc import Callable

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from touchstone.norms import project, rowwise
from touchstone.proximal import (
    GLOBAL_CUT,
    LOCAL_CUT,
    hard,
    hard_pixels,
    level,
    soft,
    two_thirds,
    two_thirds_pixels,
)

TERMS: dict[Callable[..., Tensor], Callable[[Tensor], Tensor]] = {
    soft: lambda u: u.abs(),
    hard: lambda u: (u != 0).double(),
    two_thirds: lambda u: u.abs() ** (2 / 3),
}
ALL = (soft, hard, hard_pixels, two_thirds, two_thirds_pixels, level)
SEPARABLE = pytest.mark.parametrize("prox", TERMS, ids=lambda prox: prox.__name__)
EACH = pytest.mark.parametrize("prox", ALL, ids=lambda prox: prox.__name__)


def rows(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Return images (48, 3, 4, 4) of sizes from 1e-3 to 1e3, one of them zero, and weights from 1e-4 to 1e4."""
    torch.manual_seed(0)
    v = torch.randn(48, 3, 4, 4, dtype=dtype) * torch.logspace(-3, 3, 12, dtype=dtype).repeat(4).view(-1, 1, 1, 1)
    v[0] = 0
    return v, torch.logspace(-4, 4, 48, dtype=dtype)


def objective(prox: Callable[..., Tensor], u: Tensor, v: Tensor, weight: Tensor) -> Tensor:
    return rowwise(weight, v) * TERMS[prox](u) + (u - v) ** 2 / 2


@SEPARABLE
def test_no_point_of_a_fine_grid_is_better(prox: Callable[..., Tensor]) -> None:
    v = torch.linspace(-4, 4, 161, dtype=torch.float64).repeat(6, 1)
    weight = torch.tensor([0.0, 1e-3, 0.1, 0.7, 2.0, 9.0], dtype=torch.float64)
    ours = objective(prox, prox(v, weight), v, weight)
    grid = torch.arange(-16000, 16001).double() / 4000  # zero is one of them
    best = torch.full_like(v, torch.inf)
    for part in grid.split(400):
        best = torch.minimum(best, objective(prox, part[:, None, None], v, weight).amin(dim=0))
    assert (ours <= best + 1e-12).all()


def test_clipped_soft_threshold_is_the_operator_of_l1_and_a_box() -> None:
    torch.manual_seed(0)
    v, weight = torch.randn(6, 50, dtype=torch.float64), torch.linspace(0, 1.5, 6, dtype=torch.float64)
    low, high = -torch.rand(6, 50, dtype=torch.float64), torch.rand(6, 50, dtype=torch.float64)
    ours = objective(soft, torch.minimum(torch.maximum(soft(v, weight), low), high), v, weight)
    inside = low + (high - low) * torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None, None]
    best = objective(soft, inside, v, weight).amin(dim=0)
    assert (ours <= best + 1e-12).all()


def test_pixels_with_one_channel_are_values() -> None:
    v, weight = rows()
    one = v[:, :1]
    assert torch.equal(hard_pixels(one, weight), hard(one, weight))
    assert torch.equal(two_thirds_pixels(one, weight), two_thirds(one, weight, LOCAL_CUT))
    assert torch.equal(hard_pixels(v.flatten(1), weight), hard(v.flatten(1), weight))
    assert torch.equal(two_thirds_pixels(v.flatten(1), weight), two_thirds(v.flatten(1), weight, LOCAL_CUT))


def test_a_pixel_is_kept_for_its_largest_channel() -> None:
    v = torch.tensor([[3.0, 1.0], [0.5, 1.2], [-0.1, -2.0]]).view(1, 3, 1, 2).double()
    kept = hard_pixels(v, torch.tensor([2.5**2 / 2]).double())
    assert torch.equal(kept[..., 0], v[..., 0])
    assert not kept[..., 1].any()
    weight = torch.tensor([1.9]).double()  # cuts at 2.1 and 2.4
    shrunk = two_thirds_pixels(v, weight)
    assert not shrunk[..., 1].any()
    assert torch.equal(shrunk[0, 1:, 0, 0], v[0, 1:, 0, 0])
    assert shrunk[0, 0, 0, 0] == two_thirds(v[:, :1], weight)[0, 0, 0, 0] < 3


def test_two_thirds_jumps_where_zero_becomes_as_good() -> None:
    weight = torch.tensor([1e-6, 0.3, 5.0]).double()
    for cut in (GLOBAL_CUT, LOCAL_CUT):
        edge = cut * weight**0.75
        below, above = (two_thirds((edge * f)[:, None], weight, cut)[:, 0] for f in (0.999, 1.001))
        assert not below.any()
        assert (above > edge / 4).all()
    u = two_thirds((GLOBAL_CUT * weight**0.75 * (1 + 1e-9))[:, None], weight)[:, 0]
    torch.testing.assert_close(weight * u ** (2 / 3) + (u - edge_of(weight)) ** 2 / 2, edge_of(weight) ** 2 / 2)
    v = LOCAL_CUT * weight**0.75 * (1 + 1e-6)
    u = two_thirds(v[:, None], weight, LOCAL_CUT)[:, 0]
    slope = u - v + 2 / 3 * weight * u ** (-1 / 3)
    assert (slope.abs() < 1e-5 * v).all()  # a stationary point


def edge_of(weight: Tensor) -> Tensor:
    return GLOBAL_CUT * weight**0.75


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_level_is_what_is_left_by_the_projection_onto_the_l1_ball(dtype: torch.dtype) -> None:
    v, weight = rows(dtype)
    expected = v - project(v, weight, "l1")
    torch.testing.assert_close(level(v, weight), expected, rtol=0, atol=1e-12 if dtype == torch.float64 else 2e-3)
    same = torch.full((48,), 0.5, dtype=dtype)
    v = v.sign()  # every value at the same height
    torch.testing.assert_close(level(v, same), v - project(v, same, "l1"))


def test_level_cuts_off_exactly_the_weight() -> None:
    v, weight = rows()
    cut = level(v, weight)
    removed = (v - cut).abs().flatten(1).sum(dim=1)
    everything = v.abs().flatten(1).sum(dim=1)
    torch.testing.assert_close(removed, torch.minimum(weight, everything), rtol=1e-9, atol=1e-12)
    for row in range(1, 48):
        if everything[row] > weight[row]:
            t = brentq(lambda t, row=row: float((v[row].abs() - t).clamp_min(0).sum() - weight[row]), 0, 1e4)
            torch.testing.assert_close(cut[row].abs().max().item(), t, rtol=1e-9, atol=1e-12)


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_operator_keeps_signs_shrinks_and_knows_its_limits(prox: Callable[..., Tensor], dtype: torch.dtype) -> None:
    v, weight = rows(dtype)
    kept = v.clone()
    u = prox(v, weight)
    assert (u.dtype, u.shape) == (v.dtype, v.shape)
    assert u.isfinite().all()
    assert torch.equal(v, kept)
    assert (u * v >= 0).all()
    assert (u.abs() <= v.abs() * (1 + 1e-5)).all()
    assert not u[0].any()
    assert torch.equal(prox(v, torch.zeros_like(weight)), v)
    assert not prox(v, torch.full_like(weight, 1e9)).any()
    tiny = prox(v, torch.full_like(weight, 1e-30))
    torch.testing.assert_close(tiny, v, rtol=1e-5, atol=0)
    assert prox(v[:0], weight[:0]).shape == (0, 3, 4, 4)


@EACH
def test_rows_do_not_see_one_another(prox: Callable[..., Tensor]) -> None:
    v, weight = rows()
    whole = prox(v, weight)
    for row in (0, 7, 30, 47):
        torch.testing.assert_close(prox(v[row : row + 1], weight[row : row + 1])[0], whole[row], rtol=1e-12, atol=0)


@pytest.mark.parametrize("prox", [hard, hard_pixels])
def test_hard_thresholds_are_idempotent(prox: Callable[..., Tensor]) -> None:
    v, weight = rows()
    assert torch.equal(prox(prox(v, weight), weight), prox(v, weight))


def test_level_does_not_hang_on_nan() -> None:
    v = torch.tensor([[1.0, torch.nan], [2.0, 1.0]])
    assert level(v, torch.ones(2))[1].tolist() == [1.0, 1.0]
