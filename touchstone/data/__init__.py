"""The table of datasets. Importing it does not import torch."""

from touchstone.registry import DatasetSpec

_DIGITS = "Alpaydin and Kaynak (1998), handwritten digits, 8x8, as embedded in scikit-learn"

DATASETS: dict[str, DatasetSpec] = {
    "digits": DatasetSpec(
        fn="touchstone.data.readers:digits",
        shape=(1, 28, 28),
        classes=10,
        mean=(0.3053,),
        std=(0.3247,),
        source=f"{_DIGITS}; upscaled to 28x28",
        validation=138,
        embedded=True,
    ),
    "digits-rgb": DatasetSpec(
        fn="touchstone.data.readers:digits_rgb",
        shape=(3, 32, 32),
        classes=10,
        mean=(0.3053, 0.3053, 0.3053),
        std=(0.3236, 0.3236, 0.3236),
        source=f"{_DIGITS}; upscaled to 32x32, three equal channels",
        validation=138,
        embedded=True,
    ),
    "mnist": DatasetSpec(
        fn="touchstone.data.readers:mnist",
        shape=(1, 28, 28),
        classes=10,
        mean=(0.1307,),
        std=(0.3081,),
        source="LeCun, Cortes and Burges (1998), MNIST; files and md5 sums as torchvision lists them",
        validation=5000,
    ),
    "cifar10": DatasetSpec(
        fn="touchstone.data.readers:cifar10",
        shape=(3, 32, 32),
        classes=10,
        mean=(0.4914, 0.4822, 0.4465),
        std=(
            0.2023,
            0.1994,
            0.2010,
        ),  # as used in the field: the mean of the images' own std; over pixels 0.247
        source="Krizhevsky (2009), CIFAR-10, python version; files and md5 sums as torchvision lists them",
        validation=5000,
    ),
}
