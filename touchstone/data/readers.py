"""Read the raw files of a dataset: `reader(raw_dir, validation) -> Parts`.

Apart from `prepare`, which writes the parts to disk once, nothing needs torchvision or scikit-learn.
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import LongTensor, Tensor
from torchvision.datasets import CIFAR10, MNIST
from torchvision.datasets.utils import extract_archive

from touchstone.data.sources import raw_files, require_verified

DIGITS_TEST = 420
SPLIT_SEED = 0  # the splits are part of the dataset: no run's seed moves them


class Parts(NamedTuple):
    """Images x uint8 (N, C, H, W), labels y int64 (N,), and `validation` (V,): rows of train, sorted."""

    train_x: Tensor
    train_y: LongTensor
    test_x: Tensor
    test_y: LongTensor
    validation: LongTensor


def digits(_raw_dir: Path, validation: int) -> Parts:
    """Return scikit-learn's 1,797 digits as 1x28x28."""
    return _digits(28, 1, validation)


def digits_rgb(_raw_dir: Path, validation: int) -> Parts:
    """Return the same digits, split alike, as 3x32x32 with three equal channels."""
    return _digits(32, 3, validation)


def mnist(raw_dir: Path, validation: int) -> Parts:
    """Read MNIST from MNIST/raw/*.gz with torchvision's class.

    That class reads the extracted files and checks no sum of theirs, so they are extracted anew from the
    verified archives into a temporary folder.
    """
    require_verified("mnist", raw_dir)
    with tempfile.TemporaryDirectory() as root:
        for relative in raw_files("mnist"):
            folder = (Path(root) / relative).parent
            folder.mkdir(parents=True, exist_ok=True)
            extract_archive(Path(raw_dir) / relative, folder)
        train, test = MNIST(root, train=True), MNIST(root, train=False)
    rows = held_out(train.targets.numpy(), validation)
    return Parts(train.data.unsqueeze(1), train.targets, test.data.unsqueeze(1), test.targets, rows)


def cifar10(raw_dir: Path, validation: int) -> Parts:
    """Read CIFAR-10 from cifar-10-batches-py with torchvision's class, no pickle before its md5 matched."""
    require_verified("cifar10", raw_dir)
    train, test = CIFAR10(raw_dir, train=True), CIFAR10(raw_dir, train=False)
    train_x, test_x = (torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous() for part in (train, test))
    train_y, test_y = (torch.tensor(part.targets) for part in (train, test))
    return Parts(train_x, train_y, test_x, test_y, held_out(train_y.numpy(), validation))


def held_out(labels: np.ndarray, size: int) -> LongTensor:
    """Choose `size` rows, the classes in proportion; sorted, and the same whenever labels and size are."""
    rows = np.arange(len(labels))
    _, chosen = train_test_split(rows, test_size=size, stratify=labels, random_state=SPLIT_SEED)
    return torch.from_numpy(np.sort(chosen))


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
    return ((2 * scaled + whole) // (2 * whole)).astype(np.uint8)


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
