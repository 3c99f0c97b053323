"""Read the raw files of a dataset: `reader(raw_dir, validation) -> Parts`.

`prepare` calls a reader once all files of the dataset's row are there and verified, and writes the parts to disk; so
nothing else needs scikit-learn.
"""

import gzip
import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy.io import loadmat
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

DIGITS_TEST = 420
SPLIT_SEED = 0  # the splits are part of the dataset: no run's seed moves them


class Parts(NamedTuple):
    """Images x uint8 (N, C, H, W), labels y int64 (N,), and `validation` (V,): rows of train, sorted."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    validation: Tensor


def digits(_raw_dir: Path, validation: int) -> Parts:
    """Return scikit-learn's 1,797 digits as 1x28x28."""
    return _digits(28, 1, validation)


def digits_rgb(_raw_dir: Path, validation: int) -> Parts:
    """Return the same digits, split alike, as 3x32x32 with three equal channels."""
    return _digits(32, 3, validation)


def mnist(raw_dir: Path, validation: int) -> Parts:
    """Read MNIST from MNIST/raw/*.gz."""
    return _idx_parts(raw_dir / "MNIST" / "raw", validation)


def kmnist(raw_dir: Path, validation: int) -> Parts:
    """Read Kuzushiji-MNIST from KMNIST/raw/*.gz."""
    return _idx_parts(raw_dir / "KMNIST" / "raw", validation)


def fmnist(raw_dir: Path, validation: int) -> Parts:
    """Read Fashion-MNIST from FashionMNIST/raw/*.gz."""
    return _idx_parts(raw_dir / "FashionMNIST" / "raw", validation)


def cifar10(raw_dir: Path, validation: int) -> Parts:
    """Read CIFAR-10 from the pickles in cifar-10-batches-py."""
    folder = raw_dir / "cifar-10-batches-py"
    train_x, train_y = _batches([folder / f"data_batch_{number}" for number in range(1, 6)], "labels")
    test_x, test_y = _batches([folder / "test_batch"], "labels")
    return Parts(train_x, train_y, test_x, test_y, held_out(train_y.numpy(), validation))


def cifar100(raw_dir: Path, validation: int) -> Parts:
    """Read CIFAR-100, its 100 fine classes, from the pickles in cifar-100-python."""
    folder = raw_dir / "cifar-100-python"
    (train_x, train_y), (test_x, test_y) = (_batches([folder / part], "fine_labels") for part in ("train", "test"))
    return Parts(train_x, train_y, test_x, test_y, held_out(train_y.numpy(), validation))


def svhn(raw_dir: Path, validation: int) -> Parts:
    """Read the cropped digits of SVHN, without its `extra` part, from MATLAB files."""
    (train_x, train_y), (test_x, test_y) = (_mat(raw_dir / f"{part}_32x32.mat") for part in ("train", "test"))
    return Parts(train_x, train_y, test_x, test_y, held_out(train_y.numpy(), validation))


def tinyimagenet(raw_dir: Path, validation: int) -> Parts:
    """Read Tiny ImageNet from its zip: nothing is unpacked to disk.

    A class is the place of its WordNet id in the sorted wnids.txt; the published validation part, `val`, is the test
    set, as the labels of `test` are not published. Some files are grey. As decoders of JPEG may differ in a bit, so
    may the prepared file between machines.
    """
    with zipfile.ZipFile(raw_dir / "tiny-imagenet-200.zip") as archive:
        classes = {wnid: place for place, wnid in enumerate(sorted(_lines(archive, "wnids.txt")))}
        train = [(name, place) for wnid, place in classes.items() for name in _images_of(archive, wnid)]
        rows = [line.split("\t") for line in _lines(archive, "val/val_annotations.txt")]  # file, class, box
        test = [(f"{_TINY}val/images/{name}", classes[wnid]) for name, wnid, *_ in rows]
        (train_x, train_y), (test_x, test_y) = _decoded(archive, train), _decoded(archive, test)
    return Parts(train_x, train_y, test_x, test_y, held_out(train_y.numpy(), validation))


def held_out(labels: np.ndarray, size: int) -> Tensor:
    """Choose `size` rows, the classes in proportion; sorted, and the same whenever labels and size are."""
    rows = np.arange(len(labels))
    _, chosen = train_test_split(rows, test_size=size, stratify=labels, random_state=SPLIT_SEED)
    return torch.from_numpy(np.sort(chosen))


def _idx_parts(folder: Path, validation: int) -> Parts:
    """Read the four gzipped IDX files of a dataset in MNIST's format."""
    (train_x, train_y), (test_x, test_y) = (
        (_idx(folder / f"{part}-images-idx3-ubyte.gz")[:, None], _idx(folder / f"{part}-labels-idx1-ubyte.gz").long())
        for part in ("train", "t10k")
    )
    return Parts(train_x, train_y, test_x, test_y, held_out(train_y.numpy(), validation))


def _idx(path: Path) -> Tensor:
    """Read a gzipped IDX file of bytes: 0, 0, 8 for uint8, how many sizes, the sizes (4 bytes each), the values."""
    content = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + shape.nbytes).reshape(shape).copy())


