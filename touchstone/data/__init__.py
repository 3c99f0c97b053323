"""The table of datasets. Importing it does not import torch."""

from touchstone.registry import DatasetSpec, RawFile, is_own, nearest

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
    ),
    "digits-rgb": DatasetSpec(
        fn="touchstone.data.readers:digits_rgb",
        shape=(3, 32, 32),
        classes=10,
        mean=(0.3053, 0.3053, 0.3053),
        std=(0.3236, 0.3236, 0.3236),
        source=f"{_DIGITS}; upscaled to 32x32, three equal channels",
        validation=138,
    ),
    "mnist": DatasetSpec(
        fn="touchstone.data.readers:mnist",
        shape=(1, 28, 28),
        classes=10,
        mean=(0.1307,),
        std=(0.3081,),
        source="LeCun, Cortes and Burges (1998), MNIST; files and md5 sums as torchvision lists them",
        validation=5000,
        files=(
            RawFile("MNIST/raw/train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            RawFile("MNIST/raw/train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
            RawFile("MNIST/raw/t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
            RawFile("MNIST/raw/t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
        mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
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
        files=(
            RawFile("cifar-10-batches-py/data_batch_1", "c99cafc152244af753f735de768cd75f"),
            RawFile("cifar-10-batches-py/data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
            RawFile("cifar-10-batches-py/data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
            RawFile("cifar-10-batches-py/data_batch_4", "634d18415352ddfa80567beed471001a"),
            RawFile("cifar-10-batches-py/data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
            RawFile("cifar-10-batches-py/test_batch", "40351d587109b95175f43aff81a1287e"),
            RawFile("cifar-10-batches-py/batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
        ),
        archive=RawFile("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
        mirrors=("https://www.cs.toronto.edu/~kriz/",),
    ),
}


# what reads data of the user's own: (place, validation, *, options) -> Parts
READERS = {"npz": "touchstone.data.own:npz", "folder": "touchstone.data.own:folder"}


def reader(name: str) -> str:
    """Return the "module:function" of a name in READERS, or the user's own as it is."""
    return name if is_own(name) else READERS[name]


def dataset_spec(name: str) -> DatasetSpec:
    """Return the row of a dataset.

    Raises:
        ValueError: for an unknown name; the message lists those that there are.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown dataset {name!r}; {nearest(name, DATASETS)}")
    return DATASETS[name]
