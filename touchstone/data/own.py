"""Readers of data of the user's own: arrays in an .npz file, or a folder of images per class.

What they read is where the config says, and stays as it is. Its sha256 decides what it is.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from touchstone.data.readers import Parts, held_out
from touchstone.files import sum_of_file
from touchstone.image_folder import PARTS, NoTestPartError, classes, entries, parts, sum_of_images
from touchstone.registry import readable

ARRAYS = (("x_test", "y_test", "x_train", "y_train"), ("x", "y"), ("x_test", "y_test"))  # what a file may hold
LAYOUTS = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 3, 1, 2)}  # what becomes of the axes
MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}  # of Pillow -> what it is read as
SUFFIXES = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG")  # of Pillow, whatever a file is called
LEVELS = 255
ROUNDING = 0.01  # grey levels that a float may lie beside one


class OwnDataError(ValueError):
    """Data of the user's own cannot be used; says which, and why."""

    def __init__(self, text: str) -> None:
        super().__init__(readable(text))  # names in it are whatever somebody has written


def npz(place: str | Path, validation: int, *, sha256: str, layout: Literal["NCHW", "NHWC"] = "NCHW") -> Parts:
    """Read x_test and y_test, or x and y, which are the same, and x_train and y_train, if any, from an .npz file.

    Images are uint8, or floating point in [0, 1] that are 255 grey levels but for rounding; (N, H, W) is one channel.
    Labels are integers from 0 on.

    Args:
        place: of the file.
        validation: how many training images the fixed validation split holds.
        sha256: of the file.
        layout: of the axes of the images.

    Raises:
        OwnDataError: if the file has another sum, or its arrays are anything else.
    """
    path = Path(place)
    _hold_to(path, _sum_of_file(path), sha256)
    if not zipfile.is_zipfile(path):
        raise OwnDataError(f"{path} is no .npz file, or not a whole one")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (ValueError, zipfile.BadZipFile, EOFError) as error:  # ValueError: objects, which would have to be unpickled
        raise OwnDataError(f"{path} is no .npz file of plain arrays: {error}") from error
    if others := [name for name, value in found.items() if not isinstance(value, np.ndarray)]:
        raise OwnDataError(f"{path} is no .npz file of plain arrays: {', '.join(others)}")
    _check_names(path, list(found))
    if "x" in found:
        found = {f"{kind}_test": found[kind] for kind in "xy"}
    read = {
        part: (_images(path, found[f"x_{part}"], layout), _labels(path, found[f"y_{part}"]))
        for part in PARTS
        if f"x_{part}" in found
    }
    return _joined(path, read, validation)


def _check_names(path: Path, found: Sequence[str]) -> None:
    """Raise unless a file holds the arrays that it may hold, and say what those that are nearest lack."""
    wanted = min(ARRAYS, key=lambda names: len({*names} ^ {*found}))
    missing, more = ([name for name in a if name not in b] for a, b in ((wanted, found), (found, wanted)))
    if missing or more:
        allowed = "x and y, or x_test and y_test, beside which x_train and y_train may be"
        wrong = {"missing": missing, "too many": more}
        said = "".join(f"; {what}: {', '.join(names)}" for what, names in wrong.items() if names)
        raise OwnDataError(f"{path}: expected arrays {allowed}; got {', '.join(found) or 'none'}{said}")


def folder(place: str | Path, validation: int, *, sha256: str) -> Parts:
    """Read test/<class>/ of PNG and JPEG images and train/<class>/, if any, or <class>/, which are the test part.

    What begins with a dot, and Thumbs.db, is passed over. Classes are numbered in the order of their names, images in
    that of theirs. A palette is read as its colours; what would lose something, as 16 bits or transparency, is refused.

    Args:
        place: of the folder.
        validation: how many training images the fixed validation split holds.
        sha256: of the lines "<sha256 of a file>  <its path below the folder>", in the order of the paths' bytes, of
            all files that are not passed over.

    Raises:
        OwnDataError: if the folder has another sum or no test part, its parts have other classes, or its images
            another size or mode.
    """
    home = Path(place)
    if not home.is_dir():
        raise OwnDataError(f"{home} is no folder")
    try:
        found = sum_of_images(home)
    except OSError as error:
        raise OwnDataError(f"{error.filename} cannot be read: {error.strerror}") from error
    _hold_to(home, found, sha256)
    try:
        homes = parts(home)
    except NoTestPartError as error:
        raise OwnDataError(f"{home}: {error}") from error
    names = _names(homes["test"])
    if not names:
        raise OwnDataError(f"{homes['test']}: expected a folder per class")
    return _joined(home, {part: _classes(where, names) for part, where in homes.items()}, validation)


def _sum_of_file(path: Path) -> str:
    try:
        return sum_of_file(path)
    except OSError as error:
        raise OwnDataError(f"{path} cannot be read: {error.strerror}") from error


