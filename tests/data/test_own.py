"""Data of the user's own: read as they are, held to their sum, or refused with what is wrong."""

import hashlib
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from touchstone.data.own import OwnDataError, folder, npz
from touchstone.data.prepare import load, prepare
from touchstone.data.readers import Parts
from touchstone.image_folder import sum_of_images
from touchstone.paths import prepared
from touchstone.registry import DatasetSpec

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (12, 3, 4, 5), dtype=np.uint8)
Y = np.arange(12) % 3
FOUR = {"x_train": X[:9], "y_train": Y[:9], "x_test": X[9:], "y_test": Y[9:]}


def saved(tmp_path: Path, **arrays: Any) -> tuple[Path, str]:
    path = tmp_path / "own.npz"
    np.savez(path, **arrays)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def read(tmp_path: Path, validation: int = 0, layout: Any = "NCHW", **arrays: Any) -> Parts:
    path, total = saved(tmp_path, **arrays)
    return npz(path, validation, sha256=total, layout=layout)


@pytest.mark.parametrize(
    ("images", "layout"),
    [
        (X, "NCHW"),
        (X.transpose(0, 2, 3, 1), "NHWC"),
        ((X / 255).astype(np.float32), "NCHW"),
        (X.transpose(0, 2, 3, 1) / 255, "NHWC"),
    ],
    ids=["bytes", "channels last", "float32", "float64"],
)
def test_arrays_come_in_several_forms(tmp_path: Path, images: np.ndarray, layout: str) -> None:
    parts = read(tmp_path, layout=layout, x=images, y=Y)
    assert np.array_equal(parts.test_x.numpy(), X)
    assert np.array_equal(parts.test_y.numpy(), Y)
    assert parts.train_x.shape == (0, 3, 4, 5)


def test_training_and_test_parts(tmp_path: Path) -> None:
    parts = read(tmp_path, 3, **FOUR)
    assert [len(part) for part in parts] == [9, 9, 3, 3, 3]
    assert sorted(parts.train_y[parts.validation].tolist()) == [0, 1, 2]
    assert [len(part) for part in read(tmp_path, x_test=X, y_test=Y)] == [0, 0, 12, 12, 0]
    grey = read(tmp_path, x=X[:, 0], y=Y.astype(np.uint8))
    assert np.array_equal(grey.test_x.numpy(), X[:, :1])


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("objects", {"x": np.array([{}], dtype=object), "y": Y}, "no .npz file of plain arrays"),
    ("names", {"images": X, "labels": Y}, "expected arrays x and y, or .*; got images, labels"),
    ("extra", {"x": X, "y": Y, "names": Y}, "expected arrays x and y, or .*; too many: names"),
    ("extra of four", {**FOUR, "names": Y, "ids": Y}, "; too many: names, ids"),
    ("extra of two", {"x_test": X, "y_test": Y, "names": Y}, "; too many: names"),
    ("missing", {"x_test": X, "y_test": Y, "x_train": X}, "; missing: y_train"),
    (
        "range",
        {"x": X.astype(np.float32), "y": Y},
        r"uint8, or multiples of 1/255 in \[0, 1\], got float32 from 0 to \d+: save them rounded, as uint8",
    ),
    (
        "normalized",
        {"x": X / 100.0 - 0.5, "y": Y},
        r"got float64 from -0.5 to [\d.]+: save them as they were before any normalisation",
    ),
    ("levels", {"x": X / 254.5, "y": Y}, r"got float64 from 0 to [\d.]+: save "),
    ("nan", {"x": X * np.nan, "y": Y}, "multiples of 1/255"),
    ("signed", {"x": X.astype(np.int64), "y": Y}, "got int64"),
    ("axes", {"x": X[0, 0], "y": Y}, r"must be NCHW or \(N, H, W\), got shape \(4, 5\)"),
    ("labels", {"x": X, "y": Y / 2}, r"labels must be integers \(N,\), got float64"),
    ("column", {"x": X, "y": Y[:, None]}, r"labels must be integers \(N,\), got int64 \(12, 1\)"),
    ("huge", {"x": X, "y": Y.astype(np.uint64) + 2**63}, "labels must be below 2.*63, got 9223372036854775810"),
]


