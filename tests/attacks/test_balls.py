"""What the balls of attacks have in common; how points fill them is in evaluation/test_noise.py."""

import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from touchstone.attacks.balls import confine, in_unit_ball, into_l1_ball
from touchstone.norms import distance
from touchstone.rng import SampleRng
from touchstone.types import UNIT, Bounds


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_confined_points_are_in_ball_and_box(norm: str) -> None:
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        x = torch.rand(200, 12, dtype=dtype)
        x[:, :4] = x[:, :4].round()
        eps = torch.linspace(0, 2, 200, dtype=dtype)
        z = confine(x + torch.randn_like(x), x, eps, norm, UNIT)
        assert z.min() >= 0
        assert z.max() <= 1
        assert (distance(z - x, norm) <= eps * (1 + 1e-6) + 1e-7).all()
        assert torch.equal(z[0], x[0])


def test_points_of_the_unit_ball_have_the_type_of_the_image() -> None:
    rng, like = SampleRng(0, torch.arange(3)), torch.zeros(3, 2, 2, dtype=torch.float64)
    for norm in ("linf", "l2"):
        drawn = in_unit_ball(rng, like, norm, restart=0)
        assert (drawn.shape, drawn.dtype) == (like.shape, like.dtype)
        assert not torch.equal(drawn, in_unit_ball(rng, like, norm, restart=1))


def furthest(slope: Tensor, x: Tensor, eps: float) -> float:
    """Return the largest <slope, d> with x + d in [0, 1] and |d|_1 <= eps (d = up - down, a linear program)."""
    cost = [*(-slope).tolist(), *slope.tolist()]
    walls = [(0, max(0.0, 1 - v)) for v in x.tolist()] + [(0, v) for v in x.tolist()]
    return -linprog(cost, [[1.0] * len(cost)], [eps], bounds=walls).fun


def test_l1_projection_is_the_nearest_point_of_ball_and_box() -> None:
    """A point p of a convex set is nearest to u exactly if no other point is further along u - p."""
    torch.manual_seed(0)
    x = torch.rand(30, 7, dtype=torch.float64)
    x[:, :3] = x[:, :3].round()
    delta = torch.randn_like(x) * torch.logspace(-2, 1, 30, dtype=torch.float64)[:, None]
    delta[5] = 0.3 * delta[5].sign()  # ties
    for eps in (0.0, 0.2, 1.0, 3.0, 9.0):
        p = into_l1_ball(delta, x, torch.full((30,), eps, dtype=torch.float64), UNIT)
        assert ((p >= 0) & (p <= 1)).all()
        assert (distance(p - x, "l1") <= eps + 1e-9).all()
        for row in range(30):
            slope = x[row] + delta[row] - p[row]
            assert float(slope @ (p[row] - x[row])) == pytest.approx(furthest(slope, x[row], eps), abs=1e-9)


def test_l1_projection_without_a_box_is_the_projection_onto_the_ball() -> None:
    x, delta = torch.zeros(1, 4).double(), torch.tensor([[3.0, -1.0, 0.5, 0.0]]).double()
    free = Bounds(torch.tensor(-torch.inf), torch.tensor(torch.inf))
    assert into_l1_ball(delta, x, torch.tensor([2.5]), free).tolist() == [[2.25, -0.25, 0.0, 0.0]]
    assert into_l1_ball(delta, x, torch.tensor([9.0]), free).tolist() == delta.tolist()


def test_l1_points_of_large_float32_images_are_within_eps() -> None:
    torch.manual_seed(0)
    x, eps = torch.rand(8, 3, 32, 32), torch.full((8,), 300.0)
    z = into_l1_ball(torch.randn_like(x), x, eps, UNIT)
    moved = (z.double() - x.double()).flatten(1).abs().sum(dim=1)
    assert (moved <= eps + 1e-9).all()
    assert (moved > eps - 1e-3).all()
