"""Files are whole or not there."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from touchstone import files


def test_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    files.write_json(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_yaml_keeps_values_and_order(tmp_path: Path) -> None:
    content = {"z": [1, 2], "a": {"x": 0.001, "none": None, "text": "yes"}}
    files.write_yaml(tmp_path / "a.yaml", content)
    read = YAML(typ="safe").load((tmp_path / "a.yaml").read_text())
    assert read == content
    assert list(read) == ["z", "a"]
