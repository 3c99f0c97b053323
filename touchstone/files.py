"""Files that are written whole or not at all."""

import io
import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, content: Any) -> None:
    """Write JSON beside the target and rename it, so that a reader never meets half a file."""
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes beside the target and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_yaml(path: str | Path, content: Any) -> None:
    """Write YAML whole or not at all; keys stay in their order."""
    from ruamel.yaml import YAML  # whoever trains or attacks without a pipeline has no need of it

    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None  # short lists and mappings on one line
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 110
    yaml.dump(content, text)
    write_bytes(Path(path), text.getvalue().encode())