def _hold_to(place: Path, found: str, wanted: str) -> None:
    if found != wanted:
        raise OwnDataError(f"{place} is not what the study means: expected sha256 {wanted}, got {found}")


def _images(path: Path, x: np.ndarray, layout: str) -> Tensor:
    """Return images uint8 (N, C, H, W)."""
    if x.ndim == 3:
        x, layout = x[:, None], "NCHW"
    if x.ndim != 4:
        raise OwnDataError(f"{path}: images must be {layout} or (N, H, W), got shape {x.shape}")
    if x.dtype != np.uint8:
        levels = LEVELS * x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else np.full((1,), np.nan)
        whole = np.rint(levels)
        if not (np.isfinite(levels).all() and (np.abs(levels - whole) <= ROUNDING).all()) or not _in_range(whole):
            raise OwnDataError(f"{path}: images must be uint8, or multiples of 1/255 in [0, 1], got {_described(x)}")
        x = whole.astype(np.uint8)
    return torch.from_numpy(np.ascontiguousarray(x.transpose(LAYOUTS[layout])))


def _described(x: np.ndarray) -> str:
    """Return what images are that are no levels of grey, and what to do with them."""
    if not np.issubdtype(x.dtype, np.floating):
        return f"{x.dtype}"
    low, high = float(np.min(x)), float(np.max(x))
    how = "save them as they were before any normalisation"
    if 0 <= low <= high <= LEVELS:
        how = "save 255 * x, rounded, as uint8" if high <= 1 else "save them rounded, as uint8"
    return f"{x.dtype} from {low:.4g} to {high:.4g}: {how}"


def _in_range(levels: np.ndarray) -> bool:
    return levels.size == 0 or bool(levels.min() >= 0 and levels.max() <= LEVELS)


def _labels(path: Path, y: np.ndarray) -> Tensor:
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise OwnDataError(f"{path}: labels must be integers (N,), got {y.dtype} {y.shape}")
    if len(y) and y.max() > np.iinfo(np.int64).max:
        raise OwnDataError(f"{path}: labels must be below 2^63, got {y.max()}")
    return torch.from_numpy(y.astype(np.int64))


def _names(home: Path) -> list[str]:
    return [entry.name for entry in classes(home)]


def _classes(home: Path, names: list[str]) -> tuple[Tensor, Tensor]:
    """Return images (N, C, H, W) and labels (N,) of a folder per class."""
    found = _names(home)
    if found != names:
        raise OwnDataError(f"{home}: expected the classes {', '.join(names)}, got {', '.join(found) or 'none'}")
    x: list[np.ndarray] = []
    y: list[int] = []
    for label, name in enumerate(names):
        for path in entries(home / name):
            x.append(_image(path))
            y.append(label)
            if x[-1].shape != x[0].shape:
                raise OwnDataError(f"{path}: images must have one size, got {x[-1].shape} beside {x[0].shape}")
    if not x:
        raise OwnDataError(f"{home} holds no image")
    return torch.from_numpy(np.stack(x)), torch.tensor(y)


def _image(path: Path) -> np.ndarray:
    """Return an image uint8 (C, H, W)."""
    if path.suffix.lower() not in SUFFIXES:
        raise OwnDataError(f"{path} is none of {', '.join(SUFFIXES)}")
    try:
        with Image.open(path, formats=FORMATS) as image:
            if lost := _lost(image):
                raise OwnDataError(f"{path}: expected grey or RGB in 8 bits, got {lost}")
            values = np.asarray(image.convert(MODES[image.mode]))
    except (UnidentifiedImageError, OSError) as error:
        raise OwnDataError(f"{path} is no whole image of {' or '.join(FORMATS)}: {error}") from error
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))


def _lost(image: Image.Image) -> str:
    """Say what an image has that 8 bits of grey or RGB cannot hold; "" if nothing."""
    if image.mode not in MODES:
        return f"Pillow's mode {image.mode!r}"
    if "transparency" in image.info:
        return "transparent pixels"
    raw = (str(tile[3]) for tile in image.tile)  # how pixels are stored: of 16 bits Pillow keeps 8 without a word
    return next((f"Pillow's raw mode {mode!r}" for mode in raw if "16" in mode), "")


def _joined(place: Path, read: Mapping[str, tuple[Tensor, Tensor]], validation: int) -> Parts:
    """Return the parts that were read; there may be nothing to train on."""
    test_x, test_y = read["test"]
    train_x, train_y = read.get("train", (test_x[:0], test_y[:0]))
    rows = torch.zeros(0, dtype=torch.int64)
    if validation:
        try:
            rows = held_out(train_y.numpy(), validation)
        except ValueError as error:
            asked = f"`validation: {validation}` cannot be drawn from {len(train_y)} training images"
            raise OwnDataError(f"{place}: {asked}: {error}") from error
    return Parts(train_x, train_y, test_x, test_y, rows)
