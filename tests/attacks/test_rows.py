"""Rows that leave a block, and the best point of each."""

import torch

from touchstone.attacks.rows import Best, compact


def test_compact_drops_the_solved_rows_and_keeps_the_others_together() -> None:
    torch.manual_seed(0)
    for count in (1, 2, 9):
        for _ in range(20):
            solved = torch.rand(count) < 0.5
            ids, x = torch.arange(count), torch.arange(count)[:, None].repeat(1, 3).float()
            left, y = compact(solved, ids, x)
            assert sorted(left.tolist()) == (~solved).nonzero().flatten().tolist()
            assert torch.equal(y, left[:, None].repeat(1, 3).float())


def test_the_nearest_adversarial_point_of_each_row_is_kept() -> None:
    x = torch.zeros(4, 2)
    best = Best(x)
    rows = best.settle(torch.tensor([False, True, False, False]))
    assert rows.tolist() == [0, 2, 3]
    z, fooled = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]), torch.tensor([True, False, True])
    assert best.offer(rows, z, z[:, 0], fooled).tolist() == [True, False, True]
    nearer = best.offer(rows, z + 1, torch.tensor([2.0, 5.0, 0.5]), torch.ones(3, dtype=torch.bool))
    assert nearer.tolist() == [False, True, True]
    x_adv, dist, found = best.result()
    assert x_adv.tolist() == [[1.0, 0.0], [0.0, 0.0], [3.0, 1.0], [4.0, 1.0]]
    assert dist.tolist() == [1.0, 0.0, 5.0, 0.5]
    assert found.all()
    assert not x.any()


def test_what_is_not_found_is_x_at_infinity() -> None:
    x_adv, dist, found = Best(torch.ones(2, 3)).result()
    assert torch.equal(x_adv, torch.ones(2, 3))
    assert dist.isinf().all()
    assert not found.any()
