"""Are raw files the published ones? Their md5 sums stand in the dataset's row."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from touchstone.registry import RawFile


def md5_of(path: Path) -> str:
    """Return the md5 sum of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def mismatch(expected: str, actual: str, path: Path) -> str:
    """Say which sum a file should have and which it has, its size, and whether a web page came in its place."""
    with path.open("rb") as file:
        page = ", perhaps an HTML page" if file.read(64).lstrip().startswith(b"<") else ""
    return f"expected md5 {expected}, got {actual} ({path.stat().st_size} bytes{page})"


def require_verified(files: Iterable[RawFile], raw_dir: Path) -> None:
    """Raise ValueError unless all these raw files are under `raw_dir`, each with its md5."""
    again = f"delete the folder {raw_dir} and run snakemake again (rule fetch)"
    for file in files:
        path = raw_dir / file.path
        if not path.is_file():
            raise ValueError(f"{path} is missing; {again}")
        if (actual := md5_of(path)) != file.md5:
            raise ValueError(f"{path}: {mismatch(file.md5, actual, path)}; {again}")
