"""The small nets of Xu et al. (2021, weight penalisation): four convolutions, two hidden layers, bounded features."""

from itertools import pairwise
from typing import Literal, NamedTuple

from torch import nn

from touchstone.models.net import Net, flat_size, in_a_row
from touchstone.registry import nearest

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "prelu": nn.PReLU,
    "leakyrelu": nn.LeakyReLU,
    "identity": nn.Identity,
}


class _Form(NamedTuple):
    """What differs between the paper's two nets.

    Attributes:
        channels: of the first pair of convolutions; the second has twice as many.
        hidden: width of both hidden layers.
        relu_first: the first hidden layer applies ReLU before batch norm, not after it.
    """

    channels: int
    hidden: int
    relu_first: bool


_MNIST = _Form(32, 200, relu_first=True)
_CIFAR = _Form(64, 256, relu_first=False)


def small_cnn(
    shape: tuple[int, int, int],
    classes: int,
    *,
    activation: Literal["tanh", "relu", "prelu", "leakyrelu", "identity"] = "tanh",
    bias: bool = False,
) -> Net:
    """Two pairs of 3x3 convolutions without padding, each pair pooled, then two hidden layers.

    Batch norm follows every convolution and every hidden layer, which the paper does not say and the authors'
    code does. PyTorch's default initialisation.

    Args:
        shape: (channels, height, width) of the input. Grey images get the net for MNIST (table 4), others that for
            CIFAR (table 5).
        classes: number of logits.
        activation: of the features, after batch norm; "tanh" is the paper's, others are its figures 6 and 7.
        bias: the classifier has one: only in the baselines, which have "relu" features.

    Raises:
        ValueError: for images that are too small, or another activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; {nearest(activation, ACTIVATIONS)}")
    channels, hidden, relu_first = _MNIST if shape[0] == 1 else _CIFAR
    widths = (shape[0], channels, channels, 2 * channels, 2 * channels)
    units = [(nn.Conv2d(a, b, kernel_size=3), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairwise(widths)]
    convs = [
        *(*units[0], *units[1], nn.MaxPool2d(2)),
        *(*units[2], *units[3], nn.MaxPool2d(2)),
        nn.Flatten(),
    ]
    norm_and_relu = (nn.BatchNorm1d(hidden), nn.ReLU())
    return in_a_row(
        [
            *convs,
            *(nn.Linear(flat_size(convs, shape), hidden), *(norm_and_relu[::-1] if relu_first else norm_and_relu)),
            *(nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), ACTIVATIONS[activation]()),
            nn.Linear(hidden, classes, bias=bias),
        ]
    )
