"""Get the raw files of a dataset, verified, from where the config says they are.

Which files those are, and where they are published, stands in the dataset's row. A file reaches `raw_dir` by a
rename, after its sum has matched.
"""

import gzip
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from touchstone.data import dataset_spec
from touchstone.data.verify import sum_problem
from touchstone.files import beside, half_written
from touchstone.registry import DatasetSpec, RawFile

PAUSES = (2.0, 8.0, 30.0)  # seconds before each of the retries
TIMEOUT = 60.0  # seconds that a server may stay silent, and after each of which it must have been fast enough
SLOWEST = 10_000  # bytes per second; CIFAR-10 takes five hours then
CHUNK = 1 << 20  # bytes
STAGING = ".download-"  # begins the name of a folder that an archive is downloaded to
PASSING_CLIENT_ERRORS = (408, 429)  # request timeout, too many requests

Log = Callable[[str], object]
Files = Sequence[RawFile]


class FetchError(RuntimeError):
    """The raw data could not be had; the message says which file, from where and what to do."""


class TransientError(FetchError):
    """A failure that may pass: the same request is worth another try."""


def fetch(name: str, source: str | Mapping[str, str], raw_dir: str | Path, *, log: Log) -> None:
    """Make the raw files of a dataset present and verified under `raw_dir`, at the paths that its row gives them.

    Files that are there with the right sum stay; files with another one are deleted and fetched again. One process at a
    time: what another one has half written is removed.

    Args:
        name: a name in DATASETS.
        source: "embedded" (no files), "download" (from the mirrors of the row), {"mirror": URL} or {"local": DIR};
            the last two hold the files at their paths; DIR may hold what is in a gzip file instead, unpacked beside it.
        raw_dir: where the files go, for example data/raw/mnist.
        log: called with one line of text per event.

    Raises:
        ValueError: unknown dataset or source, or a source that this dataset does not have.
        FetchError: a file could not be had or has another sum, after the retries.
    """
    files = dataset_spec(name).files
    kind, place = parse_source(name, source)
    raw_dir = Path(raw_dir)
    raw_dir.mkdir(parents=True, exist_ok=True)
    _clear(raw_dir)
    if kind == "local":
        _refuse_overlap(Path(place).expanduser(), raw_dir, files)
    missing = [file for file in files if not _is_verified(raw_dir / file.path, file, log)]
    if missing:
        FETCHERS[kind](name, place, missing, raw_dir, log)
    log(f"{name}: {len(files)} raw files verified in {raw_dir}, {len(missing)} of them fetched now")


def parse_source(name: str, source: str | Mapping[str, str]) -> tuple[str, str]:
    """Split a source into kind and place ("" if it needs none).

    Raises:
        ValueError: the dataset has no such source.
    """
    kind, place = next(iter(source.items())) if isinstance(source, Mapping) and len(source) == 1 else (source, "")
    placed = _placed(dataset_spec(name))
    if not isinstance(kind, str) or not isinstance(place, str) or placed.get(kind) != bool(place):
        allowed = ", ".join(SPELLING[known] for known in placed)
        raise ValueError(f"dataset {name!r} has no source {source!r}; allowed: {allowed}")
    if kind == "mirror" and not place.startswith(("http://", "https://")):
        raise ValueError(f"the mirror of dataset {name!r} must be an http(s) URL, got {place!r}")
    return kind, place


def _placed(spec: DatasetSpec) -> dict[str, bool]:
    """Return the kinds of source that a dataset has, and whether each names a place."""
    if spec.embedded:
        return {"embedded": False}
    published = {"download": False} if spec.mirrors else {}
    return published | {"mirror": True, "local": True}


def _fetch_local(name: str, place: str, files: Files, raw_dir: Path, log: Log) -> None:
    """Copy from a directory; its files are only read. What is there unpacked only is packed again."""
    directory = Path(place).expanduser()
    forms = {file: file.form_in(directory) for file in files}
    absent = [str(directory / file.path) for file, form in forms.items() if form is None]
    if absent:
        what = f"no file {', '.join(absent)}" if directory.is_dir() else f"no directory {directory}"
        raise FetchError(f"{what}{_above(directory, forms)}; {_advice(name)}")
    for file, form in forms.items():
        origin = directory / form.path
        if problem := sum_problem(origin, form):
            raise FetchError(f"{origin}: {problem}; put the published file there")
        with origin.open("rb") as stream:
            _store(stream, raw_dir / file.path, file, str(origin), pack=form != file)
        log(f"{name}: copied {origin}")


def _above(directory: Path, files: Iterable[RawFile]) -> str:
    """Say that a folder above is meant, where the files lie in it; "" if they do not."""
    for above in directory.resolve().parents:
        if all(file.form_in(above) for file in files):
            return f" (the files are below {above}: name that)"
    return ""


def _fetch_mirror(name: str, place: str, files: Files, raw_dir: Path, log: Log) -> None:
    """Download file by file from a copy of the raw folder."""
    for file in files:
        _download(name, [f"{place.rstrip('/')}/{quote(file.path)}"], raw_dir / file.path, file, log)


def _fetch_published(name: str, _place: str, files: Files, raw_dir: Path, log: Log) -> None:
    """Download from the row's mirrors: the archive where there is one, else file by file."""
    spec = dataset_spec(name)
    if spec.archive is None:
        for file in files:
            _download(name, _addresses(spec, file), raw_dir / file.path, file, log)
        return
    with tempfile.TemporaryDirectory(prefix=STAGING, dir=raw_dir) as staging:
        archive = Path(staging) / spec.archive.name
        _download(name, _addresses(spec, spec.archive), archive, spec.archive, log)
        _unpack(name, archive, files, raw_dir, log)


