"""FGSM, BIM, PGD and MIM in l1, and the grid of step sizes."""

import math

import pytest
import torch
from box_oracle import Linear
from torch import Tensor, nn

from touchstone.attacks.balls import in_ball
from touchstone.attacks.climb import ascend
from touchstone.attacks.mim import mim
from touchstone.attacks.pgd import bim, fgsm, pgd
from touchstone.losses import ce, misclassified
from touchstone.norms import distance, project
from touchstone.query import Query
from touchstone.rng import SampleRng
from touchstone.types import UNIT, Bounds

FREE = Bounds(torch.tensor(-math.inf), torch.tensor(math.inf))
BOX = Bounds(torch.tensor(0.0), torch.tensor(1.0))


def setting(count: int = 40) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    x = torch.rand(count, 3, 4, 4, dtype=torch.float64)
    x[:, 0] = x[:, 0].round()
    model[3].bias.data -= model(x).mean(dim=0)
    return model, x, model(x).argmax(dim=1)


@pytest.mark.parametrize(("sparsity", "entries"), [(1.0, 1), (0.99, 1), (0.9, 2), (0.5, 10), (0.0, 20)])
def test_a_step_moves_the_largest_entries_by_equal_parts(sparsity: float, entries: int) -> None:
    torch.manual_seed(0)
    z, grad = torch.zeros(3, 20), torch.randn(3, 20)
    moved = ascend(z, grad, torch.tensor([1.0, 2.0, 0.0]), "l1", sparsity, FREE)
    torch.testing.assert_close(distance(moved, "l1"), torch.tensor([1.0, 2.0, 0.0]))
    assert (moved != 0).sum(dim=1).tolist() == [entries, entries, 0]
    for row, size in ((0, 1.0), (1, 2.0)):
        top = grad[row].abs().topk(entries).indices
        torch.testing.assert_close(moved[row, top], size / entries * grad[row, top].sign())


def test_what_the_wall_takes_from_an_entry_goes_to_the_next() -> None:
    z = torch.tensor([[1.0, 0.75, 0.5, 0.5, 0.5]])
    grad = torch.tensor([[9.0, 8.0, -7.0, 6.0, 0.0]])
    moved = ascend(z, grad, torch.tensor([0.5]), "l1", 0.6, BOX)  # two entries, 0.25 each
    assert moved.tolist() == [[1.0, 1.0, 0.25, 0.5, 0.5]]
    moved = ascend(z, grad, torch.tensor([0.5]), "l1", 1.0, BOX)  # one entry, as far as it goes
    assert moved.tolist() == [[1.0, 1.0, 0.25, 0.5, 0.5]]
    moved = ascend(z, grad, torch.tensor([9.0]), "l1", 0.0, BOX)  # everything that has a gradient
    assert moved.tolist() == [[1.0, 1.0, 0.0, 1.0, 0.5]]


def test_equal_zero_and_nan_gradients() -> None:
    z, step = torch.zeros(3, 10), torch.ones(3)
    grad = torch.stack([torch.ones(10), torch.zeros(10), torch.full((10,), torch.nan)])
    moved = ascend(z, grad, step, "l1", 0.8, FREE)
    assert moved[0].tolist() == [0.5, 0.5, *[0.0] * 8]
    assert not moved[1:].any()


def test_without_walls_and_with_one_entry_a_step_is_the_published_one() -> None:
    """SLIDE: the sign of the entries above a quantile over their number, then the nearest point of the ball."""
    model, x, y = setting(5)
    query, z = Query(model, bounds=FREE), x.clone()
    for _ in range(6):
        grad = Query(model).grad(z, y, ce)[2].flatten(1)
        kept = grad.abs() >= grad.abs().sort(dim=1, descending=True).values[:, 4:5]
        step = (grad.sign() * kept / kept.sum(dim=1, keepdim=True)).view_as(x)
        z = x + project(z + 0.3 * step - x, 1.0, "l1")
    ours = bim(query, x, y, norm="l1", eps=1.0, rng=0, steps=6, step_size=0.3, sparsity=0.9)
    torch.testing.assert_close(ours, z, rtol=0, atol=1e-12)


