"""Sparse-RS against a plain loop with the same draws, and what one trial may change."""

import math

import pytest
import torch
from torch import Tensor, nn

from touchstone.attacks.sparse_rs import exchange, share, sparse_rs
from touchstone.losses import margin
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.rng import SampleRng
from touchstone.types import Bounds


def setting() -> tuple[nn.Module, Tensor, Tensor]:
    """A net, and of many images those that are farthest from another class."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    x = 0.2 + 0.6 * torch.rand(300, 3, 4, 4, dtype=torch.float64)
    model[3].bias.data -= model(x).mean(dim=0)
    far = margin(model(x), model(x).argmax(dim=1)).argsort()[:12]
    return model, x[far], model(x[far]).argmax(dim=1)


def test_share_follows_the_published_schedule_rescaled_to_the_queries() -> None:
    published = {1: 2, 50: 2, 51: 4, 201: 5, 501: 6, 1001: 8, 2001: 10, 4001: 12, 6001: 15, 8001: 20, 9999: 20}
    for step, divisor in published.items():
        assert share(step, 10000, 0.3) == 0.3 / divisor
    assert share(1, 20000, 0.3) == 0.3
    assert share(13, 2500, 0.3) == share(52, 10000, 0.3) == 0.3 / 4


def test_a_trial_gives_up_some_pixels_for_as_many_others_all_equally_likely() -> None:
    chosen = torch.zeros(4000, 10, dtype=torch.bool)
    chosen[:, 2:6] = True
    new, gone = exchange(chosen, torch.rand(4000, 10), torch.tensor([1, 3]).repeat(2000))
    assert (new.sum(dim=1) == torch.tensor([1, 3]).repeat(2000)).all()
    assert torch.equal(new.sum(dim=1), gone.sum(dim=1))
    assert not (new & chosen).any()
    assert not (gone & ~chosen).any()
    often = torch.cat(
        [gone[:, 2:6].double().mean(dim=0) / (2 / 4), new[:, [0, 1, 6, 7, 8, 9]].double().mean(dim=0) / (2 / 6)]
    )
    torch.testing.assert_close(often, torch.ones(10).double(), rtol=0, atol=0.1)


def test_where_fewer_are_free_the_others_take_new_colours() -> None:
    chosen = torch.tensor([[True] * 5 + [False], [True] * 6])
    new, gone = exchange(chosen, torch.rand(2, 6), torch.tensor([3, 3]))
    assert new.sum(dim=1).tolist() == [3, 3]
    assert gone.sum(dim=1).tolist() == [1, 0]
    assert new[0, 5]
    assert not (new & gone).any()


def plain(model: nn.Module, x: Tensor, y: int, k: int, rng: SampleRng, queries: int) -> tuple[Tensor, float]:
    """The algorithm on one image, pixel by pixel."""
    best, z, pixels = -math.inf, x.clone(), set()
    for step in range(queries):
        u = rng.uniform((4, 16), step=step, dtype=x.dtype)[0]
        order = u[0].argsort().tolist()
        swaps = max(1, int(share(step, queries, 0.3) * k)) if step else k
        gone = [p for p in order if p in pixels][: swaps if step else 0]
        new = [p for p in order if p not in pixels][:swaps]
        trial = z.clone()
        for p in gone:
            trial[:, p // 4, p % 4] = x[:, p // 4, p % 4]
        for p in new:
            trial[:, p // 4, p % 4] = (u[1:, p] >= 0.5).double()
        value = margin(model(trial[None]), torch.tensor([y])).item()
        if value > best:
            best, z, pixels = value, trial, (pixels - set(gone)) | set(new)
        if best > 0:
            break
    return z, best


def test_it_is_the_published_search_row_by_row() -> None:
    model, x, y = setting()
    eps = torch.tensor([1.0, 2.5, 5.0]).repeat(4)
    ours = sparse_rs(Query(model, batch_size=5), x, y, norm="l0", eps=eps, rng=3, queries=12)
    solved = margin(model(ours), y) > 0
    assert 0 < solved.sum() < len(x)
    for row in range(len(x)):
        rng = SampleRng(3, torch.tensor([row]))
        theirs, best = plain(model, x[row], int(y[row]), int(eps[row]), rng, 12)
        assert torch.equal(ours[row], theirs)
        assert bool(solved[row]) == (best > 0)


def test_changed_pixels_are_corners_of_the_box_and_no_more_than_eps() -> None:
    model, x, y = setting()
    wide = Bounds(torch.tensor([-1.0, 0.0, 0.1]).view(1, 3, 1, 1).double(), torch.full((1, 3, 1, 1), 2.0).double())
    z = sparse_rs(Query(model, bounds=wide), x, y, norm="l0", eps=3.0, rng=0, queries=30)
    moved = (z != x).any(dim=1, keepdim=True).expand_as(x)
    assert (distance(z - x, "l0") <= 3).all()
    assert ((z == wide.lower) | (z == wide.upper))[moved].all()


@pytest.mark.parametrize("eps", [15.0, 16.0])
def test_a_radius_of_all_pixels_is_searched_too(eps: float) -> None:
    model, x, y = setting()
    few, many = (sparse_rs(model, x, y, norm="l0", eps=eps, rng=0, queries=n) for n in (1, 60))
    gain = margin(model(many), y) - margin(model(few), y)
    unsolved = margin(model(few), y) <= 0
    assert unsolved.any()
    assert (gain[unsolved] > 0).all()


def test_it_asks_for_logits_only_until_a_row_is_solved() -> None:
    model, x, y = setting()
    y[2] = (y[2] + 1) % 4  # misclassified already
    query = Query(model)
    z = sparse_rs(query, x, y, norm="l0", eps=torch.tensor([2.0] * 11 + [0.9]), rng=0, queries=50)
    solved = margin(model(z), y) > 0
    assert not query.backwards.any()
    assert query.forwards[2] == 1
    assert query.forwards[11] == 0
    assert (query.forwards[~solved][:-1] == 51).all()
    assert (query.forwards[solved] < 51).any()


def test_a_box_without_walls_has_no_corners() -> None:
    model, x, y = setting()
    with pytest.raises(ValueError, match="which must be finite here"):
        sparse_rs(Query(model, bounds=Bounds(-torch.inf, torch.inf)), x, y, norm="l0", eps=1.0, rng=0)
