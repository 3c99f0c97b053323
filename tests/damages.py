"""What may befall a file on its disk."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

Damage = Callable[[Path], object]


def flip_a_bit(file: Path) -> None:
    """As a disk does it: nobody has written, so the date stays."""
    date, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(date.st_atime_ns, date.st_mtime_ns))


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def make_unreadable(file: Path) -> None:
    """Also for root, whom no permission stops."""
    file.unlink()
    file.mkdir()


DAMAGES: tuple[Damage, ...] = (flip_a_bit, cut_off, empty, make_unreadable)


def another_s(others: Sequence[Path]) -> Damage:
    """Put in place of a file what another one of its kind holds."""

    def damage(file: Path) -> None:
        own = file.read_bytes()
        alike = (other for other in others if other.suffix == file.suffix and other.is_file())
        file.write_bytes(next((found for other in alike if (found := other.read_bytes()) != own), b"another's"))

    return damage


@contextmanager
def put_back(file: Path, aside: Path) -> Iterator[None]:
    """Afterwards a file is as it was, with its date."""
    shutil.copy2(file, aside)
    try:
        yield
    finally:
        if file.is_dir():
            file.rmdir()
        shutil.copy2(aside, file)
