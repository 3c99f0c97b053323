"""Finished attacks on one model, kept by what decides their rows.

They are no outputs of a job, so they outlive one that fails: a batch that runs again takes what is there. Of a long
worst case the blocks of images that it is done with are kept likewise, until it is whole. A part is used only while
both of its files have the sums that were written with it.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from torch import Tensor

from touchstone import records
from touchstone.cell import ModelId
from touchstone.evaluation.result import Result
from touchstone.files import DamagedError, alone, read_sealed, sum_of, verified, write_bytes, write_sealed
from touchstone.paths import PartFiles, Results
from touchstone.records import Attacked, Header, Preflight

log = logging.getLogger(__name__)

Examples = dict[str, Tensor]  # name -> points (k, *shape) in pixels, on the CPU; records.SAMPLE -> whose they are (k,)


@dataclass(frozen=True)
class Parts:
    """What is kept of finished attacks on one model."""

    results: Results
    model: ModelId

    def alone(self, key: str) -> AbstractContextManager[None]:
        """Let one process at a time make what is kept under a key; the others wait, and then find it."""
        return alone(self._files(key).lock)

    def load(self, key: str) -> tuple[Attacked, Examples] | None:
        """Return what was kept under a key, or None where nothing was, or where it was damaged; the log says so."""
        rows, examples, sums, _ = self._files(key)
        if not sums.exists():
            return None
        if not _whole(sums, rows, examples):
            log.warning("%s is not what was kept there: it is made again", rows)
            return None
        (attacked,) = records.read(rows).attacks
        return attacked, safetensors.torch.load_file(examples)

    def keep(self, key: str, attacked: Attacked, examples: Examples) -> None:
        """Keep an attack under a key; its sums are written last, so that half a part is none."""
        rows, file, sums, _ = self._files(key)
        records.write(rows, [attacked])
        write_bytes(file, to_bytes(examples))
        write_sealed(sums, {"attack": attacked.header.attack, **_sums(rows, file)})

    def load_preflight(self, key: str) -> Preflight | None:
        """Return the preflight that was kept under a key."""
        files = self._files(key)
        return records.read(files.records).preflights[0] if _whole(files.sums, files.records) else None

    def keep_preflight(self, key: str, preflight: Preflight) -> None:
        """Keep a preflight under a key."""
        files = self._files(key)
        records.write(files.records, [], [preflight])
        write_sealed(files.sums, {"preflight": preflight.threat.norm, **_sums(files.records)})

    def _files(self, key: str) -> PartFiles:
        return self.results.part(self.model, key)


@dataclass(frozen=True)
class Blocks:
    """The blocks of images that a worst case is done with, until it is whole: a `touchstone.evaluation.result.Shelf`.

    Attributes:
        parts: of the model.
        key: what the whole is kept under.
        header: what stands over some rows; called with the number of samples and what was found.
    """

    parts: Parts
    key: str
    header: Callable[[int, Result], Header]

    def load(self, block: int) -> Result | None:
        """Return what was kept of a block; None where nothing was, or where it was damaged."""
        kept = self.parts.load(self._key(block))
        if kept is None:
            return None
        attacked, examples = kept
        log.info("%s: block %d of images is there already", attacked.header.attack, block + 1)
        return Result(attacked.frame, examples, attacked.header.flags)

    def keep(self, block: int, found: Result) -> None:
        """Keep what was found on a block."""
        header = self.header(found.records["sample"].nunique(), found)
        self.parts.keep(self._key(block), Attacked(header, found.records), found.examples)

    def clear(self) -> None:
        """Remove all blocks: the whole is kept."""
        for path in self.parts.results.kept(self.parts.model, self._key("*")):
            path.unlink(missing_ok=True)  # another process may do the same

    def _key(self, block: int | str) -> str:
        return f"{self.key}-{block}"


def to_bytes(examples: Examples) -> bytes:
    """Return the content of a safetensors file."""
    return safetensors.torch.save({name: points.cpu().contiguous() for name, points in examples.items()})


def _sums(*files: Path) -> dict[str, str]:
    return {path.name: sum_of(path.read_bytes()) for path in files}


def _whole(sums: Path, *files: Path) -> bool:
    """Say whether files are there with the sums that were written with them."""
    try:
        wanted = read_sealed(sums, "attack")
        for path in files:
            verified(path, wanted[path.name], "attack")
    except DamagedError:  # the caller says what follows
        return False
    return True
