"""Fully connected nets of Matyasko (2020): the classifiers of chapters 3 and 4, and the critic of chapter 4."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from touchstone.models.net import INITS, Net, in_a_row, initialise
from touchstone.ranges import BelowOne, Count, NotNegative


def mlp(
    shape: tuple[int, int, int],
    classes: int,
    *,
    hidden: Sequence[Count],
    init: Literal["glorot", "msra"],
    dropout: BelowOne = 0.0,
) -> Net:
    """Hidden layers with ReLU, then the classifier.

    Args:
        shape: (channels, height, width) of the input.
        classes: number of logits.
        hidden: widths of the hidden layers.
        init: how the weights are drawn (chapter 3 "glorot", chapter 4 "msra"); biases start at zero.
        dropout: share of values dropped after each ReLU; 0.5 in the row "Dropout" of table 3.1.
    """
    widths = (math.prod(shape), *hidden)
    layers = [
        layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout))
    ]  # fmt: skip
    net = in_a_row([nn.Flatten(), *layers, nn.Linear(widths[-1], classes)])
    initialise(net, *INITS[init])
    return net


class Noise(nn.Module):
    """Add Gaussian noise of standard deviation `std`, in training and in evaluation alike.

    Attributes:
        generator: of the draws, on the device of the input; None is the global one.
    """

    generator: torch.Generator | None = None

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus noise."""
        return x + self.std * torch.empty_like(x).normal_(generator=self.generator)


def critic(
    shape: tuple[int, int, int],
    classes: int,
    *,
    hidden: Count = 1200,
    input_noise: NotNegative = 0.1,
    hidden_noise: NotNegative = 0.5,
) -> Net:
    """Tell natural from adversarial images, one logit per class; Matyasko (2020), section 4.5, as coded.

    Two hidden layers with leaky ReLU of slope 0.2, MSRA initialisation, zero biases. The thesis adds noise to
    the input of each layer; the code uses another strength for the image than for the hidden layers.

    Args:
        shape: (channels, height, width) of the input.
        classes: number of logits; logit k judges an image that is taken for class k.
        hidden: width of both hidden layers.
        input_noise: standard deviation of the noise on the image, in pixels.
        hidden_noise: standard deviation of the noise after each activation.
    """
    pixels = math.prod(shape)
    net = in_a_row(
        [
            *(nn.Flatten(), Noise(input_noise)),
            *(nn.Linear(pixels, hidden), nn.LeakyReLU(0.2), Noise(hidden_noise)),
            *(nn.Linear(hidden, hidden), nn.LeakyReLU(0.2), Noise(hidden_noise)),
            nn.Linear(hidden, classes),
        ]
    )
    initialise(net, *INITS["msra"])
    return net
