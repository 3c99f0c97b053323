"""SparseFool on linear models, where its first step is known, and on models that give it nothing to work with."""

import pytest
import torch
from box_oracle import SHAPES, Linear, case
from torch import Tensor, nn

from touchstone.attacks.contract import prepare
from touchstone.attacks.fab import fab
from touchstone.attacks.sparsefool import across, sparsefool
from touchstone.losses import misclassified
from touchstone.norms import distance
from touchstone.query import Query

OPTIONS = {"norm": "l1", "rng": 0}


@pytest.mark.parametrize("walls", [True, False], ids=["walls", "free"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_plane_that_is_no_farther_than_the_boundary_gives_the_exact_optimum(
    shape: tuple[int, ...], walls: bool
) -> None:
    """With two classes; the 1.05 is the overshoot of 0.02 and the 1e-4 that DeepFool adds to its step."""
    model, x, y, best = case(shape, 2, "l1", walls=walls)
    x_adv, dist, found = sparsefool(model, x, y, reach=1.0, **OPTIONS)
    assert found.all()
    assert misclassified(model(x_adv), y).all()
    optimum = best.amin(dim=1)
    assert (dist >= (1 - 1e-4) * optimum).all()
    assert (dist <= 1.05 * optimum).all()
    pixels = sparsefool(model, x, y, reach=1.0, norm="l0", rng=0)  # only measured in another way
    assert torch.equal(pixels.x_adv, x_adv)
    torch.testing.assert_close(pixels.dist, distance(x_adv - x, "l0"))


def test_reach_puts_the_plane_farther_away() -> None:
    model = Linear(torch.tensor([[4.0, 1.0], [0.0, 0.0]]).double(), torch.tensor([-1.0, 0.0]).double())
    x, y = torch.tensor([[0.3, 0.5]]).double(), torch.tensor([0])  # score 0.7, slope (4, 1)
    for reach, steepest, second in ((1.0, 0.7 / 4, 0.0), (1.5, 1.05 / 4, 0.0), (3.0, 0.3, 0.5)):
        x_adv = sparsefool(model, x, y, reach=reach, overshoot=0.0, **OPTIONS).x_adv
        # 3 * 0.7 = 2.1: the first value goes to its wall (1.2), the second has to close 0.9 with half of that room
        torch.testing.assert_close((x - x_adv)[0], torch.tensor([steepest, second]).double(), atol=2e-3, rtol=0)


def curved() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(27, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    x = torch.rand(10, 3, 3, 3, dtype=torch.float64)
    x[:, 0] = x[:, 0].round()
    model[3].bias.data -= model(x).mean(dim=0)
    return model, x, model(x).argmax(dim=1)


def test_it_changes_few_values_of_a_curved_model() -> None:
    model, x, y = curved()
    x_adv, dist, found = sparsefool(model, x, y, **OPTIONS)
    assert found.all()
    changed = (x_adv != x).flatten(1).sum(dim=1)
    assert changed.double().mean() < 8  # of 27
    torch.testing.assert_close(dist, distance(x_adv - x, "l1"))
    assert (dist >= 0.9 * fab(model, x, y, norm="l1", rng=0, steps=50).dist).all()


def test_deepfool_inside_it_gets_across_the_boundary() -> None:
    model, x, y = curved()
    task = prepare(model, x, y, norm="l1", norms=("l1",), rng=0)
    beyond = across(task, x, y, torch.arange(10), 50)
    assert misclassified(model(beyond), y).all()
    assert (distance(beyond - x, "l2") <= 1.5 * fab(model, x, y, norm="l2", rng=0, steps=50).dist).all()


class Flat(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return self.value * x.flatten(1)[:, :3] + torch.tensor([1.0, 0.0, 0.0], dtype=x.dtype)


@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_flat_and_nan_models_are_not_fooled(value: float) -> None:
    x, y = torch.rand(3, 8, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    x_adv, dist, found = sparsefool(Flat(value), x, y, steps=2, boundary_steps=2, **OPTIONS)
    assert torch.equal(x_adv, x)
    assert dist.isinf().all()
    assert not found.any()


def test_what_is_misclassified_already_needs_nothing() -> None:
    model, x, y = curved()
    query = Query(model)
    found = sparsefool(query, x, (y + 1) % 4, **OPTIONS)
    assert not found.dist.any()
    assert query.forwards.tolist() == [1] * 10
