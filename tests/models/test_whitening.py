"""Contrast normalisation and ZCA whitening: by loops, by covariance, back again, and through a gradient."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from touchstone.data import DATASETS
from touchstone.data.prepare import to_float
from touchstone.models.classifier import Classifier, build
from touchstone.models.whitening import BIAS, SCALE, Whiten, contrast_normalized

SHAPE = (2, 4, 4)
SIZE = math.prod(SHAPE)


def images(count: int = 600) -> torch.Tensor:
    """Images uint8 whose neighbouring values go together."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(SIZE, SIZE)) / 4 + np.eye(SIZE)
    values = 127 + 30 * rng.normal(size=(count, SIZE)) @ mix
    return torch.from_numpy(values.clip(0, 255).astype(np.uint8)).view(count, *SHAPE)


@pytest.fixture
def layer() -> Whiten:
    made = Whiten(SHAPE)
    made.fit(images())
    return made


def test_contrast_normalisation_by_loops() -> None:
    x = to_float(images(5))
    found, means, contrasts = contrast_normalized(x)
    for n in range(5):
        values = [float(v) for v in x[n].flatten()]
        mean = sum(values) / SIZE
        length = math.sqrt(sum((v - mean) ** 2 for v in values))
        expected = torch.tensor([55 * (v - mean) / length for v in values]).view(SHAPE)
        torch.testing.assert_close(found[n], expected, rtol=1e-5, atol=1e-4)
        assert (means[n].item(), contrasts[n].item()) == pytest.approx((mean, length), rel=1e-5)
    lengths = found.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((5,), SCALE))


def test_it_does_not_depend_on_brightness_or_contrast(layer: Whiten) -> None:
    x = to_float(images(5))
    torch.testing.assert_close(layer(0.25 + 0.5 * x), layer(x), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.5, 1.0])
def test_a_blank_image_is_zero_before_whitening_and_has_a_gradient(value: float, layer: Whiten) -> None:
    x = torch.full((1, *SHAPE), value, requires_grad=True)
    assert torch.equal(contrast_normalized(x)[0], torch.zeros(1, *SHAPE))
    layer(x).sum().backward()
    assert torch.equal(x.grad, torch.zeros(1, *SHAPE))


def test_the_covariance_on_the_data_is_the_identity_but_for_the_bias(layer: Whiten) -> None:
    """Every direction has variance L / (L + bias) after whitening, and an image's own mean has none."""
    x = images()
    g = contrast_normalized(x.double() / 255)[0].flatten(1).numpy()
    variances, directions = np.linalg.eigh(np.cov(g.T, bias=True))
    expected = directions * (variances / (variances + BIAS)) @ directions.T
    z = layer.double()(x.double() / 255).flatten(1).numpy()
    np.testing.assert_allclose(np.cov(z.T, bias=True), expected, atol=1e-5)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
    kept = variances > 1000 * BIAS
    assert kept.sum() > SIZE / 4
    whitened = directions[:, kept].T @ np.cov(z.T, bias=True) @ directions[:, kept]
    np.testing.assert_allclose(whitened, np.eye(kept.sum()), atol=2e-3)


def test_zca_is_symmetric_and_undone_by_its_inverse(layer: Whiten) -> None:
    torch.testing.assert_close(layer.matrix, layer.matrix.T)
    torch.testing.assert_close(layer.matrix @ layer.inverse_matrix, torch.eye(SIZE), rtol=0, atol=1e-4)
    x = to_float(images(9))
    torch.testing.assert_close(layer.inverse(layer(x), x), x, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="give the images"):
        layer.inverse(layer(x))


def test_the_gradient_is_that_of_finite_differences(layer: Whiten) -> None:
    x = to_float(images(3)).double().requires_grad_()
    assert torch.autograd.gradcheck(layer.double(), (x,), eps=1e-6, atol=1e-4)


def test_batches_do_not_matter_to_the_fit(layer: Whiten, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("touchstone.models.whitening.ROWS", 7)
    other = Whiten(SHAPE)
    other.fit(images())
    torch.testing.assert_close(other.matrix, layer.matrix, rtol=1e-5, atol=1e-6)


def test_it_is_not_fitted_to_nothing() -> None:
    with pytest.raises(ValueError, match="there are no images to fit a whitening to"):
        Whiten(SHAPE).fit(images(1)[:0])


def test_an_unfitted_layer_answers_nan() -> None:
    assert Whiten(SHAPE)(to_float(images(2))).isnan().all()


def test_it_is_saved_with_the_weights(layer: Whiten) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(SIZE, 3))
    model, other = Classifier(layer, net), Classifier(Whiten(SHAPE), nn.Sequential(nn.Flatten(), nn.Linear(SIZE, 3)))
    assert {key for key in model.state_dict() if "normalize" in key} == {"normalize.mean", "normalize.matrix"}
    assert model.state_dict()["normalize.matrix"].dtype == torch.float32
    other.load_state_dict(model.state_dict())
    x = to_float(images(2))
    assert torch.equal(other(x), model(x))
    torch.testing.assert_close(other.normalize.inverse_matrix, layer.inverse_matrix, rtol=1e-4, atol=1e-4)
    assert not list(layer.parameters())


def test_a_model_is_built_with_it() -> None:
    model = build("lenet", DATASETS["digits"], seed=0, normalize="whitened")
    assert isinstance(model.normalize, Whiten)
    assert model.normalize.matrix.shape == (784, 784)
