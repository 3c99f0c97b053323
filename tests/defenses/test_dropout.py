"""Dropout: what is dropped, how much, and that nothing of it stays in the model."""

import pytest
import torch
from small import Small, assert_same, images, steps
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.defenses.dropout import Dropout, dropped

Y = torch.tensor([0, 3, 1, 2, 0, 2])


def seen(model: nn.Module, layers: list[nn.Linear], x: Tensor, p: float, seed: int = 0) -> list[Tensor]:
    """What enters these layers while dropout is on."""
    inputs: list[Tensor] = []
    with dropped(model, p, torch.Generator().manual_seed(seed)):
        handles = [layer.register_forward_hook(lambda _, given, __: inputs.append(given[0])) for layer in layers]
        model(x)
        for handle in handles:
            handle.remove()
    return inputs


def test_hidden_layers_are_dropped_and_the_image_is_not() -> None:
    model, x = Small(400, 300, 4), images(6, size=20)
    image, hidden = seen(model, [model.first, model.classifier], x, 0.5)
    assert torch.equal(image, x.flatten(1))
    kept = hidden != 0
    assert kept.double().mean().item() == pytest.approx(0.5, abs=0.05)
    assert len(kept.unique(dim=0)) == 6  # a mask for each image
    torch.testing.assert_close(hidden[kept], 2 * model.features(x)[kept])


def test_in_lenet_all_linear_layers_and_no_convolution(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    net = model.net
    inputs = seen(model, [net.conv1, net.conv2, net.fc1, net.fc2, net.fc3], batch[0], 0.9)
    zeros = [(i == 0).float().mean().item() for i in inputs]
    assert max(zeros[:2]) < 0.6  # ReLU's own
    assert min(zeros[2:]) > 0.85


def test_at_zero_it_is_cross_entropy() -> None:
    model, x = Small(9, 7, 4), images(6)
    (step,) = steps(Dropout(p=0.0), model, (x, Y))
    assert_same(step.loss, F.cross_entropy(model(x), Y), model)


def test_masks_follow_the_seed_and_the_model_is_left_as_it_was() -> None:
    model, x = Small(9, 7, 4), images(6)
    plain, state = model(x), torch.get_rng_state()
    a, b, c = (steps(Dropout(), model, (x, Y), seed=rng)[0].loss.item() for rng in (1, 1, 2))
    assert a == b != c
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model(x), plain)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"p must be float >= 0 and < 1, got 1\.0"):
        Dropout(p=1.0)
    with pytest.raises(ValueError, match="no hidden linear layer"):
        steps(Dropout(), nn.Sequential(nn.Flatten(), nn.Linear(9, 4).double()), (images(6), Y))
