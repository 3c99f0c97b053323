import gzip
import io
import pickle
import struct
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from loopback import Server
from miniature import Mini
from PIL import Image
from scipy.io import savemat

from touchstone.data import DATASETS, sources
from touchstone.registry import RawFile

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SIZES = {"train": 200, "test": 40}


def mini_idx(name: str, folder: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Mini:
    """A small dataset in MNIST's format, below root/folder."""
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    mini = Mini(name, root, [])
    for part, prefix in (("train", "train"), ("test", "t10k")):
        n = SIZES[part]
        mini.x[part] = rng.integers(0, 256, (n, 1, 28, 28), dtype=np.uint8)
        mini.y[part] = np.arange(n) % 10
        for kind, array in (
            ("images-idx3", mini.x[part][:, 0]),
            ("labels-idx1", mini.y[part].astype(np.uint8)),
        ):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            file = f"{prefix}-{kind}-ubyte.gz"
            (raw / file).write_bytes(gzip.compress(header + array.tobytes(), mtime=0))
            mini.files.append(f"{folder}/raw/{file}")
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], validation=20, files=mini.raw_files()))
    return mini


@pytest.fixture
def mini_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mini:
    return mini_idx("mnist", "MNIST", tmp_path / "published", monkeypatch)


@pytest.fixture
def mini_kmnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mini:
    return mini_idx("kmnist", "KMNIST", tmp_path / "published", monkeypatch)


@pytest.fixture
def mini_fmnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mini:
    return mini_idx("fmnist", "FashionMNIST", tmp_path / "published", monkeypatch)


@pytest.fixture
def mini_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mini:
    root = tmp_path / "published"
    root.mkdir()
    rng = np.random.default_rng(2)
    mini = Mini("svhn", root, [f"{part}_32x32.mat" for part in SIZES])
    for (part, n), file in zip(SIZES.items(), mini.files, strict=True):
        mini.x[part] = rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
        mini.y[part] = np.arange(n) % 10
        content = {
            "X": mini.x[part].transpose(2, 3, 1, 0),
            "y": np.where(mini.y[part] == 0, 10, mini.y[part]).astype(np.uint8)[:, None],
        }
        savemat(root / file, content, do_compression=True)
    monkeypatch.setitem(DATASETS, "svhn", replace(DATASETS["svhn"], validation=20, files=mini.raw_files()))
    return mini


WNIDS = [f"n{number:08d}" for number in (7, 3, 9, 1, 5, 0, 8, 2, 6, 4)]  # the order of the file is not that of classes


@pytest.fixture
def mini_tinyimagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mini:
    root = tmp_path / "published"
    root.mkdir()
    mini = Mini("tinyimagenet", root, ["tiny-imagenet-200.zip"])
    members, annotations = {"wnids.txt": "\n".join(WNIDS).encode()}, []
    for part, n in SIZES.items():
        pixels, labels = [], [number // (n // 10) for number in range(n)]
        for number, label in enumerate(labels):
            wnid = sorted(WNIDS)[label]
            content = jpeg(number, grey=number % 7 == 0)
            within = number % (n // 10)
            if part == "train":
                members[f"train/{wnid}/images/{wnid}_{within}.JPEG"] = content
            else:
                members[f"val/images/val_{number}.JPEG"] = content
                annotations.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t62\t62")
            pixels.append(np.array(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1))
        mini.x[part], mini.y[part] = np.stack(pixels), np.array(labels)
    members["val/val_annotations.txt"] = "\n".join(annotations).encode() + b"\n"
    members["test/images/test_0.JPEG"] = jpeg(0, grey=False)
    with zipfile.ZipFile(root / mini.files[0], "w") as archive:
        for name, content in reversed(members.items()):
            archive.writestr(f"tiny-imagenet-200/{name}", content)
    row = replace(DATASETS["tinyimagenet"], validation=20, files=mini.raw_files())
    monkeypatch.setitem(DATASETS, "tinyimagenet", row)
    return mini


def jpeg(seed: int, *, grey: bool) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (64, 64) if grey else (64, 64, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(values).save(out, "JPEG")
    return out.getvalue()


def python2(pickled: bytes, keys: Iterable[str]) -> bytes:
    """Make these strings of a pickle what Python 2 wrote, which has published CIFAR-10: bytes of no encoding."""
    for key in keys:
        unicode = b"X" + struct.pack("<I", len(key)) + key.encode()
        assert pickled.count(unicode) == 1
        pickled = pickled.replace(unicode, b"U" + bytes([len(key)]) + key.encode())
    return pickled


def mini_cifar(
    name: str, parts: dict[str, list[str]], meta: str, labels: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> Mini:
    """A small dataset in CIFAR's format: pickled batches in a folder, which is published as a tar archive."""
    archive = DATASETS[name].archive
    assert archive is not None
    folder = root / DATASETS[name].files[0].path.split("/")[0]
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    mini = Mini(name, root, [f"{folder.name}/{file}" for file in (*parts["train"], *parts["test"], meta)])
    for part, files in parts.items():
        mini.x[part] = rng.integers(0, 256, (SIZES[part], 3, 32, 32), dtype=np.uint8)
        mini.y[part] = np.arange(SIZES[part]) % 10
        for file, rows in zip(files, np.split(np.arange(SIZES[part]), len(files)), strict=True):
            entry = {"data": mini.x[part][rows].reshape(len(rows), -1), labels: mini.y[part][rows].tolist()}
            (folder / file).write_bytes(python2(pickle.dumps(entry, protocol=2), entry))
    (folder / meta).write_bytes(pickle.dumps({"label_names": [f"class{i}" for i in range(10)]}))
    with tarfile.open(root / archive.name, "w:gz") as tar:
        (folder / "readme.html").write_text("not for the reader")
        tar.add(folder, arcname=folder.name)
    (folder / "readme.html").unlink()
    packed = RawFile(archive.name, mini.md5(archive.name))
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], validation=20, files=mini.raw_files(), archive=packed))
    return mini


@pytest.fixture
def mini_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mini:
    parts = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
    return mini_cifar("cifar10", parts, "batches.meta", "labels", tmp_path / "published", monkeypatch)


@pytest.fixture
def mini_cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mini:
    parts = {"train": ["train"], "test": ["test"]}
    return mini_cifar("cifar100", parts, "meta", "fine_labels", tmp_path / "published", monkeypatch)


@pytest.fixture
def mini(request: pytest.FixtureRequest) -> Mini:
    """The small dataset named by an indirect parameter."""
    return request.getfixturevalue(f"mini_{request.param}")


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"real MNIST, Fashion-MNIST and CIFAR-10 are not at {SHARED}")
    return SHARED


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for real data: pytest would keep 200 MB of each of its last runs."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(sources, "TIMEOUT", 5.0)


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Server]]:
    running: list[tuple[Server, threading.Thread]] = []

    def start(directory: Path) -> Server:
        server = Server(directory)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()
