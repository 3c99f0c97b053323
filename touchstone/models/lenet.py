"""LeNet in the two sizes of the papers: 6 and 16 channels, or 32 and 64."""

from typing import Literal

from torch import nn

from touchstone.models.net import INITS, Conv2d, Net, flat_size, in_a_row, initialise
from touchstone.ranges import BelowOne


def lenet(shape: tuple[int, int, int], classes: int) -> Net:
    """LeNet: two 5x5 convolutions (6 and 16 channels) with ReLU and 2x2 max-pooling, then 400-120-84-classes.

    28x28 inputs are padded by 2 in the first convolution and 32x32 inputs are not, so that 400 features
    result either way. Biases everywhere, no normalisation layers, PyTorch's default initialisation, as in the
    sibling code of Shen et al. (2020, figure 1) and the code of Li et al. (2021) and Chen et al. (2019, GCE).

    Args:
        shape: (channels, height, width) of the input; height and width 28 or 32.
        classes: number of logits.

    Raises:
        ValueError: for any other image size.
    """
    channels, height, width = shape
    if height != width or height not in (28, 32):
        raise ValueError(f"lenet takes 28x28 or 32x32 images, got {height}x{width}")
    return in_a_row(
        [
            *(nn.Conv2d(channels, 6, kernel_size=5, padding=(32 - height) // 2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, kernel_size=5), nn.ReLU(), nn.MaxPool2d(2)),  # (B, 16, 5, 5)
            nn.Flatten(),
            *(nn.Linear(16 * 5 * 5, 120), nn.ReLU()),
            *(nn.Linear(120, 84), nn.ReLU()),
            nn.Linear(84, classes),
        ]
    )


def lenet_512(
    shape: tuple[int, int, int],
    classes: int,
    *,
    dropout: BelowOne = 0.0,
    init: Literal["glorot", "msra"] = "glorot",
) -> Net:
    """Matyasko's LeNet-5: 5x5 convolutions without padding (32 and 64 channels), pools, 512 features.

    Matyasko (2020), chapter 3 (Glorot initialisation) and chapter 4 (MSRA), as his code has it.

    Args:
        shape: (channels, height, width) of the input.
        classes: number of logits.
        dropout: share of values dropped before and after the layer of 512; 0.5 in the row "Dropout" of table 3.1.
        init: how the weights are drawn; biases start at zero.

    Raises:
        ValueError: for images that are too small.
    """
    convs = [
        *(Conv2d(shape[0], 32, kernel_size=5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, kernel_size=5), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
    ]
    hidden = [nn.Dropout(dropout), nn.Linear(flat_size(convs, shape), 512), nn.ReLU(), nn.Dropout(dropout)]
    net = in_a_row([*convs, *hidden, nn.Linear(512, classes)])
    initialise(net, *INITS[init])
    return net
