import math

import pytest
import torch
from tiny_nets import MEAN, STD, conv, samples, whitened
from torch import nn

from touchstone.threat import Threat, in_space
from touchstone.types import Bounds


def test_epsilons_are_kept_in_ascending_order() -> None:
    assert Threat("linf", (0.3, 0, 0.1)).epsilons == (0.0, 0.1, 0.3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"norm": "l3"}, r"unknown norm 'l3'; allowed: l0, l1, l2, linf"),
        ({"space": "normalised"}, r"allowed: normalized, pixel, whitened; did you mean 'normalized'\?"),
        ({"epsilons": (0.1, 0.1)}, r"all different, got \[0.1, 0.1\]"),
        ({"epsilons": (-0.1,)}, r"epsilons must be >= 0"),
        ({"bounds": Bounds(1.0, 0.0)}, r"lower < upper, got \[1.0, 0.0\]"),
    ],
)
def test_a_threat_that_means_nothing_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Threat(**{"norm": "linf", **wrong})


def test_pixel_space_is_the_identity_to_the_last_bit() -> None:
    model = conv()
    x, _ = samples(model)
    view = in_space(model, Threat("linf"))
    assert view.model is model
    assert torch.equal(view.from_pixels(x), x)
    assert torch.equal(view.to_pixels(x), x)
    assert view.bounds == Bounds(0.0, 1.0)


def test_normalized_space_is_the_model_behind_its_normalisation() -> None:
    model = conv()
    x, _ = samples(model)
    view = in_space(model, Threat("linf", space="normalized"))
    z = view.from_pixels(x)
    torch.testing.assert_close(z[:, 1], (x[:, 1] - 0.5) / 0.25)
    assert torch.equal(view.model(z), model(x))
    torch.testing.assert_close(view.to_pixels(z), x)


def test_normalized_bounds_are_the_data_range_of_each_channel() -> None:
    view = in_space(conv(), Threat("linf", space="normalized"))
    expected = [((0 - m) / s, (1 - m) / s) for m, s in zip(MEAN, STD, strict=True)]
    for channel, (lower, upper) in enumerate(expected):
        assert view.bounds.lower[0, channel].item() == pytest.approx(lower)
        assert view.bounds.upper[0, channel].item() == pytest.approx(upper)
    edges = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    z = view.from_pixels(edges)  # black and white lie exactly on the edge of the box
    assert torch.equal(view.bounds.clip(z), z)


@pytest.mark.parametrize("space", ["pixel", "normalized"])
def test_no_bounds_means_no_box(space: str) -> None:
    view = in_space(conv(), Threat("linf", space=space, bounds=None))
    z = torch.full((1, 3, 4, 4), 1e6)
    assert torch.equal(view.bounds.clip(z), z)
    assert math.isinf(torch.as_tensor(view.bounds.upper).max())


def test_normalized_space_needs_a_normalisation_layer() -> None:
    with pytest.raises(ValueError, match=r"needs a .*Classifier .* got Linear; use space 'pixel'"):
        in_space(nn.Linear(2, 2), Threat("linf", space="normalized"))


def test_whitened_space_is_the_model_behind_its_whitening() -> None:
    model = whitened()
    x, _ = samples(model)
    view = in_space(model, Threat("linf", space="whitened", bounds=None))
    z = view.from_pixels(x)
    assert torch.equal(z, model.normalize(x))
    assert torch.equal(view.model(z), model(x))
    torch.testing.assert_close(view.to_pixels(z, x), x, rtol=0, atol=1e-5)


def test_a_point_of_whitened_space_gets_the_mean_and_contrast_of_its_image() -> None:
    model = whitened()
    x, _ = samples(model)
    view = in_space(model, Threat("linf", space="whitened", bounds=None))
    darker = 0.1 + 0.5 * x  # the same to the model
    z = view.from_pixels(x)
    torch.testing.assert_close(view.to_pixels(z, darker), darker, rtol=0, atol=1e-4)
    step = torch.zeros_like(z)
    step[:, 0, 0, 0] = 1.0
    moved, less = (view.to_pixels(z + step, like) - like for like in (x, darker))
    torch.testing.assert_close(less, moved / 2, rtol=1e-3, atol=1e-5)


def test_whitened_space_has_no_box_and_needs_its_layer() -> None:
    with pytest.raises(ValueError, match=r"a box of pixels is none in whitened space, got the bounds \[0.0, 1.0\]"):
        in_space(whitened(), Threat("linf", space="whitened"))
    with pytest.raises(ValueError, match=r"'whitened' needs a .*Classifier that begins with Whiten, got Classifier"):
        in_space(conv(), Threat("linf", space="whitened", bounds=None))
    with pytest.raises(ValueError, match=r"'normalized' needs a .*Classifier that begins with Normalize"):
        in_space(whitened(), Threat("linf", space="normalized"))
