"""A critic that is told the class in every layer: what the thesis compares the one of models/mlp.py with."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.models.mlp import Noise
from touchstone.models.net import INITS, initialise
from touchstone.ranges import Count, NotNegative


class LabelledCritic(nn.Module):
    """Tell natural from adversarial images of a class, which each layer has beside its input, in one logit.

    Source: Matyasko (2020), section 4.4, after Li et al. (2017), Triple-GAN, whose discriminator puts the class as a
    one-hot vector beside the input of each layer. Layers, noise and initialisation are those of `mlp.critic`: the
    thesis says of the comparison no more than where the class comes in.

    Args:
        shape: (channels, height, width) of the input.
        classes: how many there are.
        hidden: width of both hidden layers.
        input_noise: standard deviation of the noise on the image, in pixels.
        hidden_noise: standard deviation of the noise after each activation.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: int, *, hidden: Count, input_noise: float, hidden_noise: float
    ) -> None:
        super().__init__()
        self.classes = classes
        self.noise1, self.fc1 = Noise(input_noise), nn.Linear(math.prod(shape) + classes, hidden)
        self.noise2, self.fc2 = Noise(hidden_noise), nn.Linear(hidden + classes, hidden)
        self.noise3, self.fc3 = Noise(hidden_noise), nn.Linear(hidden + classes, 1)

    def forward(self, x: Tensor, classes: Tensor) -> Tensor:
        """Return the logit (B,) of each image (B, C, H, W) for its class (B,) int64."""
        label = F.one_hot(classes, self.classes).to(x.dtype)
        h = self.fc1(torch.cat([self.noise1(x.flatten(1)), label], dim=1))
        h = self.fc2(torch.cat([self.noise2(F.leaky_relu(h, 0.2)), label], dim=1))
        return self.fc3(torch.cat([self.noise3(F.leaky_relu(h, 0.2)), label], dim=1)).squeeze(1)


def labelled_critic(
    shape: tuple[int, int, int], classes: int, *, hidden: Count, input_noise: NotNegative, hidden_noise: NotNegative
) -> LabelledCritic:
    """Return the net with MSRA initialisation and zero biases; arguments are those of LabelledCritic."""
    net = LabelledCritic(shape, classes, hidden=hidden, input_noise=input_noise, hidden_noise=hidden_noise)
    initialise(net, *INITS["msra"])
    return net
