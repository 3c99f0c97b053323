import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from touchstone.registry import RawFile


@dataclass
class Mini:
    """A small dataset laid out under `root` as the published one; its sums are patched into its row."""

    name: str
    root: Path
    files: list[str]
    x: dict[str, np.ndarray] = field(default_factory=dict)  # part -> uint8 (N, C, H, W)
    y: dict[str, np.ndarray] = field(default_factory=dict)

    def md5(self, file: str) -> str:
        return hashlib.md5((self.root / file).read_bytes()).hexdigest()

    def raw_files(self) -> tuple[RawFile, ...]:
        return tuple(RawFile(file, self.md5(file)) for file in self.files)
