"""Layers in a row, their names, their flat size, and nets of others split in two."""

import pytest
import torch
from torch import Tensor, nn

from touchstone.attacks.pgd import pgd
from touchstone.defenses.base import classifier
from touchstone.models.classifier import Classifier, Normalize
from touchstone.models.net import Conv2d, Net, flat_size, in_a_row, split


def convs() -> list[nn.Module]:
    return [nn.Conv2d(1, 3, 5), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]


def test_layers_are_named_by_kind_and_number() -> None:
    net = in_a_row([*convs(), nn.Linear(27, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)])
    assert [name for name, _ in net.named_children()] == [
        *("conv1", "bn1", "relu1", "maxpool2d1", "flatten1", "fc1", "bn2", "fc2"),
    ]
    assert net.classifier is net.fc2


def test_flat_size_counts_and_changes_nothing() -> None:
    layers = convs()
    before = [t.clone() for t in nn.Sequential(*layers).state_dict().values()]
    assert flat_size(layers, (1, 11, 10)) == 3 * 3 * 3
    assert all(torch.equal(a, b) for a, b in zip(before, nn.Sequential(*layers).state_dict().values(), strict=True))
    assert all(layer.training for layer in layers)


def test_flat_size_of_images_that_are_too_small() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 4, 4\) do not pass"):
        flat_size(convs(), (1, 4, 4))


class Odd(nn.Module):
    """A net whose output is made of its layers in a way that the test gives."""

    def __init__(self, out: object) -> None:
        super().__init__()
        self.body, self.head, self.out = nn.Linear(4, 6), nn.Linear(6, 3), out

    def forward(self, x: Tensor) -> object:
        return self.out(self, x.flatten(1))


def test_split_keeps_weights_and_function() -> None:
    net = Odd(lambda net, x: net.head(net.body(x).tanh()))
    x = torch.rand(5, 1, 2, 2)
    expected, head = net(x), net.head
    ours = split(net, (1, 2, 2), 3)
    assert isinstance(ours, Net)
    assert ours.classifier is head
    assert ours.training
    torch.testing.assert_close(ours(x), expected)
    torch.testing.assert_close(ours.features(x), net.body(x.flatten(1)).tanh())


@pytest.mark.parametrize(
    ("out", "classes", "message"),
    [
        (lambda net, x: net.head(net.body(x)), 4, r"must return logits \(2, 4\) of two images, got \(2, 3\)"),
        (lambda net, x: (net.head(net.body(x)), x), 3, r"must return logits \(2, 3\) of two images, got tuple"),
        (lambda net, x: (net.head(net.body(x)), x) if net.training else net.head(net.body(x)), 3, "several outputs"),
        (lambda net, x: net.head(net.body(x[:, :2])), 3, r"does not take images of shape \(1, 2, 2\)"),
    ],
    ids=["classes", "pair", "training", "shape"],
)
def test_split_refuses(out: object, classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(Odd(out), (1, 2, 2), classes)


@pytest.mark.parametrize(
    "net",
    [
        Odd(lambda net, x: net.head(net.body(x)).relu() + 1),
        Odd(lambda net, x: net.head(net.body(x) + 0 * net.head(net.body(x)).sum())),
        nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.LogSoftmax(1)),
        nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten()),
    ],
    ids=["after", "twice", "log-softmax", "convolution"],
)
def test_a_net_that_does_not_end_in_a_linear_layer_stays_whole(net: nn.Module) -> None:
    """It can be trained and attacked; only what asks for features is refused."""
    x = torch.rand(3, 1, 2, 2)
    expected = net(x)
    whole = split(net, (1, 2, 2), 3)
    assert whole is net
    assert whole.training
    model = Classifier(Normalize([0.0], [1.0]), whole, (1, 2, 2))
    assert torch.equal(model(x), expected)
    assert pgd(model, x, torch.zeros(3, dtype=torch.int64), norm="linf", eps=0.1, rng=0, steps=2).shape == x.shape
    with pytest.raises(ValueError, match="does not end in a linear layer, so it has no features"):
        model.features(x)
    with pytest.raises(ValueError, match="last linear layer"):
        classifier(model)


@pytest.mark.parametrize("last", [nn.Tanh(), nn.BatchNorm1d(3, eps=1e-12)], ids=["tanh", "fresh batch norm"])
def test_what_follows_the_linear_layer_and_keeps_a_zero_is_not_lost(last: nn.Module) -> None:
    """Biases of zero are usual, and black images then leave a zero; fresh statistics are those of nothing."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False), last)
    x = torch.rand(5, 1, 2, 2)
    whole = split(net, (1, 2, 2), 3)
    assert whole is net
    torch.testing.assert_close(whole(x), last(x.flatten(1) @ net[1].weight.T))


def test_split_leaves_the_statistics_of_batch_norm_alone() -> None:
    net = split(nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(4, 3)), (1, 2, 2), 3)
    assert net.body[0].num_batches_tracked == 0
    assert torch.equal(net.body[0].running_var, torch.ones(1))


@pytest.mark.parametrize("geometry", [{}, {"padding": (2, 1), "stride": (1, 2), "dilation": (2, 1), "bias": False}])
def test_gradients_in_grey_images_are_those_of_pytorch_once_and_twice(geometry: dict) -> None:
    ours, theirs = Conv2d(1, 4, (3, 2), **geometry).double(), nn.Conv2d(1, 4, (3, 2), **geometry).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 1, 7, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)

    def derivatives(conv: nn.Module) -> list[Tensor]:
        out = conv(x).tanh()  # bent, so that second derivatives do not vanish
        first = torch.autograd.grad(out.square().sum(), [x, *conv.parameters()], create_graph=True)
        return [out, *first, *torch.autograd.grad(sum(g.square().sum() for g in first), [x, *conv.parameters()])]

    assert "Grey" in ours(x).grad_fn.name()
    for mine, reference in zip(derivatives(ours), derivatives(theirs), strict=True):
        torch.testing.assert_close(mine, reference)


@pytest.mark.parametrize(
    ("more", "bf16"),
    [({"padding": "same"}, False), ({"padding": 1, "padding_mode": "circular"}, False), ({}, True)],
    ids=["same", "circular", "bf16"],
)
def test_what_the_faster_gradient_does_not_know_is_left_to_pytorch(more: dict, bf16: bool) -> None:
    ours, theirs = Conv2d(1, 4, 3, **more), nn.Conv2d(1, 4, 3, **more)
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 1, 7, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def derivatives(conv: nn.Module) -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16, bf16):
            out = conv(x).float()
            (slope,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
            return [out, slope, *torch.autograd.grad(slope.square().sum(), list(conv.parameters()))]

    for mine, reference in zip(derivatives(ours), derivatives(theirs), strict=True):
        torch.testing.assert_close(mine, reference)
