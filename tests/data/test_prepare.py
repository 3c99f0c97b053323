import dataclasses
import hashlib
import io
import json
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from miniature import Mini
from PIL import Image
from sklearn.datasets import load_digits
from torch.nn.functional import interpolate

from touchstone.data import DATASETS, readers
from touchstone.data.prepare import Dataset, load, prepare, spread, to_float
from touchstone.paths import Prepared, prepared

BOTH = pytest.mark.parametrize("mini", ["mnist", "cifar10"], indirect=True)
EVERY = pytest.mark.parametrize(
    "mini", ["mnist", "kmnist", "fmnist", "cifar10", "cifar100", "svhn", "tinyimagenet"], indirect=True
)
EMBEDDED = pytest.mark.parametrize("name", ["digits", "digits-rgb"])
PREPARED = {  # sha256 of the prepared files: every result rests on these bytes
    "digits": "1ca2e38ea6b434c9808b2d8858e5a592eecff6276c695fd4934886546ec7cc1d",
    "digits-rgb": "397e69a7b0aa2bf6cc6467327b04350e5e789b217c7a5cd1ee61c75ea046ce50",
    "mnist": "9d71c3174b009aa6c2d4cb2d2c0b07df26bb7524b9c88acb3bc8975430381a64",
    "fmnist": "860a66af07012eace7c32a73fa8283640962de974c6ddcff2f126d18c3f5d792",
    "cifar10": "d81c243b82aec929ed390e6e3e385e6ac8bfe5662162f05f21b2d376ffc8f6fd",
}


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    folder = tmp_path_factory.mktemp("prepared")
    files = {name: prepared(name, folder) for name in ("digits", "digits-rgb")}
    for name, out in files.items():
        prepare(name, folder / "raw", out)
    return files


def facts_of(files: Prepared) -> dict:
    return json.loads(files.facts.read_text())


def shares(labels: torch.Tensor) -> torch.Tensor:
    return labels.bincount(minlength=10) / len(labels)


# --- the embedded digits -----------------------------------------------------------------------------------


@EMBEDDED
def test_embedded_shapes_and_counts(name: str, embedded: dict[str, Prepared]) -> None:
    data = load(embedded[name])
    spec = DATASETS[name]
    assert data.train.x.shape == (1377, *spec.shape)
    assert data.test.x.shape == (420, *spec.shape)
    assert data.validation.shape == (spec.validation,)
    assert (data.train.x.dtype, data.train.y.dtype, data.validation.dtype) == (
        torch.uint8,
        torch.int64,
        torch.int64,
    )
    assert (data.test.x.dtype, data.test.y.dtype) == (torch.uint8, torch.int64)
    for split in (data.train, data.test):
        assert len(split.y) == len(split.x)
        assert (split.x.min(), split.x.max()) == (0, 255)
        assert (split.y.min(), split.y.max()) == (0, spec.classes - 1)


@EMBEDDED
def test_constants_are_those_of_the_training_part(name: str, embedded: dict[str, Prepared]) -> None:
    x = load(embedded[name]).train.x.double() / 255
    spec = DATASETS[name]
    assert spec.mean == tuple(round(float(value), 4) for value in x.mean((0, 2, 3)))
    assert spec.std == tuple(round(float(value), 4) for value in x.std((0, 2, 3), correction=0))


@EMBEDDED
def test_splits_are_stratified_and_disjoint(name: str, embedded: dict[str, Prepared]) -> None:
    data = load(embedded[name])
    everything = shares(torch.cat([data.train.y, data.test.y]))
    for labels in (data.train.y, data.test.y, data.train.y[data.validation]):
        assert (shares(labels) - everything).abs().max() <= 1 / len(labels)
    assert torch.equal(data.validation, data.validation.unique())  # sorted, no row twice
    assert 0 <= data.validation.min() < data.validation.max() < len(data.train.y)
    raw = load_digits()
    whole = torch.cat([data.train.y, data.test.y]).bincount()
    assert torch.equal(whole, torch.from_numpy(np.bincount(raw.target)))
    images = torch.cat([data.train.x, data.test.x]).flatten(1)
    assert len(images.unique(dim=0)) == len(np.unique(raw.data, axis=0)) == 1797


