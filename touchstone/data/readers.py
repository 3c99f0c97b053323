"""Read the raw files of a dataset: `reader(raw_dir, validation) -> Parts`.

`prepare` calls a reader once all files of the dataset's row are there and verified, and writes the parts to disk; so
nothing else needs scikit-learn.
"""

import gzip
import pickle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
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
    folder = raw_dir / "MNIST" / "raw"
    (train_x, train_y), (test_x, test_y) = (
        (_idx(folder / f"{part}-images-idx3-ubyte.gz")[:, None], _idx(folder / f"{part}-labels-idx1-ubyte.gz").long())
        for part in ("train", "t10k")
    )
    return Parts(train_x, train_y, test_x, test_y, held_out(train_y.numpy(), validation))


def cifar10(raw_dir: Path, validation: int) -> Parts:
    """Read CIFAR-10 from the pickles in cifar-10-batches-py."""
    folder = raw_dir / "cifar-10-batches-py"
    train_x, train_y = _batches([folder / f"data_batch_{number}" for number in range(1, 6)])
    test_x, test_y = _batches([folder / "test_batch"])
    return Parts(train_x, train_y, test_x, test_y, held_out(train_y.numpy(), validation))


def held_out(labels: np.ndarray, size: int) -> Tensor:
    """Choose `size` rows, the classes in proportion; sorted, and the same whenever labels and size are."""
    rows = np.arange(len(labels))
    _, chosen = train_test_split(rows, test_size=size, stratify=labels, random_state=SPLIT_SEED)
    return torch.from_numpy(np.sort(chosen))


def _idx(path: Path) -> Tensor:
    """Read a gzipped IDX file of bytes: 0, 0, 8 for uint8, how many sizes, the sizes (4 bytes each), the values."""
    content = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + shape.nbytes).reshape(shape).copy())


def _batches(paths: list[Path]) -> tuple[Tensor, Tensor]:
    """Read images (N, 3, 32, 32) uint8 and labels (N,) int64 from pickled batches, whose md5 sums have matched."""
    batches = [pickle.loads(path.read_bytes(), encoding="latin1") for path in paths]
    x = torch.from_numpy(np.concatenate([batch["data"] for batch in batches])).view(-1, 3, 32, 32)
    return x, torch.tensor([label for batch in batches for label in batch["labels"]])


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
