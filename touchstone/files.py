"""Files that are written whole or not at all, and read only as they were written.

Whoever makes a file leaves its sum: a JSON file holds its own (`write_sealed`), and it holds those of what was written
with it. Whoever reads one asks `read_sealed` or `verified`, whose errors name the file and the rule that makes it.
"""

import codecs
import errno
import hashlib
import io
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, get_args

# what makes a file
Rule = Literal["fetch", "prepare", "select", "sensitivity", "train", "attack", "features", "pages", "answers",
               "tables", "figures", "resolved_config", "claims", "study_report", "summary_report"]  # fmt: skip
RULES: tuple[Rule, ...] = get_args(Rule)
Maker = Rule | Literal["all"]  # `all` leaves what is known of a run as a whole
OWN_SUM = "own_sha256"  # key of a sealed JSON file: of everything else in it
# what a text begins with that is no file of numbers -> what it is
_INSTEAD = {
    b"<?xml": "an XML text, as a server's refusal is, and not the file: download the file itself",
    b"<": "an HTML page, and not the file: download the file itself",
    b"version https://git-lfs": "a Git LFS pointer, and not the file: run `git lfs pull`, or download the file itself",
}
_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
_ASIDE = re.compile(r"\..+\.\d+")  # as `beside` names it


class DamagedError(ValueError):
    """A file is not there, or not what its maker wrote; says which, why, and how it is made again.

    `folder` is what has to be deleted, where its maker makes it with others.
    """

    def __init__(self, path: Path, rule: Maker, why: object, folder: Path | None = None) -> None:
        gone = f"the folder {folder}" if folder else "it"
        super().__init__(f"{path} cannot be used: {why}; delete {gone} and run snakemake again (rule {rule})")


class BusyError(RuntimeError):
    """Another process works where this one would; says which, if that is known."""


class RunError(ValueError):
    """A folder holds no finished run, or records of which nobody knows whether they belong to it."""


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with its own sum, for `read_sealed`."""
    write_json(path, {**content, OWN_SUM: _own_sum(content)})


def read_sealed(path: Path, rule: Maker) -> dict[str, Any]:
    """Return the object that `write_sealed` was given, as JSON has it.

    Args:
        path: of the file.
        rule: that makes it, for the message.

    Raises:
        DamagedError: if the file is missing, cut off, or was changed.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:  # ValueError: no JSON, or no UTF-8
        raise DamagedError(path, rule, error) from error
    if not isinstance(content, dict) or OWN_SUM not in content:
        raise DamagedError(path, rule, f"expected a JSON object with {OWN_SUM}")
    wanted = content.pop(OWN_SUM)
    if wanted != (found := _own_sum(content)):
        raise DamagedError(path, rule, f"expected the sha256 {wanted} of its own content, got {found}")
    return content


def verified(path: Path, sha256: str, rule: Rule) -> Path:
    """Return the path of a file that is as its maker left it.

    Args:
        path: of the file.
        sha256: that its maker wrote down.
        rule: that makes it, for the message.

    Raises:
        DamagedError: if the file is missing or has another sum.
    """
    try:
        found = sum_of_file(path)
    except OSError as error:
        raise DamagedError(path, rule, error) from error
    if found != sha256:
        raise DamagedError(path, rule, f"expected sha256 {sha256}, got {found}")
    return path


def sum_of(content: bytes) -> str:
    """Return the sha256 of what is to be written, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sum_of_file(path: Path) -> str:
    """Return the sha256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def came_instead(path: Path) -> str:
    """Say what a text is that came in the place of a file of numbers, by its first bytes; "" if it is none known."""
    with path.open("rb") as file:
        start = file.read(64)
    text = (
        start.removeprefix(codecs.BOM_UTF8).lstrip() if b"\0" not in start else b""
    )  # as in the length of safetensors
    return next((what for head, what in _INSTEAD.items() if text.startswith(head)), "")


def sum_of_folder(home: Path) -> str:
    """Return the sha256 of the lines "<sha256 of a file>  <its path below the folder>", in the order of their bytes."""
    return sum_of_files(home, (path for path in home.rglob("*") if path.is_file()))


def sum_of_files(home: Path, files: Iterable[Path]) -> str:
    """Return what `sum_of_folder` would if these were all files of the folder."""
    paths = sorted(files, key=lambda p: p.relative_to(home).as_posix().encode())
    lines = "".join(f"{sum_of_file(path)}  {path.relative_to(home).as_posix()}\n" for path in paths)
    return sum_of(lines.encode())


def _own_sum(content: Mapping[str, Any]) -> str:
    as_read = json.loads(json.dumps(content))  # keys become text, tuples lists
    return sum_of(json.dumps(as_read, sort_keys=True).encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON beside the target and rename it, so that a reader never meets half a file."""
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes beside the target and rename."""
    with beside(path) as aside:
        aside.write_bytes(content)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Give a place beside a file to write to; what is written there becomes the file if nothing is raised.

    Whatever is raised names the file: of a full disk neither Python nor a library says what was written to it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield aside
        os.replace(aside, path)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_DISKS:
            error.filename = error.filename or str(path)
        error.add_note(f"while {path} was written")
        raise
    finally:
        aside.unlink(missing_ok=True)


def half_written(place: Path) -> list[Path]:
    """Return what processes that were killed have left of a file, or of those in a folder and below.

    Nobody may write there meanwhile: what is half written may be at work.
    """
    hidden = place.rglob(".*") if place.is_dir() else place.parent.glob(f".{place.name}.*")
    return sorted(path for path in hidden if _ASIDE.fullmatch(path.name))


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let one process at a time work where this file lies: the others wait for it.

    A process that ends, however it ends, lets go. The file stays: whoever removed it could leave two processes each
    with a lock of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:  # closing it lets go
        _lock(file, wait=True)
        yield


def hold(path: Path) -> IO[str]:
    """Take what one process at a time may hold, until the file that is returned is closed or this process ends.

    The file stays, as that of `alone`; it says who has held it last.

    Raises:
        BusyError: if another process holds it.
        OSError: if it cannot be written, or not be locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        _lock(file, wait=False)
    except BlockingIOError:
        with file:
            file.seek(0)
            raise BusyError(file.read().strip() or "another process") from None
    except OSError:
        file.close()
        raise
    file.truncate(0)
    print(f"process {os.getpid()} on {socket.gethostname()}", file=file, flush=True)
    return file


def _lock(file: IO[str], *, wait: bool) -> None:
    import fcntl  # a Unix has it; the rest of this module works anywhere

    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        why = "this file system locks no files (flock), so jobs could spoil each other's: docs/cluster.md"
        raise OSError(error.errno, why, file.name) from error


def write_yaml(path: str | Path, content: Any) -> None:
    """Write YAML whole or not at all."""
    write_bytes(Path(path), yaml_text(content).encode())


def yaml_text(content: Any) -> str:
    """Return YAML; keys stay in their order, and those of the whole each on a line of its own."""
    from ruamel.yaml import YAML  # whoever trains or attacks without a pipeline has no need of it

    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    flat = isinstance(content, dict) and not any(isinstance(value, dict | list) for value in content.values())
    yaml.default_flow_style = False if flat else None  # short lists and mappings within it on one line
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 110
    yaml.dump(content, text)
    return text.getvalue()