def test_digits_rgb_are_the_same_images_in_three_equal_channels(embedded: dict[str, Prepared]) -> None:
    gray, colour = load(embedded["digits"]), load(embedded["digits-rgb"])
    assert torch.equal(gray.train.y, colour.train.y)
    assert torch.equal(gray.test.y, colour.test.y)
    assert torch.equal(gray.validation, colour.validation)
    assert torch.equal(colour.train.x, colour.train.x[:, :1].expand_as(colour.train.x))
    small = interpolate(gray.test.x / 255, size=(8, 8), mode="area")
    assert (small - interpolate(colour.test.x[:, :1] / 255, size=(8, 8), mode="area")).abs().max() < 0.1


def test_what_a_killed_preparation_has_left_goes(tmp_path: Path) -> None:
    for dataset in ("digits", "digits-rgb"):
        (tmp_path / f".{dataset}.safetensors.123").touch()
    out = prepared("digits", tmp_path)
    prepare("digits", tmp_path / "raw", out)
    assert {*tmp_path.iterdir()} == {*out, tmp_path / ".digits-rgb.safetensors.123"}, "which may be another's at work"


@pytest.mark.parametrize("size", [28, 32, 8])
def test_upscaling_is_bilinear_rounded_half_up(size: int) -> None:
    images = load_digits().images[:200]
    exact = interpolate(torch.from_numpy(images)[:, None], size=(size, size), mode="bilinear")[:, 0] * 255 / 16
    ours = torch.from_numpy(readers._upscale(images.astype(np.int64), size))
    assert torch.equal(ours, (exact + 1e-9).add(0.5).floor().to(torch.uint8))
    halves = (exact - exact.floor() - 0.5).abs() < 1e-9
    assert halves.any()  # the case that floating point would leave to the processor


# --- writing -----------------------------------------------------------------------------------------------


@EMBEDDED
def test_a_second_preparation_is_byte_identical(name: str, embedded: dict[str, Prepared], tmp_path: Path) -> None:
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    random.seed(7)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    again = prepared("again", tmp_path)
    prepare(name, tmp_path / "raw", again)
    assert [file.read_bytes() for file in again] == [file.read_bytes() for file in embedded[name]]
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


@EMBEDDED
def test_the_json_describes_the_file(name: str, embedded: dict[str, Prepared]) -> None:
    facts, data = facts_of(embedded[name]), load(embedded[name])
    assert facts["name"] == data.name == name
    assert facts["shape"] == list(DATASETS[name].shape)
    assert facts["classes"] == 10
    assert facts["source"] == DATASETS[name].source
    assert facts["counts"] == {"train": 1377, "validation": 138, "test": 420}
    assert facts["per_class"]["train"] == data.train.y.bincount().tolist()
    assert facts["per_class"]["validation"] == data.train.y[data.validation].bincount().tolist()
    assert facts["per_class"]["test"] == data.test.y.bincount().tolist()
    assert (
        facts["sha256"] == data.sha256 == hashlib.sha256(embedded[name].data.read_bytes()).hexdigest() == PREPARED[name]
    )


@EVERY
def test_the_published_files_are_read_as_they_are(mini: Mini, tmp_path: Path) -> None:
    prepare(mini.name, mini.root, prepared("out", tmp_path))
    data = load(prepared("out", tmp_path))
    for part, split in (("train", data.train), ("test", data.test)):
        assert np.array_equal(split.x.numpy(), mini.x[part])
        assert np.array_equal(split.y.numpy(), mini.y[part])
        assert split.y.dtype == torch.int64
    assert data.train.y[data.validation].bincount().tolist() == [2] * 10
    before = (tmp_path / "out.safetensors").read_bytes()
    prepare(mini.name, mini.root, prepared("out", tmp_path))
    assert (tmp_path / "out.safetensors").read_bytes() == before