def _batches(paths: Sequence[Path], labels: str) -> tuple[Tensor, Tensor]:
    """Read images (N, 3, 32, 32) uint8 and labels (N,) int64 from pickled batches, whose md5 sums have matched."""
    batches = [pickle.loads(path.read_bytes(), encoding="latin1") for path in paths]
    x = torch.from_numpy(np.concatenate([batch["data"] for batch in batches])).view(-1, 3, 32, 32)
    return x, torch.tensor([label for batch in batches for label in batch[labels]])


def _mat(path: Path) -> tuple[Tensor, Tensor]:
    """Read images (N, 3, 32, 32) uint8 and labels (N,) int64 of SVHN, whose label 10 is the digit 0."""
    content = loadmat(str(path), variable_names=["X", "y"])  # X (32, 32, 3, N)
    x = np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1))
    return torch.from_numpy(x), torch.from_numpy(content["y"].astype(np.int64).squeeze(1) % 10)


_TINY = "tiny-imagenet-200/"
_TINY_SIDE = 64  # pixels


def _opened(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    try:
        return archive.open(name)
    except KeyError as error:
        raise ValueError(f"{archive.filename} does not hold {name}") from error


def _lines(archive: zipfile.ZipFile, name: str) -> list[str]:
    with _opened(archive, _TINY + name) as stream:
        return stream.read().decode().splitlines()


def _images_of(archive: zipfile.ZipFile, wnid: str) -> list[str]:
    """Return the training images of a class by their number: <wnid>_0.JPEG, <wnid>_1.JPEG, ..."""
    folder = f"{_TINY}train/{wnid}/images/"
    names = [name for name in archive.NameToInfo if name.startswith(folder) and name.endswith(".JPEG")]
    if not names:
        raise ValueError(f"{archive.filename} does not hold {folder}*.JPEG")
    return sorted(names, key=lambda name: (len(name), name))


def _decoded(archive: zipfile.ZipFile, images: Sequence[tuple[str, int]]) -> tuple[Tensor, Tensor]:
    """Decode JPEG files with their labels, one after another into the tensor (N, 3, 64, 64): 1.2 GB of 100,000."""
    x = torch.empty(len(images), 3, _TINY_SIDE, _TINY_SIDE, dtype=torch.uint8)
    for row, (name, _) in zip(x, images, strict=True):
        row.copy_(torch.from_numpy(_pixels(archive, name)).permute(2, 0, 1))
    return x, torch.tensor([label for _, label in images])


def _pixels(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Decode one image of an archive to (64, 64, 3) uint8."""
    try:
        with _opened(archive, name) as stream, Image.open(stream) as image:
            pixels = np.array(image.convert("RGB"))
    except OSError as error:  # what Pillow raises for a file that is no image, or is cut off
        raise ValueError(f"{name} in {archive.filename} is no image: {error}") from error
    if pixels.shape != (_TINY_SIDE, _TINY_SIDE, 3):
        raise ValueError(f"{name} in {archive.filename} must be 64 x 64 pixels, got {pixels.shape[1::-1]}")
    return pixels


def _digits(size: int, channels: int, validation: int) -> Parts:
    raw = load_digits()
    x = torch.from_numpy(_upscale(raw.images.astype(np.int64), size))
    x = x.unsqueeze(1).repeat(1, channels, 1, 1)  # (N, C, size, size)
    y = torch.from_numpy(raw.target.astype(np.int64))
    is_test = torch.zeros(len(y), dtype=torch.bool)
    is_test[held_out(raw.target, DIGITS_TEST)] = True
    train_y = y[~is_test]
    return Parts(x[~is_test], train_y, x[is_test], y[is_test], held_out(train_y.numpy(), validation))


def _upscale(images: np.ndarray, size: int) -> np.ndarray:
    """Upscale (N, 8, 8) integers in 0..16 to (N, size, size) uint8 in 0..255, bilinear, pixels as squares.

    Equal to torch's interpolate(mode="bilinear", align_corners=False), but in whole numbers: halves do occur,
    and floating point would round them as the processor pleases.
    """
    weights = _bilinear_weights(images.shape[1], size)
    scaled = 255 * (weights @ images @ weights.T)
    whole = 16 * (2 * size) ** 2  # what a pixel of 16 weighs
    rounded: np.ndarray = (2 * scaled + whole) // (2 * whole)
    return rounded.astype(np.uint8)


def _bilinear_weights(size_in: int, size_out: int) -> np.ndarray:
    """Return the (size_out, size_in) weights of a 1-d bilinear resize, in units of 1 / (2 size_out)."""
    unit = 2 * size_out
    rows = np.arange(size_out)
    # The centre of an output pixel among the input centres: (row + 1/2) size_in / size_out - 1/2.
    position = np.clip((2 * rows + 1) * size_in - size_out, 0, unit * (size_in - 1))
    left, rest = np.divmod(position, unit)
    weights = np.zeros((size_out, size_in), dtype=np.int64)
    weights[rows, left] += unit - rest
    weights[rows, np.minimum(left + 1, size_in - 1)] += rest
    return weights
