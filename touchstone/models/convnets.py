"""Plain convolutional nets: VGG-13, Network in Network, and the nets of attacks and substitutes."""

from itertools import pairwise

from torch import nn

from touchstone.models.net import Conv2d, Net, flat_size, in_a_row, initialise
from touchstone.ranges import BelowOne


def vgg13(shape: tuple[int, int, int], classes: int, *, dropout: BelowOne = 0.5) -> Net:
    """VGG-13 as Li et al. (2021) coded it: batch norm, and a layer of 512 features behind dropout.

    Simonyan and Zisserman (2015), configuration B, has no batch norm and larger hidden layers. The size of the
    image decides the input of that layer: 512 for 32x32, 2048 for 64x64 (Tiny ImageNet).

    Args:
        shape: (channels, height, width) of the input.
        classes: number of logits.
        dropout: share of values dropped before the hidden layer.

    Raises:
        ValueError: for images that are too small.
    """
    widths = (shape[0], 64, 64, 128, 128, 256, 256, 512, 512, 512, 512)
    units = [(nn.Conv2d(a, b, kernel_size=3, padding=1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairwise(widths)]
    blocks = [(*first, *second, nn.MaxPool2d(2)) for first, second in zip(units[::2], units[1::2], strict=True)]
    convs = [*(layer for block in blocks for layer in block), nn.Flatten()]
    hidden = [nn.Dropout(dropout), nn.Linear(flat_size(convs, shape), 512), nn.ReLU()]
    return in_a_row([*convs, *hidden, nn.Linear(512, classes)])


def nin(shape: tuple[int, int, int], classes: int, *, batch_norm: bool = False, dropout: BelowOne = 0.5) -> Net:
    """Network in Network for CIFAR-10; Lin et al. (2014), in the widths that are common for it.

    Matyasko (2020, section 3.5.2) names it and no more. Two liberties are taken: the class maps have no ReLU, as
    logits that cannot be negative train badly, and the average over the image is taken before the last 1x1
    convolution, now linear, instead of after it, which is the same function. MSRA initialisation, zero biases.

    Args:
        shape: (channels, height, width) of the input.
        classes: number of logits.
        batch_norm: put batch norm between each convolution and its ReLU.
        dropout: share of values dropped after the first and the second block.

    Raises:
        ValueError: for images that are too small.
    """

    def unit(inputs: int, outputs: int, kernel_size: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(outputs)] if batch_norm else []
        return [nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2), *norm, nn.ReLU()]

    net = in_a_row(
        [
            *(*unit(shape[0], 192, 5), *unit(192, 160, 1), *unit(160, 96, 1)),
            *(nn.MaxPool2d(3, stride=2, padding=1), nn.Dropout(dropout)),
            *(*unit(96, 192, 5), *unit(192, 192, 1), *unit(192, 192, 1)),
            *(nn.AvgPool2d(3, stride=2, padding=1), nn.Dropout(dropout)),
            *(*unit(192, 192, 3), *unit(192, 192, 1)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            nn.Linear(192, classes),
        ]
    )
    initialise(net, nn.init.kaiming_normal_, bias=0.0)
    return net


def cnn3(shape: tuple[int, int, int], classes: int) -> Net:
    """Three 5x5 convolutions (16, 32, 64) and 100 features: the substitute of Li et al. (2021) on 28x28 images.

    Args:
        shape: (channels, height, width) of the input.
        classes: number of logits.

    Raises:
        ValueError: for images that are too small.
    """
    convs = [
        *(nn.Conv2d(shape[0], 16, kernel_size=5), nn.ReLU()),
        *(nn.Conv2d(16, 32, kernel_size=5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, kernel_size=5), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
    ]
    return in_a_row([*convs, nn.Linear(flat_size(convs, shape), 100), nn.ReLU(), nn.Linear(100, classes)])


def madry_mnist(shape: tuple[int, int, int], classes: int) -> Net:
    """The net of the MNIST challenge of Madry et al. (2018); also the MNIST nets of Matyasko (2020), chapter 5.

    Padded 5x5 convolutions (32, 64), pools, 1024 features. Weights from a normal distribution of standard
    deviation 0.1, cut at two of them; biases 0.1.

    Args:
        shape: (channels, height, width) of the input.
        classes: number of logits.

    Raises:
        ValueError: for images that are too small.
    """
    convs = [
        *(Conv2d(shape[0], 32, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
    ]
    net = in_a_row([*convs, nn.Linear(flat_size(convs, shape), 1024), nn.ReLU(), nn.Linear(1024, classes)])
    initialise(net, lambda weight: nn.init.trunc_normal_(weight, std=0.1, a=-0.2, b=0.2), bias=0.1)
    return net


def fab_cnn8(shape: tuple[int, int, int], classes: int, *, conv_bias: bool = True) -> Net:
    """The CIFAR-10 net of Croce and Hein (2020, FAB) and Matyasko (2020), chapter 5: eight convolutions, no pools.

    Padding is TensorFlow's "SAME": with stride 2 the extra row and column of zeros come last. How the published
    weights were drawn and trained is not known; PyTorch's default initialisation.

    Args:
        shape: (channels, height, width) of the input; height and width divisible by 8.
        classes: number of logits.
        conv_bias: the convolutions have biases: only the plainly trained net's do.
    """
    convs: list[nn.Module] = []
    inputs = shape[0]
    for outputs, kernel_size, stride in (
        *((96, 3, 1), (96, 3, 1), (192, 3, 2)),
        *((192, 3, 1), (192, 3, 1), (192, 3, 2)),
        *((192, 3, 1), (384, 2, 2)),
    ):
        both_sides, extra = divmod(kernel_size - stride, 2)
        convs += [nn.ZeroPad2d((0, extra, 0, extra))] if extra else []
        convs += [nn.Conv2d(inputs, outputs, kernel_size, stride, both_sides, bias=conv_bias), nn.ReLU()]
        inputs = outputs
    convs += [nn.Flatten()]
    return in_a_row([*convs, nn.Linear(flat_size(convs, shape), 1200), nn.ReLU(), nn.Linear(1200, classes)])
