import pytest
import torch
from torch import Tensor, nn

from touchstone.attacks.balls import into_l1_ball
from touchstone.attacks.square import (
    bump,
    bumps,
    corners,
    mask,
    patch,
    patch_linf,
    share,
    size_linf,
    size_odd,
    square,
    stripes,
)
from touchstone.losses import margin
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.rng import SampleRng
from touchstone.types import UNIT


def images(count: int = 50, side: int = 7) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.rand(count, 3, side, side, dtype=torch.float64), torch.full((count,), 0.1, dtype=torch.float64)


def uniform(count: int, step: int = 1) -> Tensor:
    return SampleRng(0, torch.arange(count)).uniform((8,), step=step, dtype=torch.float64)


def setting() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(147, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    x, _ = images(30)
    model[3].bias.data -= model(x).mean(dim=0)
    return model, x, model(x).argmax(dim=1)


def test_share_follows_the_published_schedule_rescaled_to_the_queries() -> None:
    published = {1: 1, 11: 1, 12: 2, 52: 4, 202: 8, 502: 16, 1002: 32, 2002: 64, 4002: 128, 6002: 256, 8002: 512}
    for step, divisor in published.items():
        assert share(step, 10000, 0.8) == 0.8 / divisor
    assert share(501, 2500, 0.8) == share(2001, 10000, 0.8)
    assert share(503, 2500, 0.8) == share(2009, 10000, 0.8)


def test_window_sizes() -> None:
    assert size_linf(0.8, (3, 32, 32)) == (29, 29)
    assert size_linf(1e-6, (3, 32, 32)) == (1, 1)
    assert size_linf(0.5, (1, 1, 8)) == (1, 4)
    assert size_odd(0.8, (3, 32, 32)) == (29, 29)
    assert size_odd(0.1, (1, 28, 28)) == (9, 9)
    assert size_odd(1e-6, (1, 28, 28)) == (3, 3)
    assert size_odd(0.9, (3, 2, 2)) == (2, 2)


def test_windows_lie_inside_differ_by_sample_and_reach_every_pixel() -> None:
    x, _ = images(400)
    covered = mask(corners(uniform(400)[:, :2], (2, 3), x), (2, 3), x)
    assert covered.shape == (400, 1, 7, 7)
    assert (covered.flatten(1).sum(dim=1) == 6).all()
    assert covered.any(dim=0).all()
    assert len(covered.flatten(1).unique(dim=0)) == 6 * 5


def test_linf_trial_changes_one_window_by_eps_per_channel() -> None:
    x, eps = images()
    z = x + 0.01
    delta = patch_linf(z, x, eps, uniform(50), (2, 2)) - x
    changed = (delta - 0.01).abs() > 1e-9
    assert (changed.flatten(2).sum(dim=2) == 4).all()
    torch.testing.assert_close(delta[changed].abs(), torch.full((50 * 12,), 0.1, dtype=torch.float64))
    signs = (delta * changed).sum(dim=(2, 3)).sign()
    assert len(signs.unique(dim=0)) == 8


def test_first_linf_trial_is_made_of_stripes() -> None:
    x, eps = images()
    delta = stripes(x, eps, torch.rand_like(x)) - x
    torch.testing.assert_close(delta.abs(), torch.full_like(delta, 0.1))
    torch.testing.assert_close(delta, delta[:, :, :1].expand_as(delta))


@pytest.mark.parametrize("side", [1, 4, 7, 10, 28])
def test_first_l2_trial_has_norm_eps_and_many_bumps(side: int) -> None:
    x, eps = images(side=side)
    delta = bumps(x, eps, torch.rand_like(x), norm="l2") - x
    torch.testing.assert_close(distance(delta, "l2"), eps)
    assert (delta != 0).double().mean() > 0.6


def test_l2_trial_keeps_the_norm_empties_one_window_and_fills_the_other() -> None:
    x, eps = images()
    z = bumps(x, eps, torch.rand_like(x), norm="l2")
    u, size = uniform(50), (3, 3)
    delta = patch(z, x, eps, u, size, norm="l2") - x
    torch.testing.assert_close(distance(delta, "l2"), eps)
    first, second = mask(corners(u[:, :2], size, x), size, x), mask(corners(u[:, 2:4], size, x), size, x)
    assert not (delta * (second & ~first)).any()
    before, outside = z - x, ~(first | second)
    torch.testing.assert_close(delta * outside, before * outside)
    mass = (delta.square() * first).sum(dim=(2, 3))
    torch.testing.assert_close(mass, (before.square() * (first | second)).sum(dim=(2, 3)))


def test_l2_trial_uses_what_is_left_of_the_budget() -> None:
    x, eps = images()
    u = uniform(50)
    delta = patch(x, x, eps, u, (3, 3), norm="l2") - x
    torch.testing.assert_close(distance(delta, "l2"), eps)
    assert ((delta != 0).flatten(1).sum(dim=1) == 27).all()


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3), (3, 1), (3, 3), (5, 5), (4, 7)])
def test_bump_is_a_unit_pattern_of_two_opposite_halves(height: int, width: int, norm: str) -> None:
    pattern = bump(height, width, torch.zeros(1, dtype=torch.float64), norm)
    assert pattern.shape == (height, width)
    assert distance(pattern[None], norm).item() == pytest.approx(1)
    assert (pattern != 0).all()
    if height * width > 1:
        assert pattern.amin() < 0 < pattern.amax()