def test_fgsm_in_l1_is_the_best_point_for_a_linear_model() -> None:
    """No random point of ball and box has a larger margin, and with the box away one entry takes all."""
    torch.manual_seed(2)
    model = Linear(torch.randn(2, 12).double(), torch.zeros(2).double())
    x = torch.rand(1, 12, dtype=torch.float64).expand(4000, 12)
    y = torch.zeros(4000, dtype=torch.int64)
    ours = fgsm(model, x[:1], y[:1], norm="l1", eps=1.5, rng=0)
    tried = in_ball(x, norm="l1", eps=1.5, bounds=UNIT, rng=SampleRng(0, torch.arange(4000)))
    slope = (model.weight[1] - model.weight[0]).detach()
    assert ((tried - x) @ slope).max() < ((ours - x[:1]) @ slope).item()
    assert (ours != x[:1]).sum() > 1
    far = fgsm(Query(model, bounds=FREE), x[:1], y[:1], norm="l1", eps=1.5, rng=0) - x[:1]
    assert (far != 0).sum() == 1
    assert far.flatten()[slope.abs().argmax()].abs().item() == pytest.approx(1.5)


def test_random_start_in_l1_is_uniform_in_the_ball() -> None:
    """In a ball of dimension d a coordinate of the unit vector has second moment 2 / ((d + 1) (d + 2))."""
    x = torch.zeros(4000, 3, 2, 2, dtype=torch.float64)
    points = in_ball(x, norm="l1", eps=1.0, bounds=FREE, rng=SampleRng(0, torch.arange(4000)))
    assert (distance(points, "l1") < 1).all()
    torch.testing.assert_close(points.square().mean().item(), 2 / (13 * 14), rtol=0.05, atol=0)
    assert points.mean().abs() < 0.01 * points.std() * 2
    assert ((points > 0).double().mean() - 0.5).abs() < 0.01


@pytest.mark.parametrize("attack", [bim, pgd, mim])
def test_float32_points_of_a_large_image_stay_in_the_ball(attack: object) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 3))
    x, y = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    options = {"steps": 5, "step_size": 0.5, "relative": True, "sparsity": 0.0}
    z = attack(model, x, y, norm="l1", eps=12.0, rng=0, **options)
    assert (distance(z.double() - x.double(), "l1") <= 12.0 * (1 + 1e-6)).all()


def test_momentum_in_l2_follows_the_accumulated_gradient() -> None:
    model, x, y = setting(6)
    z, momentum = x.clone(), torch.zeros_like(x)
    for _ in range(5):
        grad = Query(model).grad(z, y, ce)[2]
        momentum = 0.8 * momentum + grad / grad.abs().flatten(1).sum(dim=1).view(-1, 1, 1, 1)
        step = momentum / momentum.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        delta = (z + 0.2 * step).clamp(0, 1) - x
        z = x + delta * (0.5 / delta.flatten(1).norm(dim=1)).clamp(max=1).view(-1, 1, 1, 1)
    ours = mim(model, x, y, norm="l2", eps=0.5, rng=0, steps=5, step_size=0.2, decay=0.8)
    torch.testing.assert_close(ours, z, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stop", ["first", "never"])
def test_step_sizes_are_tried_in_order_from_each_start_on_what_is_left(stop: str) -> None:
    model, x, y = setting()
    rng, query, sizes = SampleRng(5, torch.arange(40)), Query(model), (0.01, 0.05, 0.3)
    options = {"norm": "linf", "eps": 0.1, "steps": 3, "relative": True, "stop": stop}
    ours = pgd(query, x, y, rng=rng, restarts=2, step_sizes=sizes, **options)
    left, solved = torch.arange(40), []
    for restart in range(2):
        for size in sizes:
            z = pgd(model, x[left], y[left], rng=rng.at(left).shifted(restart), step_size=size, **options)
            fooled = misclassified(model(z), y[left])
            torch.testing.assert_close(ours[left[fooled]], z[fooled], rtol=0, atol=1e-12)
            assert (query.restarts[left[fooled]] == restart).all()
            left = left[~fooled]
            solved.append(int(fooled.sum()))
    torch.testing.assert_close(ours[left], z[~fooled], rtol=0, atol=1e-12)
    assert solved[0] > 0
    assert sum(solved[1:3]) > 0
    assert len(left) > 0


def test_one_step_size_in_a_grid_is_that_step_size() -> None:
    model, x, y = setting()
    options = {"norm": "l2", "eps": 0.5, "rng": 1, "steps": 4, "restarts": 2}
    assert torch.equal(pgd(model, x, y, step_sizes=[0.2], **options), pgd(model, x, y, step_size=0.2, **options))
