"""BPDA on a net whose tanh features are saturated: it looks robust to every loss, and is not."""

from functools import cache
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from touchstone.attacks.apgd import apgd
from touchstone.attacks.bpda import CLIMBS, SATURATING, bpda, widened
from touchstone.attacks.pgd import pgd
from touchstone.query import Query

EPS = {"norm": "linf", "eps": 0.2, "rng": 0}


@cache
def trained() -> dict[str, Tensor]:
    """Train batch norm, tanh and a classifier without bias, the head of Xu et al. (2021), on 8 x 8 digits."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, (x, y) = net(), images(slice(0, 1500))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(15):
            for part in torch.randperm(1500).split(100):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[part]), y[part]).backward()
                optimizer.step()
        return model.state_dict()


def net() -> nn.Sequential:
    feature = (nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Tanh())
    return nn.Sequential(*feature, nn.Linear(32, 10, bias=False))


def images(part: slice) -> tuple[Tensor, Tensor]:
    digits = load_digits()
    return torch.tensor(digits.data[part], dtype=torch.float32) / 16, torch.tensor(digits.target[part])


def saturated(scale: float = 3000.0) -> tuple[nn.Sequential, Tensor, Tensor]:
    """Stretch what enters tanh, as training against small fixed weights does: the signs, so the answers, remain."""
    model = net()
    model.load_state_dict(trained())
    with torch.no_grad():
        model[4].weight *= scale
        model[4].bias *= scale
    return (model.eval(), *images(slice(1500, 1600)))


def left(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return (model(x).argmax(dim=1) == y).double().mean().item()


def test_a_net_that_looks_robust_to_every_loss_is_broken() -> None:
    model, x, y = saturated()
    with torch.no_grad():
        features = model[:6](x)
    assert (features.abs() == 1).double().mean() > 0.99  # in float32
    assert left(model, x, y) > 0.9
    for loss in ("ce", "ce64", "margin", "dlr"):
        query = Query(model)
        assert left(model, pgd(query, x, y, loss=loss, **EPS), y) > 0.8
        assert (query.zero_grads > 0).all()
    assert left(model, apgd(model, x, y, loss="margin", **EPS), y) > 0.6  # what its random start gets
    for attack in CLIMBS:
        assert left(model, bpda(model, x, y, attack=attack, steps=40, **EPS), y) < 0.1


def test_a_temperature_of_one_is_the_attack_itself() -> None:
    model, x, y = saturated(scale=1.0)
    options = {"steps": 5, "restarts": 2, "loss": "ce"}
    for attack, plain in CLIMBS.items():
        ours, theirs = Query(model), Query(model)
        points = bpda(ours, x, y, attack=attack, temperature=1.0, **options, **EPS)
        torch.testing.assert_close(points, plain(theirs, x, y, **options, **EPS))
        for column in ("forwards", "backwards", "restarts"):
            assert torch.equal(getattr(ours, column), getattr(theirs, column))


def test_options_reach_the_attack() -> None:
    model, x, y = saturated(scale=1.0)
    with widened(model, 7.0):
        theirs = pgd(model, x, y, steps=3, step_size=0.05, random_start=False, loss="ce", **EPS)
    more = {"options": {"step_size": 0.05, "random_start": False}}
    assert torch.equal(bpda(model, x, y, steps=3, temperature=7.0, loss="ce", **more, **EPS), theirs)
    for name in ("steps", "stop", "loss"):
        with pytest.raises(ValueError, match=f"option '{name}' is not supported here"):
            bpda(model, x, y, options={name: 1}, **EPS)


@pytest.mark.parametrize("kind", SATURATING, ids=lambda kind: kind.__name__)
def test_values_stay_bit_for_bit_and_slopes_are_those_of_the_wide_activation(kind: type[nn.Module]) -> None:
    model, z = nn.Sequential(kind()), torch.linspace(-60, 60, 241)
    plain = model(z)
    with widened(model, 20.0):
        inside, there = model(z), z.clone().requires_grad_()
        with_gradient = model(there)
        (slope,) = torch.autograd.grad(with_gradient.sum(), there)
        with torch.no_grad():
            assert torch.equal(model(z), plain)
    assert torch.equal(inside, plain)
    assert torch.equal(with_gradient.detach(), plain)
    wide = z.clone().requires_grad_()
    (expected,) = torch.autograd.grad(20 * kind()(wide / 20).sum(), wide)
    torch.testing.assert_close(slope, expected)
    near = z.abs() < 15
    assert slope[near].all()
    assert model[0]._forward_hooks == {}


@pytest.mark.parametrize("kind", [nn.Hardtanh, nn.ReLU6])
def test_an_activation_in_place_gets_the_same_slope(kind: type[nn.Module]) -> None:
    z, slopes = torch.linspace(-9, 9, 37), []
    for inplace in (False, True):
        model, there = nn.Sequential(nn.Identity(), kind(inplace=inplace)), z.clone().requires_grad_()
        with widened(model, 20.0):
            (slope,) = torch.autograd.grad(model(there + 0).sum(), there)
        slopes.append(slope)
        assert model[1].inplace == inplace
    assert torch.equal(*slopes)
    assert slopes[0].any()


class Fragile(nn.Module):
    """A tanh net that fails once gradients are wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.tanh = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            raise RuntimeError("no gradients today")
        return self.tanh(x.flatten(1))


def test_the_model_is_left_as_it_was_even_after_an_error() -> None:
    model = Fragile()
    with pytest.raises(RuntimeError, match="no gradients today"):
        bpda(model, torch.rand(2, 3), torch.tensor([0, 1]), **EPS)
    assert model.tanh._forward_hooks == {}


def test_a_model_without_such_a_layer_is_refused() -> None:
    model: Any = nn.Sequential(nn.Flatten(), nn.Linear(3, 2), nn.ReLU())
    with pytest.raises(ValueError, match=r"needs a model with a module of nn\.\{Tanh, .*\}, got Sequential; use pgd"):
        bpda(model, torch.rand(2, 3), torch.tensor([0, 1]), **EPS)
