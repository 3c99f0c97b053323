"""The JSON schemas that editors read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from touchstone.study.config import read
from touchstone.study.written import SCHEMAS

FILES = {"config": ["config.yaml", "configs/*.yaml"], "study": ["studies/*/study.yaml"]}


def keys(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key that a schema names anywhere, with what is said of it."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {}).items()
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from keys(part)


@pytest.mark.parametrize("of", SCHEMAS)
def test_every_key_is_described(of: str) -> None:
    found = list(keys(SCHEMAS[of]()))
    assert len(found) > 30
    assert not [name for name, said in found if not said.get("description")]


@pytest.mark.parametrize("of", SCHEMAS)
def test_files_that_are_right_are_right_by_the_schema(of: str, root: Path) -> None:
    checker = jsonschema.Draft202012Validator(SCHEMAS[of]())
    files = [file for pattern in FILES[of] for file in root.glob(pattern)]
    assert len(files) >= 4
    for file in files:
        assert not list(checker.iter_errors(read(file)[0])), file


def test_an_unknown_key_is_wrong(root: Path) -> None:
    values = read(root / "config.yaml")[0] | {"stuio": 1}
    assert list(jsonschema.Draft202012Validator(SCHEMAS["config"]()).iter_errors(values))
