"""Residual nets for small images: ResNet (He et al., 2016) and Wide ResNet (Zagoruyko and Komodakis, 2016)."""

from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Ge, Le, MinLen
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.conditions import hold
from touchstone.models.net import Net, in_a_row, initialise
from touchstone.ranges import MOST, Count


class PadChannels(nn.Module):
    """The shortcut without parameters, option A of He et al. (2016): subsample, and pad with channels of zeros.

    Args:
        extra: how many channels of zeros, half of them in front.
        stride: every how many-th row and column is kept.
    """

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.padding = (0, 0, 0, 0, extra // 2, extra - extra // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, C, H, W) to (B, C + extra, H / stride, W / stride)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], self.padding)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm beside a shortcut, added before the last ReLU; He et al. (2016).

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        stride: of the first convolution.
        projection: where the shape changes, the shortcut is a 1x1 convolution with batch norm (option B) instead
            of padding (option A).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, projection: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = PadChannels(outputs - inputs, stride)
            if projection:
                conv = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)
                self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


def resnet(
    shape: tuple[int, int, int],
    classes: int,
    *,
    widths: Annotated[Sequence[Count], MinLen(1)],
    blocks: Count,
    shortcut: Literal["padding", "projection"],
    init: Literal["default", "msra"],
) -> Net:
    """Residual net on small images: the first convolution is 3x3 with stride 1 and is not pooled.

    Args:
        shape: (channels, height, width) of the input.
        classes: number of logits.
        widths: channels of each group of blocks; all groups but the first halve height and width.
        blocks: in each group.
        shortcut: "padding" (option A of He et al., their CIFAR-10 nets) or "projection" (option B).
        init: "msra" for the weights of all convolutions and of the classifier, or PyTorch's default.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(shape[0], widths[0], kernel_size=3, padding=1, bias=False),
        *(nn.BatchNorm2d(widths[0]), nn.ReLU()),
    ]
    inputs = widths[0]
    for group, outputs in enumerate(widths):
        for block in range(blocks):
            stride = 2 if group > 0 and block == 0 else 1
            layers.append(BasicBlock(inputs, outputs, stride, shortcut == "projection"))
            inputs = outputs
    net = in_a_row([*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes)])
    if init == "msra":
        initialise(net, nn.init.kaiming_normal_)
    return net


class WideBlock(nn.Module):
    """Batch norm and ReLU in front of each of two 3x3 convolutions; Zagoruyko and Komodakis (2016).

    Where the shape changes, the shortcut is a 1x1 convolution of the first ReLU's output.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        stride: of the first convolution.
        bias: the convolutions have biases.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, bias: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=bias)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        h = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(h))))
        return out + (x if self.shortcut is None else self.shortcut(h))


def wide_resnet(
    shape: tuple[int, int, int],
    classes: int,
    *,
    depth: Annotated[int, Ge(10), Le(MOST)],
    width: Count,
    conv_bias: bool = False,
    bounded: bool = False,
) -> Net:
    """Wide ResNet in the form of TRADES (Zhang et al., 2019) or of weight penalisation (Xu et al., 2021).

    Both draw the weights of convolutions by MSRA on the fan-out, and those of the classifier as PyTorch does. The
    spare group of blocks that the code of TRADES and MART creates but never calls is left out.

    Args:
        shape: (channels, height, width) of the input.
        classes: number of logits.
        depth: number of layers, 6 n + 4.
        width: factor of the channels 16, 32, 64 of the three groups.
        conv_bias: the convolutions have biases (all nets of Xu et al.). Without, the classifier's starts at zero.
        bounded: features are pooled, then batch norm, then Tanh, and the classifier has no bias (the penalised net of
            Xu et al.). Otherwise batch norm, then ReLU, then pooled.

    Raises:
        ValueError: for another depth.
    """
    hold("touchstone.models.resnet:wide_resnet", {"depth": depth})
    blocks = (depth - 4) // 6
    layers: list[nn.Module] = [nn.Conv2d(shape[0], 16, kernel_size=3, padding=1, bias=conv_bias)]
    inputs = 16
    for outputs, first_stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
        for block in range(blocks):
            layers.append(WideBlock(inputs, outputs, first_stride if block == 0 else 1, conv_bias))
            inputs = outputs
    pool, norm = nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(inputs)
    head = (pool, norm, nn.Tanh()) if bounded else (norm, nn.ReLU(), pool)
    classifier = nn.Linear(inputs, classes, bias=not bounded)
    if not (bounded or conv_bias):
        nn.init.zeros_(classifier.bias)
    net = in_a_row([*layers, *head, nn.Flatten(), classifier])
    initialise(net, lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"), kinds=(nn.Conv2d,))
    return net
