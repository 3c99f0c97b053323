"""The search for the smallest constant that suffices, and when a row gives up."""

import torch

from touchstone.attacks.bisection import CHECKS, PROGRESS, UPPER, Bisection, looks, stuck


def test_the_constants_close_in_on_the_smallest_that_suffice() -> None:
    needed = torch.tensor([3.0, 0.002, 1e-5, 70.0])
    search = Bisection.begin(torch.full((4,), 0.001))
    for _ in range(40):
        search = search.after(search.const >= needed)
    torch.testing.assert_close(search.upper, needed, rtol=1e-5, atol=0)
    assert (search.lower <= needed).all()


def test_until_one_suffices_they_grow_tenfold() -> None:
    search = Bisection.begin(torch.tensor([0.5, 0.5]))
    for factor in (10, 100):
        search = search.after(torch.tensor([False, False]))
        assert search.const.tolist() == [0.5 * factor] * 2
    assert search.upper.tolist() == [UPPER] * 2
    search = search.after(torch.tensor([True, False]))
    assert search.const.tolist() == [(5.0 + 50.0) / 2, 500.0]
    assert (search.lower.tolist(), search.upper.tolist()) == ([5.0, 50.0], [50.0, UPPER])


def test_progress_is_looked_at_ten_times_and_has_to_be_more_than_a_trifle() -> None:
    assert sum(looks(step, 200) for step in range(200)) == CHECKS
    assert all(looks(step, 7) for step in range(7))
    last = torch.full((4,), 10.0)
    loss = torch.tensor([10 * (1 - 2 * PROGRESS), 10 * (1 - PROGRESS / 2), 11.0, torch.nan])
    assert stuck(loss, last).tolist() == [False, True, True, True]
    assert not stuck(loss, torch.full((4,), torch.inf))[:3].any()