@pytest.mark.parametrize(("arrays", "said"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    with pytest.raises(OwnDataError, match=f"own.npz.*{said}"):
        read(tmp_path, **arrays)


def test_a_file_with_another_sum_is_not_read(tmp_path: Path) -> None:
    path, total = saved(tmp_path, x=X, y=Y)
    with pytest.raises(OwnDataError, match=f"not what the study means: expected sha256 {'0' * 64}, got {total}"):
        npz(path, 0, sha256="0" * 64)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(OwnDataError, match=r"own\.npz is no \.npz file"):
        npz(path, 0, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(OwnDataError, match="cannot be read: No such file"):
        npz(tmp_path / "none.npz", 0, sha256=total)


def test_a_zip_of_anything_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", "no array")
        archive.writestr("y", "nor this")
    with pytest.raises(OwnDataError, match=r"own\.npz is no \.npz file of plain arrays: x, y"):
        npz(path, 0, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize(("validation", "said"), [(2, "number of classes = 3"), (9, "number of samples 9")])
def test_a_validation_split_that_cannot_be_drawn_is_named(tmp_path: Path, validation: int, said: str) -> None:
    with pytest.raises(OwnDataError, match=rf"own\.npz: `validation: {validation}` cannot be drawn from 9 .*{said}"):
        read(tmp_path, validation, **FOUR)
    with pytest.raises(OwnDataError, match=rf"own\.npz: `validation: {validation}` cannot be drawn from 0 "):
        read(tmp_path, validation, x=X, y=Y)


def images(home: Path, parts: tuple[str, ...] = ("train/", "test/")) -> dict[str, np.ndarray]:
    """Write two images of two classes in each part."""
    written = {}
    for part in parts:
        for number, name in enumerate(("cat", "dog")):
            for i in range(2):
                path = home / f"{part}{name}" / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                written[f"{part}{name}/{i}"] = X[4 * number + i].transpose(1, 2, 0)
                Image.fromarray(written[f"{part}{name}/{i}"]).save(path)
    return written


def test_a_folder_per_class(tmp_path: Path) -> None:
    written = images(tmp_path)
    parts = folder(tmp_path, 2, sha256=sum_of_images(tmp_path))
    assert parts.train_y.tolist() == parts.test_y.tolist() == [0, 0, 1, 1]
    assert np.array_equal(parts.test_x.numpy().transpose(0, 2, 3, 1), [written[k] for k in written if "test" in k])
    alone = folder(tmp_path / "test", 0, sha256=sum_of_images(tmp_path / "test"))
    assert np.array_equal(alone.test_x, parts.test_x)
    assert len(alone.train_x) == 0


def test_what_desktops_and_editors_leave_is_not_read(tmp_path: Path) -> None:
    images(tmp_path, ("test/",))
    before = sum_of_images(tmp_path)
    for name in (".DS_Store", "test/.DS_Store", "test/cat/Thumbs.db", "test/cat/._0.png", "test/.cache/0.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    parts = folder(tmp_path, 0, sha256=before)
    assert (parts.test_y.tolist(), len(parts.train_y)) == ([0, 0, 1, 1], 0)


def test_a_folder_without_a_test_part_is_told_where_it_belongs(tmp_path: Path) -> None:
    images(tmp_path, ("train/", "val/"))
    with pytest.raises(OwnDataError, match=r": found train/, val/; the images to test on must lie in test/"):
        folder(tmp_path, 0, sha256=sum_of_images(tmp_path))


def _grey(home: Path) -> None:
    Image.fromarray(X[0, 0]).save(home / "test" / "dog" / "0.png")


def _alpha(home: Path) -> None:
    Image.fromarray(np.zeros((4, 5, 4), np.uint8)).save(home / "test" / "dog" / "0.png")


def _large(home: Path) -> None:
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(home / "test" / "dog" / "1.png")


def _sixteen_bits(home: Path) -> None:
    """Write a PNG of 16 bits per channel, of which Pillow would quietly keep 8."""
    rows = b"".join(b"\0" + bytes(range(30)) for _ in range(4))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts)
    (home / "test" / "dog" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def _see_through(home: Path) -> None:
    Image.fromarray(X[0].transpose(1, 2, 0)).save(home / "test" / "dog" / "0.png", transparency=(1, 2, 3))


def _palette_with_a_hole(home: Path) -> None:
    Image.fromarray(X[0].transpose(1, 2, 0)).convert("P").save(home / "test" / "dog" / "0.png", transparency=0)


def _another_format(home: Path) -> None:
    Image.fromarray(X[0].transpose(1, 2, 0)).save(home / "test" / "dog" / "0.png", format="BMP")


def _cut(home: Path) -> None:
    path = home / "test" / "cat" / "0.png"
    path.write_bytes(path.read_bytes()[:60])


def _text(home: Path) -> None:
    (home / "test" / "cat" / "notes.txt").write_text("")


def _third(home: Path) -> None:
    (home / "train" / "emu").mkdir()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_grey, r"dog/0\.png: images must have one size, got \(1, 4, 5\) beside \(3, 4, 5\)"),
        (_alpha, r"dog/0\.png: expected grey or RGB in 8 bits, got Pillow's mode 'RGBA'"),
        (_sixteen_bits, r"dog/0\.png: expected grey or RGB in 8 bits, got Pillow's raw mode 'RGB;16B'"),
        (_see_through, r"dog/0\.png: expected grey or RGB in 8 bits, got transparent pixels"),
        (_palette_with_a_hole, r"dog/0\.png: expected grey or RGB in 8 bits, got transparent pixels"),
        (_another_format, r"dog/0\.png is no whole image of PNG or JPEG"),
        (_large, r"dog/1\.png: images must have one size"),
        (_cut, r"cat/0\.png is no whole image"),
        (_text, r"notes\.txt is none of \.png, \.jpg, \.jpeg"),
        (_third, "train: expected the classes cat, dog, got cat, dog, emu"),
    ],
)
def test_other_folders_are_refused(tmp_path: Path, spoil: Any, said: str) -> None:
    images(tmp_path)
    spoil(tmp_path)
    with pytest.raises(OwnDataError, match=said):
        folder(tmp_path, 0, sha256=sum_of_images(tmp_path))


def test_what_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "nothing"):
        with pytest.raises(OwnDataError, match=f"{name} is no folder"):
            folder(tmp_path / name, 0, sha256="0" * 64)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_modes_of_eight_bits_are_read_as_they_look(tmp_path: Path, mode: str) -> None:
    images(tmp_path)
    picture = Image.fromarray(X[0].transpose(1, 2, 0)).convert(mode)
    picture.save(tmp_path / "test" / "cat" / "0.png")
    for path in tmp_path.glob("t*/*/*.png"):
        picture.save(path)
    parts = folder(tmp_path, 0, sha256=sum_of_images(tmp_path))
    wanted = np.asarray(picture.convert("RGB" if mode in ("P", "RGB") else "L"))
    assert np.array_equal(parts.test_x[0].numpy().transpose(1, 2, 0).squeeze(), wanted)


def test_they_are_prepared_like_others(tmp_path: Path) -> None:
    path, total = saved(tmp_path, x=X, y=Y)
    constants = ((0.5,) * 3, (0.2,) * 3, "own", 0)
    spec = DatasetSpec("touchstone.data.own:npz", (3, 4, 5), 3, *constants, options={"sha256": total})
    prepare("own", path, prepared("out", tmp_path), spec)
    data = load(prepared("out", tmp_path))
    assert (data.name, len(data.test.y), len(data.train.y)) == ("own", 12, 0)
    with pytest.raises(ValueError, match=r"labels must be in \[0, 2\)"):
        prepare("own", path, prepared("out", tmp_path), replace(spec, classes=2))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": X, "y": Y[:5]}, r"labels must be torch\.int64 \(12,\), got torch\.int64 \(5,\)"),
        ({"x": X, "y": Y - 1}, r"labels must be in \[0, 3\), got \[-1, 1\]"),
        ({"x": X.transpose(0, 2, 3, 1), "y": Y}, r"images must be torch\.uint8 \(N, 3, 4, 5\), got .*\(12, 4, 5, 3\)"),
        ({"x": X[:0], "y": Y[:0]}, "holds no image"),
    ],
    ids=["fewer", "negative", "layout", "nothing"],
)
def test_what_contradicts_the_study_names_data_and_file(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    path, total = saved(tmp_path, **arrays)
    constants = ((0.5,) * 3, (0.2,) * 3, "own", 0)
    spec = DatasetSpec("touchstone.data.own:npz", (3, 4, 5), 3, *constants, options={"sha256": total})
    with pytest.raises(ValueError, match=rf"'stripes' \(touchstone\.data\.own:npz of .*own\.npz\), test part: {said}"):
        prepare("stripes", path, prepared("out", tmp_path), spec)
