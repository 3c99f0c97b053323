"""FAB's projection against exact optima in the box, and what its restarts, targets and last search do."""

from collections.abc import Callable

import pytest
import torch
from box_oracle import Linear
from torch import Tensor, nn

from touchstone.attacks.contract import prepare
from touchstone.attacks.fab import fab, fab_t, look_between
from touchstone.attacks.rows import Best
from touchstone.losses import margin, misclassified
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.types import Bounds

NORMS = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])


def setting(count: int = 12, classes: int = 5) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, classes)).double()
    model[1].weight.data *= 4
    x = torch.rand(count, 3, 2, 2, dtype=torch.float64)
    x[:, 0] = x[:, 0].round()
    model[3].bias.data -= model(x).mean(dim=0)
    return model, x, model(x).argmax(dim=1)


@pytest.mark.parametrize(("attack", "backwards"), [(fab, 4), (fab_t, 1)])
def test_a_step_costs_two_forwards_and_one_gradient_per_other_class(attack: object, backwards: int) -> None:
    model, x, y = setting()
    y[3] = (y[3] + 1) % 5  # wrong already: one look, nothing else
    query, options = Query(model, batch_size=5), {} if attack is fab else {"targets": 1}
    found = attack(query, x, y, norm="l2", rng=0, steps=7, **options)
    others = torch.arange(12) != 3
    assert found.dist[3] == 0
    assert found.found.all()
    assert (query.backwards[others] == 7 * backwards).all()
    assert (query.forwards[others] == 1 + 14 + 4).all()  # at x, the steps, the last search
    assert (query.forwards[3], query.backwards[3]) == (1, 0)


@NORMS
def test_points_are_across_by_more_than_rounding(norm: str) -> None:
    """Another order of summation, as in another memory format, must not bring them back."""
    model, x, y = setting()
    found = fab(model, x, y, norm=norm, rng=0, steps=10)
    assert found.found.all()
    top = model(x).topk(3, dim=1).values
    ahead = margin(model(found.x_adv), y) / (top[:, 0] - top[:, 2])
    assert ((ahead > 4e-6) & (ahead < 0.1)).all()


@NORMS
@pytest.mark.parametrize("attack", [fab, fab_t])
def test_a_class_that_never_wins_changes_nothing(norm: str, attack: Callable) -> None:
    model, x, y = setting()
    plain = attack(model, x, y, norm=norm, rng=0, steps=5)
    never = nn.Sequential(model, nn.ConstantPad1d((0, 1), -1e6))
    with_it = attack(never, x, y, norm=norm, rng=0, steps=5)
    torch.testing.assert_close(with_it.dist, plain.dist)
    assert with_it.found.all()


@NORMS
@pytest.mark.parametrize("attack", [fab, fab_t])
def test_restarts_and_targets_find_nothing_worse_and_say_which_it_was(attack: object, norm: str) -> None:
    model, x, y = setting(30)
    model[1].weight.data *= 4  # curved, so that it matters where one starts
    y = model(x).argmax(dim=1)
    options = {"norm": norm, "rng": 0, "steps": 5, **({"targets": 2} if attack is fab_t else {})}
    query = Query(model)
    once, more = attack(model, x, y, **options), attack(query, x, y, restarts=4, **options)
    # Between two starts towards one target lie others towards another: the last search may begin elsewhere.
    assert (more.dist <= once.dist * (1.1 if attack is fab_t else 1)).all()
    assert (more.dist < 0.98 * once.dist).any()
    later = query.restarts > 0
    assert later.any()
    if attack is fab:
        assert torch.equal(more.dist[~later], once.dist[~later])
    assert (query.restarts < (4 if attack is fab else 8)).all()


def test_the_targeted_variant_counts_any_misclassification() -> None:
    """On the way to class 1, class 2 comes first: it is found although it is no target."""
    weight = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.9, 0.0]]).double()
    model = Linear(weight, torch.tensor([0.0, -1.0, -0.96]).double())
    x, y = torch.tensor([[0.1, 0.5]]).double(), torch.tensor([0])
    x_adv, dist, found = fab_t(model, x, y, norm="l2", rng=0, steps=20, targets=1)
    assert found.item()
    assert dist.item() == pytest.approx(0.4, rel=0.01)
    assert misclassified(model(x_adv), y).item()


