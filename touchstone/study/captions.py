"""captions.yaml: what the work claims, and a caption for each figure of the report."""

from pathlib import Path
from typing import Any

from touchstone.study.config import Lines, read


def captions(path: Path) -> tuple[dict[Any, Any], Lines]:
    """Return what captions.yaml says, as it is written, and where; nothing if it is not there or has no key.

    Raises:
        ConfigError: if the file is not YAML, repeats a key, or is not a mapping.
    """
    if not path.exists():
        return {}, Lines(path)
    return read(path, may_be_empty=True)
