"""The small nets of Xu et al. (2021, weight penalisation): four convolutions, two hidden layers, bounded features."""

from itertools import pairwise
from typing import Literal

from torch import nn

from touchstone.models.net import Net, flat_size, in_a_row
from touchstone.ranges import Count
from touchstone.registry import nearest

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "prelu": nn.PReLU,
    "leakyrelu": nn.LeakyReLU,
    "identity": nn.Identity,
}


def small_cnn(
    shape: tuple[int, int, int],
    classes: int,
    *,
    channels: Count,
    hidden: Count,
    relu_first: bool,
    activation: Literal["tanh", "relu", "prelu", "leakyrelu", "identity"] = "tanh",
    bias: bool = False,
) -> Net:
    """Two pairs of 3x3 convolutions without padding, each pair pooled, then two hidden layers.

    Batch norm follows every convolution and every hidden layer, which the paper does not say and the authors'
    code does. PyTorch's default initialisation.

    Args:
        shape: (channels, height, width) of the input.
        classes: number of logits.
        channels: of the first pair; the second has twice as many.
        hidden: width of both hidden layers.
        relu_first: the first hidden layer applies ReLU before batch norm (MNIST), or after it (CIFAR).
        activation: of the features, after batch norm; "tanh" is the paper's, others are its figures 6 and 7.
        bias: the classifier has one: only in the baselines, which have "relu" features.

    Raises:
        ValueError: for images that are too small, or another activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; {nearest(activation, ACTIVATIONS)}")
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
