"""Are raw files the published ones? Their md5 sums stand in the dataset's row.

A gzip file whose contents are the published ones will do: another program, or another level, has packed it.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path

from touchstone.files import came_instead
from touchstone.registry import RawFile


def md5_of(path: Path) -> str:
    """Return the md5 sum of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def contents_md5(path: Path) -> str:
    """Return the md5 sum of what a gzip file holds; "" where it is no whole gzip file, which has no such sum."""
    try:
        with gzip.open(path) as stream:
            return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error):
        return ""


def sum_problem(path: Path, file: RawFile) -> str:
    """Return "" if a file on disk is the published one, or holds what it holds; else what is wrong with its sum."""
    actual = md5_of(path)
    if actual == file.md5 or (file.contents and contents_md5(path) == file.contents):
        return ""
    return mismatch(file.md5, actual, path)


def mismatch(expected: str, actual: str, path: Path) -> str:
    """Say which sum a file should have and which it has, its size, and what came in its place."""
    other = came_instead(path)
    perhaps = f", perhaps {other}" if other else ""
    return f"expected md5 {expected}, got {actual} ({path.stat().st_size} bytes{perhaps})"


def require_verified(files: Iterable[RawFile], raw_dir: Path) -> None:
    """Raise ValueError unless all these raw files are under `raw_dir`, each with its sum."""
    again = f"delete the folder {raw_dir} and run snakemake again (rule fetch)"
    for file in files:
        path = raw_dir / file.path
        if not path.is_file():
            raise ValueError(f"{path} is missing; {again}")
        if problem := sum_problem(path, file):
            raise ValueError(f"{path}: {problem}; {again}")
