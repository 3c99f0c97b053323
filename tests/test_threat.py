import math

import pytest
import torch
from tiny_nets import MEAN, STD, conv, samples
from torch import nn

from touchstone.threat import Threat, in_space
from touchstone.types import Bounds


def test_epsilons_are_kept_in_ascending_order() -> None:
    assert Threat("linf", (0.3, 0, 0.1)).epsilons == (0.0, 0.1, 0.3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"norm": "l3"}, r"unknown norm 'l3'; allowed: l0, l1, l2, linf"),
        ({"space": "normalised"}, r"allowed: normalized, pixel; did you mean 'normalized'\?"),
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
