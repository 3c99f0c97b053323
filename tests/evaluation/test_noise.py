import pytest
import torch

from touchstone.attacks.common import BALLS
from touchstone.evaluation.noise import in_ball, own_generator
from touchstone.norms import distance
from touchstone.rng import SampleRng
from touchstone.types import UNIT, Bounds

FREE = Bounds(-torch.inf, torch.inf)
EPS = 0.25


def draw(norm: str, index: range = range(200), bounds: Bounds = FREE, number: int = 0) -> torch.Tensor:
    rng = SampleRng(0, torch.tensor(list(index)))
    x = torch.full((len(index), 3, 4, 4), 0.5)
    return in_ball(x, norm=norm, eps=EPS, bounds=bounds, rng=rng, draw=number) - x


@pytest.mark.parametrize("norm", BALLS)
def test_points_fill_the_ball_and_stay_in_it(norm: str) -> None:
    size = distance(draw(norm), norm)
    assert size.max() <= EPS + 1e-6
    # radius^48 is uniform in a 48-dimensional ball: its median is at 0.5^(1/48) = 0.986 of the radius
    assert (size / EPS).median().item() == pytest.approx(0.5 ** (1 / 48), abs=0.01)


@pytest.mark.parametrize("norm", BALLS)
def test_points_are_centred_and_differ_by_draw(norm: str) -> None:
    points = draw(norm)
    assert points.mean().abs() < 0.05 * points.std()
    assert not torch.equal(points, draw(norm, number=1))


@pytest.mark.parametrize("norm", BALLS)
def test_a_point_belongs_to_its_sample(norm: str) -> None:
    assert torch.equal(draw(norm, range(7, 9)), draw(norm)[7:9])


def test_points_are_clipped_to_the_box() -> None:
    rng = SampleRng(0, torch.arange(50))
    points = in_ball(torch.zeros(50, 3), norm="linf", eps=0.5, bounds=UNIT, rng=rng)
    assert points.min() == 0


def test_an_unknown_ball_is_refused() -> None:
    with pytest.raises(ValueError, match="norm 'l0' is not supported here; allowed: l1, l2, linf"):
        draw("l0")


def test_the_global_generator_is_restored() -> None:
    before = torch.random.get_rng_state()
    with own_generator(torch.device("cpu"), 3):
        first = torch.rand(4)
    assert torch.equal(torch.random.get_rng_state(), before)
    with own_generator(torch.device("cpu"), 3):
        assert torch.equal(torch.rand(4), first)
