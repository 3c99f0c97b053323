"""JSMA against brute force over all pairs, and on linear models where each of its steps is known."""

import pytest
import torch
from torch import Tensor, nn

from touchstone.attacks import jsma as module
from touchstone.attacks.jsma import best_pairs, jsma, other_logits, own_logit
from touchstone.losses import misclassified
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.types import Bounds


def score(gain: Tensor, cost: Tensor) -> Tensor:
    """Score every pair of every row, (B, D, D): -inf for a value with itself and where a sum is not positive."""
    both, price = gain[:, :, None] + gain[:, None], cost[:, :, None] + cost[:, None]
    table = torch.where((both > 0) & (price > 0), both * price, -torch.inf)
    table.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    return table


@pytest.mark.parametrize("tilt", [-1.0, -0.9, 0.0, 0.9])
@pytest.mark.parametrize("size", [2, 3, 40])
def test_the_best_pair_is_that_of_all_pairs(size: int, tilt: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tilt -1 gain and cost are exact opposites but for a shift: every value is on the frontier."""
    monkeypatch.setattr(module, "SCORES", 3000)
    torch.manual_seed(size)
    gain, free = torch.randn(50, size).double(), torch.randn(50, size).double()
    cost = tilt * gain + (1 - tilt**2) ** 0.5 * free + torch.randn(50, 1)
    gain[torch.rand(50, size) < 0.2] = -torch.inf
    cost[gain == -torch.inf] = -torch.inf
    table = score(gain, cost)
    pair, found = best_pairs(gain, cost)
    best = table.flatten(1).amax(dim=1)
    assert torch.equal(found, best > 0)
    assert 0 < found.sum() < 50 or size == 40
    ours = table[torch.arange(50), pair[:, 0], pair[:, 1]]
    torch.testing.assert_close(ours[found], best[found], rtol=0, atol=0)


def test_equal_values_are_a_pair_too() -> None:
    pair, found = best_pairs(torch.ones(2, 5), torch.ones(2, 5))
    assert found.all()
    assert (pair[:, 0] != pair[:, 1]).all()


def test_nan_is_never_chosen() -> None:
    gain = torch.tensor([[torch.nan, 1.0, 1.0, 1.0]])
    pair, found = best_pairs(gain, torch.tensor([[9.0, 1.0, torch.nan, 1.0]]))
    assert found.all()
    assert sorted(pair[0].tolist()) == [1, 3]
    assert not best_pairs(gain, torch.full((1, 4), torch.nan))[1].any()


def linear(shape: tuple[int, ...], classes: int = 4) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(2)
    size = torch.Size(shape).numel()
    model = nn.Sequential(nn.Flatten(), nn.Linear(size, classes)).double()
    x = torch.rand(12, *shape, dtype=torch.float64)
    model[1].bias.data -= model(x).mean(dim=0)
    return model, x, model(x).argmax(dim=1)


def by_hand(model: nn.Module, x: Tensor, y: int, target: int, theta: float, steps: int) -> Tensor | None:
    """Follow algorithm 2 for one image on a linear model, over all pairs, until it is misclassified."""
    weight = model[1].weight.detach()
    toward, away = weight[target], weight.sum(dim=0) - weight[target]
    z = x.flatten().clone()
    for _ in range(steps + 1):
        if model(z[None]).argmax() != y:
            return z.view_as(x)
        best, chosen = 0.0, None
        for p in range(len(z)):
            for q in range(p + 1, len(z)):
                alpha, beta = float(toward[p] + toward[q]), float(away[p] + away[q])
                right = (alpha > 0 > beta) if theta > 0 else (alpha < 0 < beta)
                open_ = all(0 <= z[i] + 1e-9 * theta <= 1 for i in (p, q))
                if right and open_ and -alpha * beta > best:
                    best, chosen = -alpha * beta, [p, q]
        if chosen is None:
            return None
        z[chosen] = (z[chosen] + theta).clamp(0, 1)
    return None


@pytest.mark.parametrize("theta", [1.0, 0.15])
@pytest.mark.parametrize("direction", ["up", "down", "both"])
def test_it_takes_the_steps_of_the_algorithm(direction: str, theta: float) -> None:
    model, x, y = (part[:6] if isinstance(part, Tensor) else part for part in linear((2, 3, 3)))
    x[:, 0, 0] = x[:, 0, 0].round()  # at the wall
    ours = jsma(model, x, y, norm="l0", rng=0, theta=theta, direction=direction, targets=3)
    signs = {"up": [1], "down": [-1], "both": [1, -1]}[direction]
    nearest = []
    for image, label in zip(x, y.tolist(), strict=True):
        ends = [by_hand(model, image, label, t, s * theta, 9) for t in range(4) if t != label for s in signs]
        counts = [distance((end - image)[None], "l0").item() for end in ends if end is not None]
        nearest.append(min(counts, default=torch.inf))
    assert ours.dist.tolist() == nearest
    assert torch.equal(ours.found, ours.dist.isfinite())
    assert torch.equal(misclassified(model(ours.x_adv), y), ours.found)
    assert ours.found.any()
    delta = ours.x_adv - x
    assert direction == "both" or bool((delta >= 0 if direction == "up" else delta <= 0).all())
    assert theta == 1.0 or (delta.abs() > theta + 1e-9).any()  # some value is chosen twice


def test_gamma_limits_the_values_that_change() -> None:
    model, x, y = linear((3, 4, 4))
    free = jsma(model, x, y, norm="l0", rng=0, direction="up", targets=1)
    changed = (free.x_adv != x).flatten(1).sum(dim=1)
    assert changed[free.found].max() > 3
    short = jsma(model, x, y, norm="l0", rng=0, direction="up", targets=1, gamma=3 / 48)  # one pair
    assert torch.equal(short.found, free.found & (changed <= 3))
    assert not jsma(model, x, y, norm="l0", rng=0, gamma=0.0).found.any()


def test_more_targets_and_directions_never_do_worse() -> None:
    model, x, y = linear((3, 4, 4))
    best = jsma(model, x, y, norm="l0", rng=0)
    for part in ({"targets": 1}, {"direction": "up"}, {"direction": "down"}):
        assert (best.dist <= jsma(model, x, y, norm="l0", rng=0, **part).dist).all()
    assert (best.dist < jsma(model, x, y, norm="l0", rng=0, targets=1).dist).any()


def test_a_search_that_cannot_win_is_given_up() -> None:
    """Lowering values of dark images leads nowhere; left alone, such a search takes all pairs there are."""
    model, x, _ = linear((1, 6, 6))
    x = 0.05 * x
    y = model(x).argmax(dim=1)
    first, all_ = Query(model), Query(model)
    dist = jsma(first, x, y, norm="l0", rng=0, targets=1, direction="up").dist
    assert (dist < 12).all()
    jsma(all_, x, y, norm="l0", rng=0, targets=3)
    # five more searches; each step but the last changes two pixels more and costs two passes
    assert (all_.forwards <= first.forwards + 5 * (dist + 2)).all()


def test_a_search_without_a_pair_is_given_up() -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0 * x.flatten(1)[:, :3] + torch.tensor([1.0, 0.0, 0.0])

    query = Query(Flat())
    assert not jsma(query, torch.rand(2, 1, 3, 3), torch.zeros(2, dtype=torch.int64), norm="l0", rng=0).found.any()
    assert query.forwards.tolist() == [1 + 4 * 2] * 2  # two targets, two directions


def test_without_walls_values_go_on() -> None:
    model, x, y = linear((8,))
    query = Query(model, bounds=Bounds(-torch.inf, torch.inf))
    free = jsma(query, x, y, norm="l0", rng=0, theta=3.0)
    assert free.found.sum() >= jsma(model, x, y, norm="l0", rng=0).found.sum()
    assert free.x_adv.abs().max() > 1


def test_the_losses_are_a_logit_and_the_sum_of_the_others() -> None:
    logits, target = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]), torch.tensor([0, 2])
    assert own_logit(logits, target).tolist() == [1.0, 32.0]
    assert other_logits(logits, target).tolist() == [6.0, 24.0]
