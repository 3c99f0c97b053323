import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass
class Mini:
    """A small dataset in torchvision's layout under `root`; its sums are patched into torchvision."""

    name: str
    root: Path
    files: list[str]
    x: dict[str, np.ndarray] = field(default_factory=dict)  # part -> uint8 (N, C, H, W)
    y: dict[str, np.ndarray] = field(default_factory=dict)

    def md5(self, file: str) -> str:
        return hashlib.md5((self.root / file).read_bytes()).hexdigest()
