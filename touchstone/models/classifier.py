"""A classifier on pixels in [0, 1]: normalisation is its first layer, so epsilon is always in input units."""

import torch
from torch import Tensor, nn

from touchstone.models import MODELS
from touchstone.registry import DatasetSpec, load


class Normalize(nn.Module):
    """Subtract the mean and divide by the standard deviation of each channel.

    Args:
        mean: one value per channel, in [0, 1] pixels.
        std: one value per channel, > 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, C, H, W) in pixels to normalised units."""
        return (x - self.mean) / self.std


class Classifier(nn.Module):
    """`net` behind `normalize`: x (B, C, H, W) float in [0, 1] -> logits (B, classes)."""

    def __init__(self, normalize: Normalize, net: nn.Module) -> None:
        super().__init__()
        self.normalize = normalize
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, classes)."""
        return self.net(self.normalize(x))

    def features(self, x: Tensor) -> Tensor:
        """Return the input of the last linear layer (B, D)."""
        return self.net.features(self.normalize(x))

    @property
    def classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.net.classifier


def build(name: str, dataset: DatasetSpec, *, seed: int, **options: object) -> Classifier:
    """Build the architecture `name` for a dataset, initialised from `seed`; the global RNG is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = load(MODELS[name].fn)(dataset.shape, dataset.classes, **options)
    return Classifier(Normalize(dataset.mean, dataset.std), net)
