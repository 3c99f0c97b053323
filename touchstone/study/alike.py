"""`like`: a dataset that a study treats as another one is named once, in its recipes.

    recipes:
      mnist: {optimizer: adam, ...}
      kmnist: {like: mnist}
      svhn: {like: cifar10, augment: {}}

means that wherever the study writes {mnist: a, cifar10: b} it also says a for kmnist and b for svhn. A recipe may
differ in what stands beside `like`, and a mapping that names the dataset itself has its own word.
"""

from collections.abc import Mapping
from typing import Any

from touchstone.registry import nearest
from touchstone.study.config import ConfigError, Lines

LIKE = "like"
# where a value may be written per dataset
SECTIONS = ("seeds", "defenses", "selection", "threats", "attacks", "plain", "monitor")


def spelled_out(values: Mapping[Any, Any], lines: Lines) -> dict[Any, Any]:
    """Return the plain values of a study.yaml with every dataset named wherever its model is.

    Args:
        values: of the file, unchecked.
        lines: where its keys stand.

    Raises:
        ConfigError: if a dataset is like none that has a recipe of its own, which is said for each of them.
    """
    recipes = values.get("recipes")
    if not isinstance(recipes, Mapping):
        return dict(values)
    models = {name: recipe[LIKE] for name, recipe in recipes.items() if isinstance(recipe, Mapping) and LIKE in recipe}
    own = [str(name) for name in recipes if name not in models]
    problems = [
        lines.problem(("recipes", name, LIKE), f"{model!r} has no recipe of its own; {nearest(str(model), own)}")
        for name, model in models.items()
        if model not in own
    ]
    if problems:
        raise ConfigError(problems)
    named = {key: _named(values[key], models, frozenset(recipes)) for key in SECTIONS if key in values}
    return {**values, **named, "recipes": {name: _recipe(recipe, recipes) for name, recipe in recipes.items()}}


def _recipe(recipe: Any, recipes: Mapping[Any, Any]) -> Any:
    """Return a recipe with what it has from its model; what it writes as {} is taken away from that."""
    if not isinstance(recipe, Mapping) or LIKE not in recipe:
        return recipe
    usual = recipes[recipe[LIKE]]
    if not isinstance(usual, Mapping):
        return usual  # what is wrong with it is said where it stands
    own = {key: value for key, value in recipe.items() if key != LIKE}
    taken = {key for key, value in own.items() if value == {} and key in usual}
    return {key: value for key, value in {**usual, **own}.items() if key not in taken}


def _named(value: Any, models: Mapping[Any, Any], datasets: frozenset[Any]) -> Any:
    """Add to every mapping whose keys are datasets those that it leaves to their models, however deep it is."""
    if isinstance(value, list):
        return [_named(item, models, datasets) for item in value]
    if not isinstance(value, Mapping):
        return value
    inner = {key: _named(item, models, datasets) for key, item in value.items()}
    if not inner or not inner.keys() <= datasets:
        return inner
    return {**inner, **{name: inner[model] for name, model in models.items() if model in inner and name not in inner}}
