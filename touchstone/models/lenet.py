"""LeNet, the network of Shen et al. (2020), figure 1."""

from torch import Tensor, nn
from torch.nn import functional as F


class LeNet(nn.Module):
    """Two 5x5 convolutions (6 and 16 channels) with ReLU and 2x2 max-pooling, then 400-120-84-classes.

    28x28 inputs are padded by 2 in the first convolution and 32x32 inputs are not, so that 400 features
    result either way. Biases everywhere, no normalisation layers, PyTorch's default initialisation, as in the
    sibling code of the first author.

    Args:
        shape: (channels, height, width) of the input; height and width 28 or 32.
        classes: number of logits.

    Raises:
        ValueError: for any other image size.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        if height != width or height not in (28, 32):
            raise ValueError(f"lenet takes 28x28 or 32x32 images, got {height}x{width}")
        self.conv1 = nn.Conv2d(channels, 6, kernel_size=5, padding=(32 - height) // 2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    @property
    def classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.fc3

    def features(self, x: Tensor) -> Tensor:
        """Map x (B, C, H, W) to the 84 inputs of the classifier."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # (B, 16, 5, 5)
        x = F.relu(self.fc1(x.flatten(1)))
        return F.relu(self.fc2(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, classes)."""
        return self.fc3(self.features(x))
