"""Get the raw files of a dataset, verified, from where the config says they are.

Names and md5 sums are torchvision's own. A file reaches `raw_dir` by a rename, after its md5 has matched.
"""

import hashlib
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from torchvision.datasets import CIFAR10, MNIST
from torchvision.datasets.utils import calculate_md5

from touchstone import registry

PAUSES = (2.0, 8.0, 30.0)  # seconds before each of the retries
TIMEOUT = 60.0  # seconds that a server may stay silent
CHUNK = 1 << 20  # bytes
PASSING_CLIENT_ERRORS = (408, 429)  # request timeout, too many requests

Log = Callable[[str], Any]
Files = Mapping[str, str]


class FetchError(RuntimeError):
    """The raw data could not be had; the message says which file, from where and what to do."""


class TransientError(FetchError):
    """A failure that may pass: the same request is worth another try."""


def _mnist_files() -> dict[str, str]:
    return {f"MNIST/raw/{file}": md5 for file, md5 in MNIST.resources}


def _mnist_archives() -> dict[str, tuple[str, list[str]]]:
    return {
        f"MNIST/raw/{file}": (md5, [f"{mirror}{file}" for mirror in MNIST.mirrors]) for file, md5 in MNIST.resources
    }


def _cifar10_files() -> dict[str, str]:
    meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
    return {f"{CIFAR10.base_folder}/{file}": md5 for file, md5 in (*CIFAR10.train_list, *CIFAR10.test_list, meta)}


def _cifar10_archives() -> dict[str, tuple[str, list[str]]]:
    return {CIFAR10.filename: (CIFAR10.tgz_md5, [CIFAR10.url])}


# The files that readers need: relative path -> md5. Functions: torchvision's attributes stay the one source.
RAW_FILES: dict[str, Callable[[], dict[str, str]]] = {
    "digits": dict,
    "digits-rgb": dict,
    "mnist": _mnist_files,
    "cifar10": _cifar10_files,
}
TORCHVISION = {"mnist": MNIST, "cifar10": CIFAR10}
# The files that torchvision downloads: relative path -> (md5, the addresses it tries).
ARCHIVES = {"mnist": _mnist_archives, "cifar10": _cifar10_archives}


def raw_files(name: str) -> dict[str, str]:
    """Return the raw files of a dataset, relative path -> md5; empty for the embedded digits."""
    if name not in RAW_FILES:
        raise ValueError(f"unknown dataset {name!r}; {registry.nearest(name, RAW_FILES)}")
    return RAW_FILES[name]()


def fetch(name: str, source: str | Mapping[str, str], raw_dir: str | Path, *, log: Log) -> None:
    """Make the raw files of a dataset present and verified under `raw_dir`, in torchvision's layout.

    Files that are there with the right md5 stay; files with another md5 are deleted and fetched again.

    Args:
        name: a name in DATASETS.
        source: "embedded" (the digits), "download" (torchvision's addresses), {"mirror": URL} or
            {"local": DIR}; the last two hold the files of `raw_files` at their relative paths.
        raw_dir: where the files go, for example data/raw/mnist.
        log: called with one line of text per event.

    Raises:
        ValueError: unknown dataset or source, or a source that this dataset does not have.
        FetchError: a file could not be had or has another md5, after the retries.
    """
    files = raw_files(name)
    kind, place = parse_source(name, source)
    raw_dir = Path(raw_dir)
    raw_dir.mkdir(parents=True, exist_ok=True)
    if kind == "local":
        _refuse_overlap(Path(place).expanduser(), raw_dir, files)
    missing = {file: md5 for file, md5 in files.items() if not _is_verified(raw_dir / file, md5, log)}
    if missing:
        FETCHERS[kind](name, place, missing, raw_dir, log)
    log(f"{name}: {len(files)} raw files verified in {raw_dir}, {len(missing)} of them fetched now")


def parse_source(name: str, source: str | Mapping[str, str]) -> tuple[str, str]:
    """Split a source into kind and place ("" if it needs none).

    Raises:
        ValueError: the dataset has no such source.
    """
    is_pair = isinstance(source, Mapping) and len(source) == 1
    kind, place = next(iter(source.items())) if is_pair else (source, "")
    placed = {"download": False, "mirror": True, "local": True} if raw_files(name) else {"embedded": False}
    is_text = isinstance(kind, str) and isinstance(place, str)
    if not is_text or placed.get(kind) != bool(place):
        allowed = ", ".join(SPELLING[known] for known in placed)
        raise ValueError(f"dataset {name!r} has no source {source!r}; allowed: {allowed}")
    if kind == "mirror" and not place.startswith(("http://", "https://")):
        raise ValueError(f"the mirror of dataset {name!r} must be an http(s) URL, got {place!r}")
    return kind, place


def require_verified(name: str, raw_dir: str | Path) -> None:
    """Raise ValueError unless every raw file is under `raw_dir` with its md5."""
    again = f"delete the folder {raw_dir} and run snakemake again (rule fetch)"
    for relative, md5 in raw_files(name).items():
        path = Path(raw_dir) / relative
        if not path.is_file():
            raise ValueError(f"{path} is missing; {again}")
        if (actual := calculate_md5(path)) != md5:
            what = _mismatch(md5, actual, path)
            raise ValueError(f"{path}: {what}; {again}")


