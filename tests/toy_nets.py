"""A user's own net in which two layers share their weights."""

from torch import nn


def tied(shape: tuple[int, int, int], classes: int) -> nn.Module:
    width = shape[1] * shape[2] * shape[0]
    first, second = nn.Linear(width, width), nn.Linear(width, width)
    second.weight = first.weight
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), nn.Linear(width, classes))
