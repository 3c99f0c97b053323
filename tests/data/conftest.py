import gzip
import pickle
import struct
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from loopback import Server
from miniature import Mini

from touchstone.data import DATASETS, sources
from touchstone.registry import RawFile

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SIZES = {"train": 200, "test": 40}


@pytest.fixture
def mini_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mini:
    root = tmp_path / "published"
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    mini = Mini("mnist", root, [])
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
            mini.files.append(f"MNIST/raw/{file}")
    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], validation=20, files=mini.raw_files()))
    return mini


def python2(pickled: bytes, keys: Iterable[str]) -> bytes:
    """Make these strings of a pickle what Python 2 wrote, which has published CIFAR-10: bytes of no encoding."""
    for key in keys:
        unicode = b"X" + struct.pack("<I", len(key)) + key.encode()
        assert pickled.count(unicode) == 1
        pickled = pickled.replace(unicode, b"U" + bytes([len(key)]) + key.encode())
    return pickled


@pytest.fixture
def mini_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mini:
    root = tmp_path / "published"
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    batches = [f"data_batch_{i}" for i in range(1, 6)]
    mini = Mini("cifar10", root, [f"cifar-10-batches-py/{file}" for file in (*batches, "test_batch", "batches.meta")])
    for part, files in (("train", batches), ("test", ["test_batch"])):
        mini.x[part] = rng.integers(0, 256, (SIZES[part], 3, 32, 32), dtype=np.uint8)
        mini.y[part] = np.arange(SIZES[part]) % 10
        for file, rows in zip(files, np.split(np.arange(SIZES[part]), len(files)), strict=True):
            entry = {"data": mini.x[part][rows].reshape(len(rows), -1), "labels": mini.y[part][rows].tolist()}
            (folder / file).write_bytes(python2(pickle.dumps(entry, protocol=2), entry))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class{i}" for i in range(10)]}))
    archive = root / DATASETS["cifar10"].archive.name
    with tarfile.open(archive, "w:gz") as tar:
        (folder / "readme.html").write_text("not for the reader")
        tar.add(folder, arcname=folder.name)
    (folder / "readme.html").unlink()
    row = replace(
        DATASETS["cifar10"],
        validation=20,
        files=mini.raw_files(),
        archive=RawFile(archive.name, mini.md5(archive.name)),
    )
    monkeypatch.setitem(DATASETS, "cifar10", row)
    return mini


@pytest.fixture
def mini(request: pytest.FixtureRequest) -> Mini:
    """The small dataset named by an indirect parameter."""
    return request.getfixturevalue(f"mini_{request.param}")


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"real MNIST and CIFAR-10 are not at {SHARED}")
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