@EVERY
def test_preparing_leaves_the_raw_folder_alone(mini: Mini, tmp_path: Path) -> None:
    before = sorted(mini.root.rglob("*"))
    prepare(mini.name, mini.root, prepared("out", tmp_path))
    assert sorted(mini.root.rglob("*")) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.safetensors", "published"]


def test_extracted_files_beside_the_archives_are_not_trusted(mini_mnist: Mini, tmp_path: Path) -> None:
    (mini_mnist.root / "MNIST/raw/train-images-idx3-ubyte").write_bytes(b"stale")
    prepare("mnist", mini_mnist.root, prepared("out", tmp_path))
    assert np.array_equal(load(prepared("out", tmp_path)).train.x.numpy(), mini_mnist.x["train"])


@EVERY
def test_a_bad_raw_file_is_reported_with_both_sums(mini: Mini, tmp_path: Path) -> None:
    victim = mini.root / mini.files[-1]
    expected = mini.md5(mini.files[-1])
    victim.write_bytes(b"rotten")
    with pytest.raises(ValueError, match="rule fetch") as caught:
        prepare(mini.name, mini.root, prepared("out", tmp_path))
    for part in (str(victim), expected, hashlib.md5(b"rotten").hexdigest()):
        assert part in str(caught.value)
    victim.unlink()
    with pytest.raises(ValueError, match="is missing; delete the folder") as caught:
        prepare(mini.name, mini.root, prepared("out", tmp_path))
    assert str(victim) in str(caught.value)
    assert not (tmp_path / "out.json").exists()


