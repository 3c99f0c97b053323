"""The fully connected net of virtual adversarial training's authors: batch normalisation after every linear layer."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from touchstone.models.net import initialise
from touchstone.ranges import Count


def mlp_bn(shape: tuple[int, int, int], classes: int, *, hidden: Sequence[Count]) -> nn.Sequential:
    """Linear layers, each with batch normalisation, and ReLU between them: the logits are normalised too.

    Source: Miyato et al. (2016), section 4.2, and their code: weights N(0, 1 / inputs), zero biases, 1e-6 added to each
    variance, running statistics that keep 0.9. Deviation: after the last epoch the code estimates the statistics
    once more, as a mean over all batches. The net has no `classifier`: what it ends in is not linear.

    Args:
        shape: (channels, height, width) of the input.
        classes: number of logits.
        hidden: widths of the hidden layers.
    """
    widths = (math.prod(shape), *hidden, classes)
    layers = [
        layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.BatchNorm1d(b, eps=1e-6), nn.ReLU())
    ]  # fmt: skip
    net = nn.Sequential(nn.Flatten(), *layers[:-1])
    initialise(net, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="linear"), 0.0)
    return net
