"""The table of datasets. Importing it does not import torch."""

from touchstone.registry import DatasetSpec, RawFile, is_own, nearest

_LISTED = "files and md5 sums as torchvision lists them"
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
        images=(1_377, 420),
    ),
    "digits-rgb": DatasetSpec(
        fn="touchstone.data.readers:digits_rgb",
        shape=(3, 32, 32),
        classes=10,
        mean=(0.3053, 0.3053, 0.3053),
        std=(0.3236, 0.3236, 0.3236),
        source=f"{_DIGITS}; upscaled to 32x32, three equal channels",
        validation=138,
        images=(1_377, 420),
    ),
    "mnist": DatasetSpec(
        fn="touchstone.data.readers:mnist",
        shape=(1, 28, 28),
        classes=10,
        mean=(0.1307,),
        std=(0.3081,),
        source=f"LeCun, Cortes and Burges (1998), MNIST; {_LISTED}",
        validation=5000,
        images=(60_000, 10_000),
        files=(
            RawFile(
                "MNIST/raw/train-images-idx3-ubyte.gz",
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "6bbc9ace898e44ae57da46a324031adb",
            ),
            RawFile(
                "MNIST/raw/train-labels-idx1-ubyte.gz",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "a25bea736e30d166cdddb491f175f624",
            ),
            RawFile(
                "MNIST/raw/t10k-images-idx3-ubyte.gz",
                "9fb629c4189551a2d022fa330f9573f3",
                "2646ac647ad5339dbf082846283269ea",
            ),
            RawFile(
                "MNIST/raw/t10k-labels-idx1-ubyte.gz",
                "ec29112dd5afa0611ce80d1b7f02629c",
                "27ae3e4e09519cfbb04c329615203637",
            ),
        ),
        mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
    ),
    "kmnist": DatasetSpec(
        fn="touchstone.data.readers:kmnist",
        shape=(1, 28, 28),
        classes=10,
        mean=(0.1918,),
        std=(0.3483,),  # both as public code gives them, over all training pixels
        source=f"Clanuwat et al. (2018), Kuzushiji-MNIST; {_LISTED}",
        validation=5000,
        images=(60_000, 10_000),
        files=(
            RawFile("KMNIST/raw/train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
            RawFile("KMNIST/raw/train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
            RawFile("KMNIST/raw/t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
            RawFile("KMNIST/raw/t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134"),
        ),
        mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    ),
    "fmnist": DatasetSpec(
        fn="touchstone.data.readers:fmnist",
        shape=(1, 28, 28),
        classes=10,
        mean=(0.2860,),
        std=(0.3530,),
        source=f"Xiao, Rasul and Vollgraf (2017), Fashion-MNIST; {_LISTED}",
        validation=5000,
        images=(60_000, 10_000),
        files=(
            RawFile(
                "FashionMNIST/raw/train-images-idx3-ubyte.gz",
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            ),
            RawFile(
                "FashionMNIST/raw/train-labels-idx1-ubyte.gz",
                "25c81989df183df01b3e8a0aad5dffbe",
                "9018921c3c673c538a1fc5bad174d6f9",
            ),
            RawFile(
                "FashionMNIST/raw/t10k-images-idx3-ubyte.gz",
                "bef4ecab320f06d8554ea6380940ec79",
                "8181f5470baa50b63fa0f6fddb340f0a",
            ),
            RawFile(
                "FashionMNIST/raw/t10k-labels-idx1-ubyte.gz",
                "bb300cfdad3c16e7a12a480ee83cd310",
                "15d484375f8d13e6eb1aabb0c3f46965",
            ),
        ),
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    ),
    "svhn": DatasetSpec(
        fn="touchstone.data.readers:svhn",
        shape=(3, 32, 32),
        classes=10,
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),  # both as public code gives them, over all training pixels
        source=f"Netzer et al. (2011), SVHN, cropped digits, train and test; {_LISTED}",
        validation=5000,
        images=(73_257, 26_032),
        files=(
            RawFile("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
            RawFile("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
        ),
        mirrors=("http://ufldl.stanford.edu/housenumbers/",),
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
        source=f"Krizhevsky (2009), CIFAR-10, python version; {_LISTED}",
        validation=5000,
        images=(50_000, 10_000),
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
    "cifar100": DatasetSpec(
        fn="touchstone.data.readers:cifar100",
        shape=(3, 32, 32),
        classes=100,
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),  # both as Xu et al. (2021) coded them, over all training pixels
        source=f"Krizhevsky (2009), CIFAR-100, python version, fine labels; {_LISTED}",
        validation=5000,
        images=(50_000, 10_000),
        files=(
            RawFile("cifar-100-python/train", "16019d7e3df5f24257cddd939b257f8d"),
            RawFile("cifar-100-python/test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
            RawFile("cifar-100-python/meta", "7973b15100ade9c7d40fb424638fde48"),
        ),
        archive=RawFile("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
        mirrors=("https://www.cs.toronto.edu/~kriz/",),
    ),
    "tinyimagenet": DatasetSpec(
        fn="touchstone.data.readers:tinyimagenet",
        shape=(3, 64, 64),
        classes=200,
        mean=(0.4802, 0.4481, 0.3975),
        std=(0.2770, 0.2691, 0.2821),  # both as public code gives them, over all training pixels
        source="Le and Yang (2015), Tiny ImageNet, CS 231N; 248,100,043 bytes, md5 sum as public repositories give it",
        validation=10000,
        images=(100_000, 10_000),
        files=(RawFile("tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"),),
        mirrors=("http://cs231n.stanford.edu/",),
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
