"""What the balls of attacks have in common; how points fill them is in evaluation/test_noise.py."""

import pytest
import torch

from touchstone.attacks.balls import confine, in_unit_ball
from touchstone.norms import distance
from touchstone.rng import SampleRng
from touchstone.types import UNIT


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
