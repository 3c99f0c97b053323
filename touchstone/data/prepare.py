"""Prepared datasets: one safetensors file and one JSON file each, written once and read by every job."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from torch import Tensor

from touchstone import registry
from touchstone.data import dataset_spec
from touchstone.data.verify import require_verified
from touchstone.files import beside, half_written, read_sealed, sum_of_file, verified, write_sealed
from touchstone.paths import Prepared
from touchstone.registry import DatasetSpec
from touchstone.rng import SampleRng

if TYPE_CHECKING:  # readers import scikit-learn
    from touchstone.data.readers import Parts


@dataclass(frozen=True, eq=False)
class Split:
    """Images x uint8 (N, C, H, W) in 0..255 and labels y int64 (N,)."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared dataset. `validation` (V,) are rows of `train`, sorted; `sha256` is that of the file."""

    name: str
    train: Split
    test: Split
    validation: Tensor
    sha256: str

    def held_out(self, share: float = 0.0) -> tuple[Split, Split]:
        """Return the training rows less the validation split, and that split.

        Args:
            share: of the training rows, the classes in proportion, in [0, 1); 0 (or no row) for the fixed split.
        """
        count = round(share * len(self.train.y))
        rows = spread(self.train.y.cpu())[:count] if count else self.validation
        kept = torch.ones(len(self.train.x), dtype=torch.bool, device=self.train.x.device)
        kept[rows] = False
        return Split(self.train.x[kept], self.train.y[kept]), Split(self.train.x[~kept], self.train.y[~kept])


def to_float(x: Tensor) -> Tensor:
    """Turn pixels uint8 in 0..255 into float32 in [0, 1], the range that models take.

    Raises:
        ValueError: x is not uint8 (it may have been scaled already).
    """
    if x.dtype != torch.uint8:
        raise ValueError(f"pixels must be uint8 in 0..255, got {x.dtype}")
    return x.to(torch.float32).div_(255)


def spread(y: Tensor) -> Tensor:
    """Return a fixed order (n,) of samples with labels y (n,) in which every prefix stands for the whole.

    A test set has an order of its own (the first half of MNIST's is harder than the second), so a part of it is
    drawn: at random within each class, and every prefix holds the classes in their proportions.
    """
    index = torch.arange(len(y))
    shuffled = SampleRng(0, index).uniform(()).argsort(stable=True)
    place = torch.empty(len(y))
    for label in y.unique():
        members = shuffled[y[shuffled] == label]
        place[members] = (torch.arange(len(members)) + 0.5) / len(members)
    return shuffled[place[shuffled].argsort(stable=True)]


def prepare(name: str, raw_dir: str | Path, out: Prepared, own: DatasetSpec | None = None) -> None:
    """Read the raw files under `raw_dir` and write a dataset.

    The bytes depend on the dataset alone: not on seeds, the machine, or where the raw files came from. One process at a
    time: what another one has half written is removed.

    Args:
        name: a name in DATASETS, or that of the user's own data.
        raw_dir: what `fetch` filled; not read for embedded data. Where the user's own data lie.
        out: the files that it becomes.
        own: what the user's own data are; None for a name in DATASETS.

    Raises:
        ValueError: unknown dataset; a raw file is missing or has another md5; its reader contradicts its row.
    """
    spec = own or dataset_spec(name)
    parts = read(name, raw_dir, own)
    for killed in chain.from_iterable(map(half_written, out)):
        killed.unlink()
    labels = {"train": parts.train_y, "validation": parts.train_y[parts.validation], "test": parts.test_y}
    with beside(out.data) as aside:  # straight from the tensors: the largest are more than a gigabyte
        safetensors.torch.save_file({key: part.contiguous() for key, part in parts._asdict().items()}, aside)
    facts = {
        "name": name,
        "source": spec.source,
        "shape": list(spec.shape),
        "classes": spec.classes,
        "counts": {part: len(y) for part, y in labels.items()},  # validation is a part of train
        "per_class": {part: y.bincount(minlength=spec.classes).tolist() for part, y in labels.items()},
        "sha256": sum_of_file(out.data),
    }
    write_sealed(out.facts, facts)


def read(name: str, raw_dir: str | Path, own: DatasetSpec | None = None) -> "Parts":
    """Return what a dataset's files hold, if it is as its row says; arguments and errors as of `prepare`."""
    spec, raw_dir = own or dataset_spec(name), Path(raw_dir)
    require_verified(spec.files, raw_dir)  # before anything is unpacked or unpickled
    parts: Parts = registry.load(spec.fn)(raw_dir, spec.validation, **spec.options)
    whose = f"{name!r} ({spec.fn} of {raw_dir})" if own else spec.fn
    _require_as_told(f"{whose}, test part", spec, parts.test_x, parts.test_y)
    if not len(parts.test_y):
        raise ValueError(f"{whose}, test part: holds no image")
    _require_as_told(f"{whose}, training part", spec, parts.train_x, parts.train_y)
    return parts


def _require_as_told(whose: str, spec: DatasetSpec, x: Tensor, y: Tensor) -> None:
    """Raise ValueError if a reader's images and labels are not as the dataset's row says."""
    if x.dtype != torch.uint8 or x.shape[1:] != spec.shape:
        shape = ", ".join(map(str, spec.shape))
        raise ValueError(f"{whose}: images must be torch.uint8 (N, {shape}), got {x.dtype} {tuple(x.shape)}")
    if y.dtype != torch.int64 or y.shape != x.shape[:1]:
        raise ValueError(f"{whose}: labels must be torch.int64 ({len(x)},), got {y.dtype} {tuple(y.shape)}")
    if len(y) and not 0 <= y.min() <= y.max() < spec.classes:
        raise ValueError(f"{whose}: labels must be in [0, {spec.classes}), got [{y.min()}, {y.max()}]")


def load(files: Prepared) -> Dataset:
    """Read a prepared dataset.

    Raises:
        DamagedError: a file is missing, truncated, or not the one its JSON describes.
    """
    facts = read_sealed(files.facts, "prepare")
    tensors = safetensors.torch.load_file(verified(files.data, facts["sha256"], "prepare"))
    return Dataset(
        name=facts["name"],
        train=Split(tensors["train_x"], tensors["train_y"]),
        test=Split(tensors["test_x"], tensors["test_y"]),
        validation=tensors["validation"],
        sha256=facts["sha256"],
    )