def test_the_last_search_goes_to_the_boundary_but_not_over_it() -> None:
    model, x, y = setting(30)
    task = prepare(model, x, y, norm="l2", norms=("l2",), rng=0)
    best, rows = Best(x), torch.arange(30)
    far = fab(model, x, y, norm="l2", rng=0, steps=3).x_adv
    z = (x + 1.3 * (far - x)).clamp(0, 1)
    best.offer(rows, z, distance(z - x, "l2"), misclassified(model(z), y))
    before, rows = best.dist.clone(), rows[best.dist.isfinite()]
    look_between(task, best, rows, margin(model(x), y).detach(), torch.full((30,), 1e-5), "l2", 3)
    assert len(rows) > 20
    assert misclassified(model(best.x_adv[rows]), y[rows]).all()
    assert (best.dist[rows] < 0.9 * before[rows]).sum() > 15
    assert (best.dist[rows] <= before[rows]).all()
    on_segment = (best.x_adv - x)[rows].flatten(1) / (z - x)[rows].flatten(1).norm(dim=1, keepdim=True)
    torch.testing.assert_close(on_segment.norm(dim=1), best.dist[rows] / before[rows])


@NORMS
@pytest.mark.parametrize("attack", [fab, fab_t])
def test_without_the_last_search_the_best_point_of_the_walk_is_the_answer(attack: Callable, norm: str) -> None:
    model, x, y = setting()
    bare, usual, longer = Query(model), Query(model), Query(model)
    options = {"norm": norm, "rng": 0, "steps": 6}
    without = attack(bare, x, y, **options, last_search=0)
    with_it = attack(usual, x, y, **options)
    found = attack(longer, x, y, **options, last_search=12)
    targets = 1 if attack is fab else 4
    assert (bare.forwards == 1 + targets * 12).all()  # at x, and the walks
    assert (without.dist > with_it.dist).any()
    assert (without.dist >= with_it.dist).all()
    assert (with_it.dist >= found.dist).all()
    with pytest.raises(ValueError, match="last_search must be >= 0, got -1"):
        attack(model, x, y, **options, last_search=-1)


def test_whoever_gets_across_goes_part_of_the_way_back() -> None:
    model, x, y = setting(10)
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            seen.append(z.detach().clone())
            return model(z)

    fab_t(Query(Spy()), x, y, norm="l2", rng=0, steps=6, targets=1, beta=0.7)
    walked = [z for z in seen if len(z) == 10][1 : 1 + 2 * 6]  # after the look at x: gradient, trial, gradient, ...
    across = 0
    for trial, after in zip(walked[1::2], walked[2::2], strict=False):
        fooled = misclassified(model(trial), y)
        expected = torch.where(fooled.view(-1, 1, 1, 1), x + 0.7 * (trial - x), trial)
        torch.testing.assert_close(after, expected)
        across += int(fooled.sum())
    assert across > 10


class Watched(nn.Module):
    """A model that remembers what it saw."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.seen = net, []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        return self.net(x)


@NORMS
def test_later_starts_lie_half_of_the_start_radius_away_or_of_the_best_point(norm: str) -> None:
    model, x, y = setting()
    free = Query(Watched(model), bounds=Bounds(-torch.inf, torch.inf))
    once = fab(free, x, y, norm=norm, rng=0, steps=5, last_search=0)
    for radius in (None, 1e-3, 1e3):
        free.model.seen.clear()
        fab(free, x, y, norm=norm, rng=0, steps=5, restarts=2, last_search=0, start_radius=radius)
        start = free.model.seen[1 + 2 * 5]  # after x, and a gradient and a look per step
        expected = once.dist.clamp_max(radius or {"linf": 0.3, "l2": 1.0, "l1": 5.0}[norm]) / 2
        away = distance(start - x, norm)
        torch.testing.assert_close(away, expected)
