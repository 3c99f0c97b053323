import pytest
import torch

from touchstone.attacks.balls import BALLS
from touchstone.evaluation.noise import in_ball
from touchstone.norms import distance
from touchstone.rng import SampleRng, own_generator
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
    with pytest.raises(ValueError, match="norm 'l3' is not supported here; allowed: l1, l2, linf"):
        draw("l3")


@pytest.mark.parametrize("shape", [(3, 4, 4), (16,)], ids=str)
def test_l0_points_have_random_pixels_in_random_colours(shape: tuple[int, ...]) -> None:
    rng, x = SampleRng(0, torch.arange(500)), torch.full((500, *shape), 0.25)
    bounds = Bounds(torch.tensor(0.0), torch.tensor(2.0))
    eps = torch.tensor([0.0, 1.0, 3.9, 16.0, 99.0]).repeat(100)
    points = in_ball(x, norm="l0", eps=eps, bounds=bounds, rng=rng)
    changed = points != x
    assert torch.equal(distance(points - x, "l0"), eps.floor().clamp(max=16))
    where = changed.any(dim=1).flatten(1) if len(shape) == 3 else changed
    often = where[2::5].double().mean(dim=0)  # each of the 16 pixels in 3 of 16 points
    assert often.mean().item() == pytest.approx(3 / 16)
    assert (often - 3 / 16).abs().max() < 4 * (3 / 16 * 13 / 16 / 100) ** 0.5
    colours = points[changed]
    assert 0 <= colours.min() < 0.01 < 1.99 < colours.max() <= 2
    assert colours.mean().item() == pytest.approx(1.0, abs=0.02)
    alone = in_ball(x[7:8], norm="l0", eps=eps[7:8], bounds=bounds, rng=rng.at(torch.tensor([7])))
    assert torch.equal(alone, points[7:8])
    assert not torch.equal(points, in_ball(x, norm="l0", eps=eps, bounds=bounds, rng=rng, draw=1))


def test_l0_points_need_a_box() -> None:
    with pytest.raises(ValueError, match="colours are drawn from the box, which must be finite here"):
        draw("l0")


def test_the_global_generator_is_restored() -> None:
    before = torch.random.get_rng_state()
    with own_generator(torch.device("cpu"), 3):
        first = torch.rand(4)
    assert torch.equal(torch.random.get_rng_state(), before)
    with own_generator(torch.device("cpu"), 3):
        assert torch.equal(torch.rand(4), first)
