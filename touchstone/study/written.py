"""The JSON schemas of config and study, in the form in which the files are written."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, Field

from touchstone.study.config import Config, Slug
from touchstone.study.schema import Recipe, Study, TrainingDef

DIALECT = "https://json-schema.org/draft/2020-12/schema"  # what pydantic writes


class LikeDef(TrainingDef):
    """A dataset that is treated as another one, but for what stands here; {} takes something away."""

    like: Slug = Field(description="the dataset whose recipe this one's is")


class WrittenStudy(Study):
    """A study.yaml, before `touchstone.study.alike` spells out what is `like` something."""

    recipes: dict[Slug, Recipe | LikeDef] = Field(  # type: ignore[assignment] # wider: never made, only described
        min_length=1, description="dataset -> how models are trained on it, or which one it is like"
    )


def _schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    return {"$schema": DIALECT, **model.model_json_schema(), "title": title}


SCHEMAS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "config": lambda: _schema(Config, "config of a run"),
    "study": lambda: _schema(WrittenStudy, "definition of a study"),
}
