"""What an .npz file or a folder of images holds, as a study has to say it; see `touchstone.data.own`."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from touchstone import paths
from touchstone.files import sum_of_file
from touchstone.image_folder import NoTestPartError, entries, parts, sum_of_images
from touchstone.image_folder import classes as classes_in
from touchstone.registry import meant
from touchstone.study.config import ConfigError

CHANNELS = (1, 3)
NEUTRAL = 0.5  # mean and deviation of a first layer "dataset", which only a net trained here has


@dataclass(frozen=True)
class Images:
    """Data of the user's own.

    Attributes:
        fn: the reader: npz or folder.
        sha256: of the file or folder.
        shape: (channels, height, width).
        classes: how many.
        training: how many images there are to train on.
        options: of the reader, further ones.
        first: the smallest label.
    """

    fn: str
    sha256: str
    shape: tuple[int, int, int]
    classes: int
    training: int
    options: Mapping[str, Any]
    first: int = 0

    def hint(self, logits: int | None) -> str:
        """Say what to do where a net has another number of logits than there are classes; "" if that is not known."""
        if logits is None:
            return ""
        if logits > self.classes:
            return "; --classes says how many there are"
        return _late(self.first, self.classes, logits)

    def definition(self) -> dict[str, Any]:
        """Return what study.yaml says of them."""
        channels = [NEUTRAL] * self.shape[0]
        about = {"shape": list(self.shape), "classes": self.classes, "mean": channels, "std": channels}
        return {"fn": self.fn, "sha256": self.sha256, **self.options, **about}


def look_at(place: Path, classes: int | None = None) -> Images:
    """Return what a file or folder holds.

    Args:
        place: where it lies.
        classes: how many there are; None to take the largest label, or the folders.

    Raises:
        ConfigError: if it is not there, or holds no images with labels.
    """
    if place.is_dir():
        return _folder(place, classes)
    if not place.is_file():
        raise ConfigError([f"--data: there is no file or folder {place}{meant(place.name, paths.beside(place))}"])
    return _npz(place, classes)


def _npz(file: Path, classes: int | None) -> Images:
    if not zipfile.is_zipfile(file):
        raise ConfigError([f"--data {file}: no .npz file (numpy.savez writes one)"])
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise ConfigError([f"--data {file}: no .npz file of plain arrays: {error}"]) from error
    x, y = (found.get(f"{kind}_test", found.get(kind)) for kind in "xy")
    if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):
        has = ", ".join(found) or "nothing"
        raise ConfigError([f"--data {file}: expected arrays x and y, or x_test and y_test; it has {has}"])
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1] or not y.size or y.min() < 0:
        about = f"y {y.dtype} {y.shape} beside x {x.dtype} {x.shape}" + (f", from {y.min()}" if y.size else "")
        raise ConfigError([f"--data {file}: expected a label for each image, an integer from 0 on; got {about}"])
    layout, shape = _layout(file, x.shape)
    training = len(found.get("y_train", ()))
    first, found_classes = int(y.min()), int(y.max()) + 1
    number = _enough(file, found_classes, classes, first)
    return Images("npz", sum_of_file(file), shape, number, training, {"layout": layout}, first)


def _late(first: int, classes: int, wanted: int) -> str:
    """Say that labels start at 1, where this makes a class too many."""
    return "; the labels start at 1, and must start at 0" if (first, classes) == (1, wanted + 1) else ""


def _enough(place: Path, found: int, classes: int | None, first: int = 0) -> int:
    """Return how many classes there are: those that were found, or more."""
    if classes is not None and classes < found:
        raise ConfigError([f"--classes {classes}: {place} has {found}{_late(first, found, classes)}"])
    if (classes or found) < 2:
        raise ConfigError([f"--data {place}: it has one class; at least two are needed (--classes)"])
    return classes or found


def _layout(file: Path, shape: tuple[int, ...]) -> tuple[str, tuple[int, int, int]]:
    """Say in which order the axes are; grey images may have no axis for their channel."""
    match shape:
        case (_, height, width):
            return "NCHW", (1, height, width)
        case (_, channels, height, width) if channels in CHANNELS:
            return "NCHW", (channels, height, width)
        case (_, height, width, channels) if channels in CHANNELS:
            return "NHWC", (channels, height, width)
    form = f"(N, C, H, W), (N, H, W, C) or (N, H, W), with {' or '.join(map(str, CHANNELS))} channels"
    raise ConfigError([f"--data {file}: images must be {form}; got shape {shape}"])


def _folder(home: Path, classes: int | None) -> Images:
    try:
        places = parts(home)
    except NoTestPartError as error:
        raise ConfigError([f"--data {home}: {error}"]) from error
    found = {part: classes_in(place) for part, place in places.items()}
    first = next((file for folder in found["test"] for file in entries(folder)), None)
    if first is None:
        raise ConfigError([f"--data {home}: expected a folder of images per class"])
    try:
        with Image.open(first) as image:
            width, height = image.size
            channels = 1 if image.mode in ("1", "L") else 3
    except (UnidentifiedImageError, OSError) as error:
        raise ConfigError([f"--data {home}: {first} is no image: {error}"]) from error
    training = sum(len(entries(folder)) for folder in found.get("train", ()))
    number = _enough(home, len(found["test"]), classes)
    return Images("folder", sum_of_images(home), (channels, height, width), number, training, {})