def test_bump_of_side_three_is_the_published_one() -> None:
    """Pyramids over 1 x 3 and 2 x 3 pixels, centred at their middle index, heights 1 + 1/4 and 1/4, unit norm each."""
    up = torch.tensor([0.25, 1.25, 0.25]) / (1.25**2 + 2 * 0.25**2) ** 0.5
    down = torch.tensor([[0.25, 0.25, 0.25], [0.25, 1.25, 0.25]]) / (1.25**2 + 5 * 0.25**2) ** 0.5
    expected = torch.cat([up[None], -down]) / 2**0.5
    torch.testing.assert_close(bump(3, 3, torch.zeros(1), "l2"), expected)


def test_l1_bump_of_side_three_falls_with_the_fourth_power() -> None:
    """1 + 1/16 and 1/16, half of the unit norm each."""
    up, down = torch.tensor([1.0, 17.0, 1.0]), torch.tensor([[1.0, 1.0, 1.0], [1.0, 17.0, 1.0]])
    expected = torch.cat([up[None] / up.sum(), -down / down.sum()]) / 2
    torch.testing.assert_close(bump(3, 3, torch.zeros(1), "l1"), expected)


def test_l1_trial_moves_the_budget_of_two_windows_into_one_times_the_channels() -> None:
    """As Croce and Hein (2021) coded it; the projection brings it back to eps."""
    x, eps = images()
    x, eps = 0.4 + 0.2 * x, 10 * eps
    z = into_l1_ball(bumps(x, eps, torch.rand_like(x), norm="l1") - x, x, eps, UNIT)
    torch.testing.assert_close(distance(z - x, "l1"), eps)
    u, size = uniform(50), (3, 3)
    delta, before = patch(z, x, eps, u, size, norm="l1") - x, z - x
    first, second = mask(corners(u[:, :2], size, x), size, x), mask(corners(u[:, 2:4], size, x), size, x)
    assert not (delta * (second & ~first)).any()
    outside = ~(first | second)
    torch.testing.assert_close(delta * outside, before * outside)
    mass = (delta.abs() * first).sum(dim=(2, 3))
    torch.testing.assert_close(mass, 3 * (before.abs() * (first | second)).sum(dim=(2, 3)))


NORMS = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])


@NORMS
def test_search_asks_for_logits_only_and_stops_when_solved(norm: str) -> None:
    model, x, y = setting()
    query = Query(model, batch_size=7)
    x_adv = square(query, x, y, norm=norm, eps={"linf": 0.05, "l2": 0.6, "l1": 4.0}[norm], rng=0, queries=60)
    assert not query.backwards.any()
    assert query.forwards.max() == 60
    assert query.forwards.min() < 60
    solved = margin(model(x_adv), y) > 0
    assert torch.equal(solved, query.forwards < 60) or bool(solved[query.forwards == 60].any())
    assert torch.equal(solved | (query.forwards == 60), torch.ones(30, dtype=torch.bool))


@NORMS
def test_margin_never_falls_and_trials_beyond_the_first_help(norm: str) -> None:
    model, x, y = setting()
    eps = {"linf": 0.02, "l2": 0.2, "l1": 1.0}[norm]
    one, many = (square(model, x, y, norm=norm, eps=eps, rng=0, queries=n) for n in (1, 150))
    gain = margin(model(many), y) - margin(model(one), y)
    assert (gain >= 0).all()
    assert gain.mean() > 0


def test_both_stops_are_the_same_search() -> None:
    model, x, y = setting()
    runs = [square(model, x, y, norm="linf", eps=0.05, rng=0, queries=50, stop=stop) for stop in ("never", "first")]
    assert torch.equal(*runs)