def zipped(mini: Mini, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Put another zip, with the sum that its row has then, in the place of Tiny ImageNet's."""
    with zipfile.ZipFile(mini.root / mini.files[0], "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    row = dataclasses.replace(DATASETS[mini.name], files=mini.raw_files())
    monkeypatch.setitem(DATASETS, mini.name, row)


def members_of(mini: Mini) -> dict[str, bytes]:
    with zipfile.ZipFile(mini.root / mini.files[0]) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("wnids.txt", "wnids.txt"),
        ("val/val_annotations.txt", "val/val_annotations.txt"),
        ("val/images/val_3.JPEG", "val/images/val_3.JPEG"),
        ("train/n00000004/", r"train/n00000004/images/\*.JPEG"),
    ],
)
def test_what_a_zip_does_not_hold_is_named(
    lost: str, named: str, mini_tinyimagenet: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = f"tiny-imagenet-200/{lost}"
    kept = {name: content for name, content in members_of(mini_tinyimagenet).items() if not name.startswith(lost)}
    zipped(mini_tinyimagenet, kept, monkeypatch)
    with pytest.raises(ValueError, match=f"tiny-imagenet-200.zip does not hold tiny-imagenet-200/{named}"):
        prepare("tinyimagenet", mini_tinyimagenet.root, prepared("out", tmp_path))


def test_an_image_of_another_size_is_named(
    mini_tinyimagenet: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.BytesIO()
    Image.new("RGB", (65, 64)).save(out, "JPEG")
    name = "tiny-imagenet-200/train/n00000004/images/n00000004_1.JPEG"
    zipped(mini_tinyimagenet, {**members_of(mini_tinyimagenet), name: out.getvalue()}, monkeypatch)
    with pytest.raises(ValueError, match=rf"{name} in .*zip must be 64 x 64 pixels, got \(65, 64\)"):
        prepare("tinyimagenet", mini_tinyimagenet.root, prepared("out", tmp_path))


def test_a_zip_writes_nothing_outside_its_folder(
    mini_tinyimagenet: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = {"../evil": b"x", "/tmp/evil": b"x", "tiny-imagenet-200/train/n00000004/images/../../../evil.JPEG": b"x"}
    members = members_of(mini_tinyimagenet)
    zipped(mini_tinyimagenet, {**dict(list(evil.items())[:2]), **members}, monkeypatch)
    prepare("tinyimagenet", mini_tinyimagenet.root, prepared("out", tmp_path))
    zipped(mini_tinyimagenet, {**members, **evil}, monkeypatch)
    with pytest.raises(ValueError, match=r"evil.JPEG in .*zip is no image"):
        prepare("tinyimagenet", mini_tinyimagenet.root, prepared("out", tmp_path))
    assert not list(tmp_path.rglob("evil*"))


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_nothing_is_unpickled_before_its_md5_matched(file: str, mini_cifar10: Mini, tmp_path: Path) -> None:
    (mini_cifar10.root / "cifar-10-batches-py" / file).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(ValueError, match=file):
        prepare("cifar10", mini_cifar10.root, prepared("out", tmp_path))
    assert not (tmp_path / "exploded").exists()


def parts(**other: Any) -> readers.Parts:
    """Four training images and two test images of digits, as a reader returns them, but for `other`."""
    x, y = torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.tensor([0, 9, 0, 9])
    return readers.Parts(x, y, x[:2].clone(), y[:2].clone(), torch.tensor([0, 1]))._replace(**other)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train_x": torch.zeros(4, 28, 28, dtype=torch.uint8)}, r"training part: images must be .* \(4, 28, 28\)"),
        (
            {"test_x": torch.zeros(2, 1, 28, 28)},
            r"test part: images must be torch.uint8 \(N, 1, 28, 28\), got .*float32",
        ),
        ({"train_y": torch.zeros(4)}, r"training part: labels must be torch.int64 \(4,\), got torch.float32 \(4,\)"),
        ({"test_y": torch.tensor([1])}, r"test part: labels must be torch.int64 \(2,\), got torch.int64 \(1,\)"),
        ({"train_y": torch.tensor([1, 2, 3, 10])}, r"training part: labels must be in \[0, 10\), got \[1, 10\]"),
        ({"test_y": torch.tensor([-1, 0])}, r"test part: labels must be in \[0, 10\), got \[-1, 0\]"),
    ],
)
def test_a_reader_that_contradicts_its_row_is_reported(
    wrong: dict[str, torch.Tensor], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "digits", lambda _raw_dir, _validation: parts(**wrong))
    with pytest.raises(ValueError, match=f"touchstone.data.readers:digits, {message}"):
        prepare("digits", tmp_path, prepared("out", tmp_path))
    assert not (tmp_path / "out.json").exists()
    monkeypatch.setattr(readers, "digits", lambda _raw_dir, _validation: parts())
    prepare("digits", tmp_path, prepared("out", tmp_path))


def test_no_reader_runs_before_every_file_is_verified(
    mini_mnist: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(readers, "mnist", lambda raw_dir, _: asked.append(raw_dir))
    (mini_mnist.root / mini_mnist.files[-1]).write_bytes(b"rotten")
    with pytest.raises(ValueError, match="expected md5"):
        prepare("mnist", mini_mnist.root, prepared("out", tmp_path))
    assert asked == []


def test_a_preparation_that_fails_leaves_the_old_file(
    mini_mnist: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("mnist", mini_mnist.root, prepared("out", tmp_path))
    files = [tmp_path / "out.safetensors", tmp_path / "out.json"]
    before = [path.read_bytes() for path in files]
    monkeypatch.setitem(DATASETS, "mnist", dataclasses.replace(DATASETS["mnist"], validation=30))

    def full(_tensors: dict[str, torch.Tensor], path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="no space"):
        prepare("mnist", mini_mnist.root, prepared("out", tmp_path))
    assert [path.read_bytes() for path in files] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.safetensors", "published"]


def test_an_unknown_dataset_gets_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'digits-rgb'"):
        prepare("digits_rgb", tmp_path, prepared("out", tmp_path))


# --- loading -----------------------------------------------------------------------------------------------


@pytest.fixture
def copy(embedded: dict[str, Prepared], tmp_path: Path) -> Prepared:
    files = prepared("digits", tmp_path)
    for mine, theirs in zip(files, embedded["digits"], strict=True):
        mine.write_bytes(theirs.read_bytes())
    return files


@pytest.mark.parametrize("size", [0, 5, 1000, -1])
def test_a_truncated_file_names_itself_and_its_rule(copy: Prepared, size: int) -> None:
    expected = facts_of(copy)["sha256"]
    copy.data.write_bytes(copy.data.read_bytes()[:size])
    actual = hashlib.sha256(copy.data.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=r"rule prepare") as caught:
        load(copy)
    for part in (str(copy.data), expected, actual):
        assert part in str(caught.value)


def test_a_changed_pixel_is_seen(copy: Prepared) -> None:
    content = bytearray(copy.data.read_bytes())
    content[-1] ^= 1
    copy.data.write_bytes(content)
    with pytest.raises(ValueError, match=r"digits\.safetensors cannot be used: expected sha256"):
        load(copy)


@pytest.mark.parametrize("which", Prepared._fields)
def test_a_missing_file_names_itself_and_its_rule(copy: Prepared, which: str) -> None:
    file: Path = getattr(copy, which)
    file.unlink()
    with pytest.raises(ValueError, match=rf"{file.name} cannot be used: .*No such file.* \(rule prepare\)"):
        load(copy)


@pytest.mark.parametrize("content", [b"", b'{"name": "dig', b"[]", b'{"name": "digits"}', b"\xff\xfe"])
def test_a_broken_json_names_itself_and_its_rule(copy: Prepared, content: bytes) -> None:
    copy.facts.write_bytes(content)
    with pytest.raises(ValueError, match=r"digits\.json cannot be used: .* \(rule prepare\)"):
        load(copy)


def test_a_dataset_cannot_be_changed(copy: Prepared) -> None:
    data = load(copy)
    assert isinstance(data, Dataset)
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"


def test_every_part_of_a_test_set_holds_the_classes_in_proportion() -> None:
    y = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)
    order = spread(y)
    assert sorted(order.tolist()) == list(range(1000))
    for count in (10, 50, 137, 500):
        found = y[order[:count]].bincount(minlength=3) / count
        assert (found - torch.tensor([0.6, 0.3, 0.1])).abs().max() <= 2 / count
    within = order[y[order] == 0]
    assert (within.diff() > 0).float().mean() == pytest.approx(0.5, abs=0.1), "no order of the file is left"
    assert torch.equal(spread(y), order)


def test_to_float_is_exact_division_by_255() -> None:
    x = torch.arange(256, dtype=torch.uint8)
    y = to_float(x)
    assert y.dtype == torch.float32
    assert torch.equal(y, torch.from_numpy(np.arange(256, dtype=np.float32) / np.float32(255)))
    assert (y[0], y[-1]) == (0.0, 1.0)
    assert torch.equal(x, torch.arange(256, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"got torch\.float32"):
        to_float(y)


# --- what may be imported ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("touchstone.data", {"torch"}),
        ("touchstone.data.sources", {"torch"}),
        ("touchstone.data.prepare", {"torchvision", "sklearn"}),
        ("touchstone.data.readers", {"torchvision"}),
    ],
)
def test_importing_stays_light(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(*({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


# --- the real files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mnist", (60000, 10000)),
        ("fmnist", (60000, 10000)),
        pytest.param("cifar10", (50000, 10000), marks=pytest.mark.slow),
    ],
)
def test_the_real_data(name: str, sizes: tuple[int, int], shared: Path, scratch: Path) -> None:
    prepare(name, shared, prepared(name, scratch))
    data = load(prepared(name, scratch))
    assert data.sha256 == PREPARED[name]
    spec = DATASETS[name]
    assert data.train.x.shape == (sizes[0], *spec.shape)
    assert data.test.x.shape == (sizes[1], *spec.shape)
    assert (shares(data.train.y) - shares(data.train.y[data.validation])).abs().max() <= 1 / spec.validation
    mean = [data.train.x[:, c].double().mean() / 255 for c in range(spec.shape[0])]
    assert spec.mean == tuple(round(float(value), 4) for value in mean)
    # MNIST's std is over all pixels; the one in use for CIFAR-10 is the mean of the images' own.
    dims = (1, 2) if name == "cifar10" else (0, 1, 2)
    std = [(data.train.x[:, c].float() / 255).std(dims).mean() for c in range(spec.shape[0])]
    assert spec.std == tuple(round(float(value), 4) for value in std)