def _fetch_local(name: str, place: str, files: Files, raw_dir: Path, log: Log) -> None:
    """Copy from a directory; its files are only read."""
    directory = Path(place).expanduser()
    absent = [str(directory / file) for file in files if not (directory / file).is_file()]
    if absent:
        what = f"no file {', '.join(absent)}" if directory.is_dir() else f"no directory {directory}"
        raise FetchError(f"{what}; {_advice(name)}")
    for relative, md5 in files.items():
        origin = directory / relative
        with origin.open("rb") as stream:
            _store(stream, raw_dir / relative, md5, origin=str(origin), advice="put the published file there")
        log(f"{name}: copied {origin}")


def _fetch_mirror(name: str, place: str, files: Files, raw_dir: Path, log: Log) -> None:
    """Download file by file over plain HTTP."""
    for relative, md5 in files.items():
        url = f"{place.rstrip('/')}/{quote(relative)}"
        _retry(partial(_download, url, raw_dir / relative, md5, _advice(name)), log)
        log(f"{name}: downloaded {url}")


def _fetch_torchvision(name: str, _place: str, files: Files, raw_dir: Path, log: Log) -> None:
    """Let torchvision download into a staging folder: it leaves bad and partial files where it works."""
    with tempfile.TemporaryDirectory(prefix=".download-", dir=raw_dir) as staging:
        _retry(partial(_download_torchvision, name, Path(staging)), log)
        for relative in files:
            (raw_dir / relative).parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(staging) / relative, raw_dir / relative)
            log(f"{name}: downloaded {relative} with torchvision")


FETCHERS: dict[str, Callable[[str, str, Files, Path, Log], None]] = {
    "download": _fetch_torchvision,
    "mirror": _fetch_mirror,
    "local": _fetch_local,
}
SPELLING = {
    "embedded": "embedded",
    "download": "download",
    "mirror": "{mirror: URL}",
    "local": "{local: DIR}",
}


def _download(url: str, target: Path, md5: str, advice: str) -> None:
    request = Request(url, headers={"User-Agent": "touchstone"})
    try:
        with urlopen(request, timeout=TIMEOUT) as stream:
            _store(stream, target, md5, origin=url, advice=advice)
    except HTTPError as error:
        error.close()
        # What the client did wrong (404 not found, 403 forbidden) stays wrong; the server's faults may pass.
        stays = 400 <= error.code < 500 and error.code not in PASSING_CLIENT_ERRORS
        kind = FetchError if stays else TransientError
        raise kind(f"{url} answered {error.code} {error.reason}; {advice}") from error
    except (OSError, HTTPException) as error:
        raise TransientError(f"cannot fetch {url}: {error}; {advice}") from error


def _download_torchvision(name: str, staging: Path) -> None:
    archives = ARCHIVES[name]()
    try:
        with _socket_timeout(TIMEOUT):
            TORCHVISION[name](staging, download=True)
    except (RuntimeError, OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()
        bad = []
        for relative, (md5, urls) in archives.items():
            path = staging / relative
            if path.is_file() and (actual := calculate_md5(path)) != md5:
                bad.append(f"{' or '.join(urls)}: {_mismatch(md5, actual, path)}")
                path.unlink()
        # torchvision takes them in order: the first that is not there is the one it could not get.
        absent = [" or ".join(urls) for relative, (_, urls) in archives.items() if not (staging / relative).exists()]
        what = "; ".join(bad) or f"cannot fetch {absent[0] if absent else name}"
        said = " ".join(str(error).split())
        raise TransientError(f"{what}; torchvision says: {said}; {_advice(name)}") from error


def _store(stream: BinaryIO, target: Path, md5: str, *, origin: str, advice: str) -> None:
    """Write a stream beside `target` and rename it if its md5 is right; else delete our copy and raise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    copy = target.with_name(f".{target.name}.{os.getpid()}.part")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with copy.open("wb") as file:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != md5:
            what = _mismatch(md5, digest.hexdigest(), copy)
            raise TransientError(f"{origin}: {what}; {advice}")
        os.replace(copy, target)
    finally:
        copy.unlink(missing_ok=True)


def _mismatch(expected: str, actual: str, path: Path) -> str:
    with path.open("rb") as file:
        page = ", perhaps an HTML page" if file.read(64).lstrip().startswith(b"<") else ""
    return f"expected md5 {expected}, got {actual} ({path.stat().st_size} bytes{page})"


def _is_verified(path: Path, md5: str, log: Log) -> bool:
    """Say whether a raw file is there with its md5; delete it if it is there with another."""
    if not path.is_file():
        return False
    actual = calculate_md5(path)
    if actual != md5:
        log(f"{path}: {_mismatch(md5, actual, path)}; deleted, to be fetched again")
        path.unlink()
    return actual == md5


def _refuse_overlap(directory: Path, raw_dir: Path, files: Files) -> None:
    """Raise if our copies would lie among the user's files, where a bad copy would be deleted."""
    for relative in files:
        if (directory / relative).parent.resolve() == (raw_dir / relative).parent.resolve():
            raise ValueError(f"the local source {directory} and {raw_dir} are one place; name another directory")


def _retry(action: Callable[[], None], log: Log) -> None:
    for pause in PAUSES:
        try:
            return action()
        except TransientError as error:
            log(f"{error}; trying again in {pause:g} s")
        time.sleep(pause)
    return action()


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Set the timeout of new sockets: torchvision passes none, so a silent server would hang the job."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _advice(name: str) -> str:
    first = next(iter(raw_files(name)))
    return f"to use files on disk set `data: {{{name}: {{source: {{local: DIR}}}}}}`, with DIR/{first}"
