"""Two robust nets by others, which stand beside a checkout with the shared data, and what is known of them."""

from pathlib import Path

import torch
from torch import Tensor, nn

from touchstone.data import DATASETS
from touchstone.data.prepare import to_float
from touchstone.data.readers import mnist


def small_cnn(weights: Path) -> nn.Sequential:
    """Return the SmallCNN of TRADES (Zhang et al., 2019) with weights from a torch file."""
    convolutions = [nn.Conv2d(1, 32, 3), nn.Conv2d(32, 32, 3), nn.Conv2d(32, 64, 3), nn.Conv2d(64, 64, 3)]
    linear = [nn.Linear(1024, 200), nn.Linear(200, 200), nn.Linear(200, 10)]
    net = nn.Sequential(
        *(part for conv in convolutions[:2] for part in (conv, nn.ReLU())),
        nn.MaxPool2d(2),
        *(part for conv in convolutions[2:] for part in (conv, nn.ReLU())),
        nn.MaxPool2d(2),
        nn.Flatten(),
        *(part for layer in linear[:2] for part in (layer, nn.ReLU())),
        linear[2],
    )
    tensors = torch.load(weights, map_location="cpu", weights_only=True)
    net.load_state_dict(dict(zip(net.state_dict(), tensors.values(), strict=True)))
    return net.requires_grad_(False).eval()


def first_images(raw: Path, count: int) -> tuple[Tensor, Tensor]:
    """Return the first test images of MNIST (count, 1, 28, 28) in [0, 1], and their classes."""
    parts = mnist(raw, DATASETS["mnist"].validation)
    return to_float(parts.test_x[:count]), parts.test_y[:count]
