"""A dataset that is `like` another one is named once, and means what naming it everywhere would."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from small_study import NEEDED

from touchstone.paths import study_files
from touchstone.study.checks import load_study
from touchstone.study.config import ConfigError
from touchstone.study.schema import Study, resolved_phases

OWN = {"optimizer": "adam", "lr": 0.001, "batch_size": 64, "epochs": 4, "augment": {"flip": True}}


def written(folder: Path, recipes: dict[str, Any], **changed: Any) -> Study:
    files = study_files("small", folder)
    files.definition.parent.mkdir(parents=True, exist_ok=True)
    files.definition.write_text(yaml.safe_dump({**NEEDED, "recipes": recipes, **changed}))
    return load_study(files)


ALSO = {
    "threats": {"linf": {"norm": "linf", "space": "pixel", "epsilons": {"mnist": [0.1], "cifar10": [0.2]}}},
    "defenses": {
        "std": {"fn": "ce", "phases": {"mnist": [{"epochs": 1}], "cifar10": [{"epochs": 2}]}},
        "adv": {
            **{"fn": "adv", "norm": "linf", "attack_steps": {"mnist": 1, "cifar10": 2}, "step_size": 0.1, "eps": 0.3},
            "adaptive": {"more": {"fn": "pgd", "steps": {"mnist": 3, "cifar10": 4}}},
        },
    },
    "attacks": {
        "clean": {"fn": "clean"},
        "pgd": {"fn": "pgd", "threat": "linf", "steps": 2, "grid": {"step_size": {"mnist": [0.1], "cifar10": [0.2]}}},
        "far": {
            **{"fn": "transfer", "threat": "linf", "attack": "pgd", "options": {"steps": {"mnist": 1, "cifar10": 2}}},
            "substitute": {"mnist": "lenet/std", "cifar10": "lenet/adv"},
        },
    },
    "worst": {"linf": ["linf"]},
    "plain": {"mnist": "lenet/std", "cifar10": "lenet/adv"},
}


def everywhere(value: Any, extra: dict[str, str]) -> Any:
    """Name the datasets by hand."""
    if not isinstance(value, dict):
        return [everywhere(item, extra) for item in value] if isinstance(value, list) else value
    inner = {key: everywhere(item, extra) for key, item in value.items()}
    return inner | ({name: inner[model] for name, model in extra.items()} if set(inner) == {"mnist", "cifar10"} else {})


def test_like_means_what_naming_it_everywhere_means(tmp_path: Path) -> None:
    extra = {"kmnist": "mnist", "fmnist": "mnist", "svhn": "cifar10"}
    short = {"mnist": OWN, "cifar10": {**OWN, "epochs": 9}, **{name: {"like": model} for name, model in extra.items()}}
    long = {**short, **{name: short[model] for name, model in extra.items()}}
    by_hand = written(tmp_path / "long", long, **everywhere(ALSO, extra))
    assert written(tmp_path / "short", short, **ALSO) == by_hand
    assert by_hand.threats["linf"].epsilons["svhn"] == [0.2]


def test_what_stands_beside_like_and_what_names_the_dataset_differ(tmp_path: Path) -> None:
    recipes = {"mnist": OWN, "kmnist": {"like": "mnist", "lr": 0.01}, "fmnist": {"like": "mnist", "augment": {}}}
    threat = {"norm": "linf", "space": "pixel", "epsilons": {"mnist": [0.1], "fmnist": [0.3]}}
    study = written(tmp_path, recipes, threats={"linf": threat})
    assert study.threats["linf"].epsilons == {"mnist": [0.1], "kmnist": [0.1], "fmnist": [0.3]}
    (mnist,), (kmnist,), (fmnist,) = (resolved_phases(study, "std", name) for name in recipes)
    assert (kmnist.lr, kmnist.epochs, kmnist.augment) == (0.01, mnist.epochs, mnist.augment)
    assert (fmnist.lr, fmnist.augment) == (mnist.lr, None)


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        (
            {"kmnist": {"like": "mnits"}},
            r"yaml:\d+: recipes.kmnist.like: 'mnits' has no recipe of its own; allowed: mnist; did",
        ),
        ({"kmnist": {"like": "fmnist"}, "fmnist": {"like": "mnist"}}, "recipes.kmnist.like: 'fmnist' has no recipe"),
        ({"kmnist": {"like": "kmnist"}}, "recipes.kmnist.like: 'kmnist' has no recipe"),
        ({"kmnist": {"like": ["mnist"]}}, r"recipes.kmnist.like: \"\['mnist'\]\" has no recipe|recipes.kmnist.like"),
        ({"kmnst": {"like": "mnist"}}, "recipes.kmnst: unknown dataset 'kmnst'.*did you mean 'kmnist'"),
        ({"kmnist": {"like": "mnist", "ephocs": 3}}, "recipes.kmnist.ephocs: unknown key 'ephocs'"),
        ({"kmnist": {"like": "mnist", "keep": {}}}, "recipes.kmnist.keep"),
    ],
)
def test_what_is_like_nothing_is_refused_with_its_line(recipes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        written(tmp_path, {"mnist": OWN, **recipes})


def test_a_mapping_that_is_not_by_dataset_stays(tmp_path: Path) -> None:
    recipes = {"mnist": OWN, "kmnist": {"like": "mnist"}}
    assert written(tmp_path, recipes, labels={"mnist": "MNIST"}).labels == {"mnist": "MNIST"}
