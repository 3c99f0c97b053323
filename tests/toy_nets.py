"""A user's own net in which two layers share their weights."""

from torch import Tensor, nn
from torch.nn import functional as F


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


class SmallCNN(nn.Module):
    """The net of TRADES (Zhang et al., 2019) for MNIST, with its authors' names."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(1, 32, 3), nn.Conv2d(32, 32, 3), nn.Conv2d(32, 64, 3), nn.Conv2d(64, 64, 3)]
        linear = [nn.Linear(1024, 200), nn.Linear(200, 200), nn.Linear(200, 10)]
        self.feature_extractor = nn.ModuleDict({f"conv{i}": layer for i, layer in enumerate(convolutions, 1)})
        self.classifier = nn.ModuleDict({f"fc{i}": layer for i, layer in enumerate(linear, 1)})

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate(self.feature_extractor.values(), 1):
            x = layer(x).relu()
            x = x if number % 2 else F.max_pool2d(x, 2)
        x = self.classifier["fc1"](x.view(-1, 1024)).relu()
        return self.classifier["fc3"](self.classifier["fc2"](x).relu())


def small_cnn(shape: tuple[int, int, int], classes: int) -> nn.Module:
    assert (shape, classes) == ((1, 28, 28), 10)
    return SmallCNN()
