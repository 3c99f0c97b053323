"""Max-Mahalanobis centres: the simplex, what is frozen, and the loss seen through the logits."""

import math

import pytest
import torch
from small import Small, images, steps
from torch import Tensor, nn

from touchstone.defenses.mmc import MaxMahalanobisCenter, simplex
from touchstone.training import Phase, fit

Y = torch.tensor([0, 3, 1, 2, 0, 2])


def recursion(classes: int, width: int) -> Tensor:
    """The centres of Pang, Du, Zhu (2018), coordinate by coordinate."""
    mu = torch.zeros(classes, width, dtype=torch.float64)
    mu[0, 0] = 1.0
    for i in range(1, classes):
        for j in range(min(i, classes - 1)):
            mu[i, j] = -(1 / (classes - 1) + mu[i] @ mu[j]) / mu[j, j]
        if i < classes - 1:
            mu[i, i] = (1 - mu[i] @ mu[i]).sqrt()
    return mu


@pytest.mark.parametrize(("classes", "width"), [(2, 1), (3, 2), (4, 7), (10, 9), (10, 84)])
def test_simplex(classes: int, width: int) -> None:
    mu = simplex(classes, width)
    torch.testing.assert_close(mu, recursion(classes, width))
    cosines = torch.full((classes, classes), -1 / (classes - 1), dtype=torch.float64).fill_diagonal_(1.0)
    torch.testing.assert_close(mu @ mu.T, cosines)
    assert mu[-1].max() <= 0  # out of reach of a ReLU
    assert (mu[:-1].amax(dim=1) > 0).all()


def test_a_simplex_needs_room() -> None:
    with pytest.raises(ValueError, match="10 centres need at least 9 features, the model has 8"):
        simplex(10, 8)


@pytest.mark.parametrize("variant", ["printed", "coded"])
def test_value_and_gradient(variant: str) -> None:
    model, x = Small(9, 7, 4), images(6)
    (step,) = steps(MaxMahalanobisCenter(variant, scale=2.0), model, (x, Y))
    gap = model.features(x) - 2.0 * recursion(4, 7)[Y]
    expected = (gap**2).sum() / 6 / (7 if variant == "coded" else 1)
    torch.testing.assert_close(step.loss, expected)
    ours, theirs = (torch.autograd.grad(v, model.first.weight)[0] for v in (step.loss, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("variant", ["printed", "coded"])
def test_the_centres_stay_and_the_rest_learns(variant: str) -> None:
    model = Small(9, 7, 4).float()
    drawn, first = model.classifier.bias.detach().clone(), model.first.weight.detach().clone()
    x = (images(12) * 255).to(torch.uint8)
    fit(model, MaxMahalanobisCenter(variant, 3.0), x, torch.arange(12) % 4, [Phase(2, 4, lr=0.01)] * 2, seed=0)
    torch.testing.assert_close(model.classifier.weight, (3.0 * simplex(4, 7)).float())
    assert torch.equal(model.classifier.bias, drawn if variant == "coded" else torch.zeros(4))
    assert not torch.equal(model.first.weight, first)
    assert not any(p.requires_grad for p in model.classifier.parameters())


def test_the_nearest_centre_is_the_largest_logit() -> None:
    model, x = Small(9, 7, 4), images(40)
    defense = MaxMahalanobisCenter("printed")
    centres = defense.setup(model, 0)
    nearest = torch.cdist(model.features(x), centres).argmin(dim=1)
    assert len(nearest.unique()) > 1
    assert torch.equal(model(x).argmax(dim=1), nearest)


def test_the_loss_of_the_logits_is_the_distance_within_the_span_of_the_centres() -> None:
    model, x = Small(9, 7, 4), images(6)
    defense = MaxMahalanobisCenter("printed", scale=2.0)
    centres = defense.setup(model, 0)
    z = model.features(x)
    span = torch.linalg.pinv(centres) @ centres
    torch.testing.assert_close(defense.loss(model(x), Y), ((z @ span - centres[Y]) ** 2).sum(dim=1))


def test_with_as_many_features_as_dimensions_the_loss_of_the_logits_is_the_whole() -> None:
    model, x = Small(9, 3, 4), images(6)
    defense = MaxMahalanobisCenter("printed", scale=2.0)
    (step,) = steps(defense, model, (x, Y))
    torch.testing.assert_close(defense.loss(model(x), Y).mean(), step.loss)


def test_constants_are_checked() -> None:
    with pytest.raises(ValueError, match="variant must be one of 'printed', 'coded', got 'pang'"):
        MaxMahalanobisCenter("pang")
    for scale in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="scale must be finite float > 0"):
            MaxMahalanobisCenter("printed", scale)
    with pytest.raises(ValueError, match="the `classifier` of Linear is NoneType"):
        MaxMahalanobisCenter("printed").setup(nn.Linear(9, 4), 0)