FETCHERS: dict[str, Callable[[str, str, Files, Path, Log], None]] = {
    "download": _fetch_published,
    "mirror": _fetch_mirror,
    "local": _fetch_local,
}
SPELLING = {
    "embedded": "embedded",
    "download": "download",
    "mirror": "{mirror: URL}",
    "local": "{local: DIR}",
}


def _addresses(spec: DatasetSpec, file: RawFile) -> list[str]:
    return [mirror + quote(file.name) for mirror in spec.mirrors]


def _download(name: str, urls: Sequence[str], target: Path, file: RawFile, log: Log) -> None:
    """Download a file from the first address that gives it; after a failure that may pass, ask all of them again."""
    for pause in PAUSES:
        try:
            return _first_of(name, urls, target, file, log)
        except TransientError as error:
            log(f"{error}; trying again in {pause:g} s")
        time.sleep(pause)
    return _first_of(name, urls, target, file, log)


def _first_of(name: str, urls: Sequence[str], target: Path, file: RawFile, log: Log) -> None:
    failures: list[FetchError] = []
    for url in urls:
        if failures:
            log(f"{failures[-1]}; trying {url}")
        try:
            _get(url, target, file)
        except FetchError as error:
            failures.append(error)
        else:
            log(f"{name}: downloaded {url}")
            return
    kind = TransientError if any(isinstance(failure, TransientError) for failure in failures) else FetchError
    raise kind("; ".join([*map(str, failures), _advice(name)])) from failures[-1]


def _get(url: str, target: Path, file: RawFile) -> None:
    request = Request(url, headers={"User-Agent": "touchstone"})
    try:
        with urlopen(request, timeout=TIMEOUT) as response:
            _store(_Steady(response), target, file, url)
    except FetchError as error:  # damaged on its way, perhaps
        raise TransientError(str(error)) from error
    except HTTPError as error:
        error.close()
        # What the client did wrong (404 not found, 403 forbidden) stays wrong; the server's faults may pass.
        stays = 400 <= error.code < 500 and error.code not in PASSING_CLIENT_ERRORS
        kind = FetchError if stays else TransientError
        reason, *_ = str(error.reason).splitlines() or [""]  # of a redirection in a circle it has several lines
        raise kind(f"{url} answered {error.code} {reason}") from error
    except (OSError, HTTPException) as error:
        raise TransientError(f"cannot fetch {url}: {error}") from error


class _Steady:
    """What a server sends, as long as it comes fast enough, and until all that was announced is there."""

    def __init__(self, response: HTTPResponse) -> None:
        self._response = response
        self._came, self._since = 0, time.monotonic()  # bytes, and from when they are counted

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end.

        Raises:
            TimeoutError: if fewer than SLOWEST bytes came per second.
            IncompleteRead: if the server ended too early.
        """
        content = self._response.read1(size)
        if not content and self._response.length:
            raise IncompleteRead(content, self._response.length)
        self._came += len(content)
        if (seconds := time.monotonic() - self._since) > TIMEOUT:
            if self._came < SLOWEST * seconds:
                raise TimeoutError(f"{self._came} bytes in {seconds:.0f} s are too few")
            self._came, self._since = 0, time.monotonic()
        return content


def _unpack(name: str, archive: Path, files: Files, raw_dir: Path, log: Log) -> None:
    """Take files out of a verified tar archive: nothing else in it is written anywhere."""
    wanted = {file.path: file for file in files}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:  # in the archive's order: to go back is to decompress it again
                # a link would be followed, which may lead nowhere
                if member.name in wanted and member.isreg() and (stream := tar.extractfile(member)) is not None:
                    origin = f"{member.name} in {archive.name}"
                    _store(stream, raw_dir / member.name, wanted.pop(member.name), origin)
                    log(f"{name}: unpacked {member.name}")
    except tarfile.TarError as error:
        raise FetchError(f"{name}: {archive.name} is no tar archive: {error}") from error
    if wanted:
        raise FetchError(f"{name}: {archive.name} does not hold {', '.join(wanted)}; {_advice(name)}")


def _store(stream: IO[bytes] | _Steady, target: Path, file: RawFile, origin: str, *, pack: bool = False) -> None:
    """Write a stream, packed if asked, beside `target` and rename it if its sum is right; else delete it and raise."""
    with beside(target) as copy:
        with gzip.open(copy, "wb", compresslevel=1) if pack else copy.open("wb") as out:
            shutil.copyfileobj(stream, out, CHUNK)
        if problem := sum_problem(copy, file):
            raise FetchError(f"{origin}: {problem}")


def _clear(raw_dir: Path) -> None:
    """Remove what a fetch left that was killed."""
    for copy in half_written(raw_dir):
        copy.unlink()
    for staging in raw_dir.glob(f"{STAGING}*"):
        shutil.rmtree(staging)


def _is_verified(path: Path, file: RawFile, log: Log) -> bool:
    """Say whether a raw file is there with its sum; delete it if it is there with another."""
    if not path.is_file():
        return False
    if problem := sum_problem(path, file):
        log(f"{path}: {problem}; deleted, to be fetched again")
        path.unlink()
    return not problem


def _refuse_overlap(directory: Path, raw_dir: Path, files: Files) -> None:
    """Raise if our copies would lie among the user's files, where a bad copy would be deleted."""
    for file in files:
        if (directory / file.path).parent.resolve() == (raw_dir / file.path).parent.resolve():
            raise ValueError(f"the local source {directory} and {raw_dir} are one place; name another directory")


def _advice(name: str) -> str:
    first = dataset_spec(name).files[0].path
    return f"to use files on disk set `data: {{{name}: {{source: {{local: DIR}}}}}}`, with DIR/{first}"
