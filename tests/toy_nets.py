"""A user's own net in which two layers share their weights."""

from torch import Tensor, nn


def tied(shape: tuple[int, int, int], classes: int) -> nn.Module:
    width = shape[1] * shape[2] * shape[0]
    first, second = nn.Linear(width, width), nn.Linear(width, width)
    second.weight = first.weight
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), nn.Linear(width, classes))


class Foreign(nn.Module):
    """A net with names of its author's."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(inputs, 8), nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.flatten(1)).relu())


def foreign(shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Foreign(shape[0] * shape[1] * shape[2], classes)
