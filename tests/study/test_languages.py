"""The language of a study and of a config: every key is described, and mentioned where people look it up."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import BaseModel, TypeAdapter

from touchstone.study import claims, figures, statements
from touchstone.study.config import Config
from touchstone.study.scale import METRICS, UNITS
from touchstone.study.schema import Study
from touchstone.study.suites import SuitesFile


def models(kind: Any) -> Iterator[type[BaseModel]]:
    """Every model that a type is made of, itself first."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from models(field.annotation)
    for part in get_args(kind)[: 1 if get_origin(kind) is Annotated else None]:
        yield from models(part)


def keys(*roots: type[BaseModel]) -> set[str]:
    return {name for root in roots for model in models(root) for name in model.model_fields} - {"root"}


def words(path: Path) -> set[str]:
    """What stands in code marks, and the words of it."""
    marked = re.findall(r"`([^`]+)`", path.read_text())
    return {word for text in marked for word in (text, *re.findall(r"[\w+-]+", text))}


def test_the_walk_reaches_what_is_deep_inside() -> None:
    assert {"betas", "resized_crop", "substitute", "std", "near_zero", "source_table", "adaptive"} <= keys(Study)
    assert {"mirror", "binary_steps", "minutes"} <= keys(Config)


@pytest.mark.parametrize("root", [Study, SuitesFile, Config])
def test_every_key_is_described(root: type[BaseModel]) -> None:
    bare = [
        f"{model.__name__}.{name}"
        for model in models(root)
        for name, field in model.model_fields.items()
        if not field.description and name != "root"
    ]
    assert bare == []


@pytest.mark.parametrize("root", [Study, SuitesFile, Config])
def test_a_json_schema_can_be_made(root: type[BaseModel]) -> None:
    schema = TypeAdapter(root).json_schema()
    texts = [one for part in schema["$defs"].values() for one in part.get("properties", {}).values()]
    assert texts
    assert all("description" in one for one in texts)


@pytest.mark.parametrize(
    ("readme", "wanted"),
    [
        ("studies", keys(Study, SuitesFile)),
        ("studies", {*claims.COLUMNS, *claims.OPTIONAL}),
        ("studies", {*statements.COLUMNS, *statements.OPTIONAL, *statements.TESTS}),
        ("studies", set(figures.COLUMNS)),
        ("configs", keys(Config)),
    ],
    ids=["study.yaml", "claims.csv", "qualitative.csv", "figures.csv", "config"],
)
def test_every_key_is_in_the_readme(root: Path, readme: str, wanted: set[str]) -> None:
    assert wanted - words(root / readme / "README.md") == set()


def test_values_that_have_names_are_in_the_readme(root: Path) -> None:
    text = (root / "studies" / "README.md").read_text()
    for name in (
        *(*METRICS, *claims.NORMS, *claims.EPSILON_UNITS),
        *(*UNITS, *claims.CERTAINTY, *statements.OF_WEIGHTS),
    ):
        assert re.search(rf"\b{name}\b", text), name
