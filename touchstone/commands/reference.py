"""Print all that a study or a config can say, as Markdown: every name with its options and source, every key.

docs/reference.md is what this prints.

example: touchstone reference > docs/reference.md
"""

import argparse
from collections.abc import Collection, Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from touchstone.attacks import ATTACKS
from touchstone.data import DATASETS, READERS
from touchstone.defenses import DEFENSES
from touchstone.models import MODELS
from touchstone.ranges import MOST, hint, mismatch, words
from touchstone.registry import Option, summary
from touchstone.registry import options as options_of
from touchstone.study.checks.attacks import CONTRACT
from touchstone.study.config import Config

HEAD = f"""# Reference
<!-- what `touchstone reference` prints: change the tables and signatures of the package, and print it anew -->

What a study (`fn` and the keys beside it: `studies/README.md`) and the config of a run (`configs/README.md`) can say.
Options are given with what they may be and, in brackets, what they are if nothing is said; whole numbers end at
{MOST:,}."""
KINDS = {"none": "no attack", "fixed": "within a radius", "minimal": "the nearest point"}


def options(_: argparse.ArgumentParser) -> None:
    """Take nothing."""


def run(_: argparse.Namespace) -> str:
    """Return the whole page."""
    parts = (HEAD, *attacks(), *defenses(), *models(), *datasets(), *config())
    return "\n\n".join(parts)


def attacks() -> Iterator[str]:
    """Yield the attacks: kind, norms, source, options."""
    yield "## Attacks\nIn `attacks` of study.yaml, and in `studies/worst.yaml`. Any `module:function` too."
    for name, spec in ATTACKS.items():
        head = f"{KINDS[spec.kind].capitalize()}; {', '.join(spec.norms)}."
        yield entry(name, head, spec.fn, spec.source, CONTRACT)


def defenses() -> Iterator[str]:
    """Yield the training objectives: source, options."""
    yield "## Defenses\nIn `defenses` of study.yaml. Any `module:class` too."
    for name, spec in DEFENSES.items():
        head = f"Has an optimizer for its {', '.join(spec.groups)}." if spec.groups else ""
        yield entry(name, head, spec.fn, spec.source)


def models() -> Iterator[str]:
    """Yield the architectures: source, and those options that a study can change."""
    yield "## Models\nIn `models` of study.yaml. Any `module:function` too."
    for name, spec in MODELS.items():
        preset = "; ".join(f"`{key}` is {literal(value)}" for key, value in spec.preset.items())
        yield entry(name, f"{preset}." if preset else "", spec.fn, spec.source, spec.preset)


def datasets() -> Iterator[str]:
    """Yield the datasets, and what reads data of the user's own."""
    head = ("dataset", "images", "classes", "to train on", "held out of these", "to test on", "source")
    rows = [
        (name, "x".join(map(str, one.shape)), one.classes, *counts(one.images, one.validation), one.source)
        for name, one in DATASETS.items()
    ]
    yield f"## Datasets\nKeys of `recipes` in study.yaml.\n\n{pipes(head, rows)}"
    yield "Data of your own, in `datasets` of study.yaml:"
    for name, fn in READERS.items():
        yield entry(name, "", fn, "")


def counts(images: tuple[int, int] | None, validation: int) -> tuple[str, str, str]:
    """Return how many images there are to train on, held out of these and to test on; nothing of what files say."""
    train, test = (f"{count:,}" for count in images) if images else ("", "")
    return (train, f"{validation:,}", test)


def config() -> Iterator[str]:
    """Yield the keys of a config, those inside others behind a dot."""
    yield f"## Config\n\n{pipes(('key', 'says', 'if left out'), keys(Config))}"


def entry(name: str, head: str, target: str, source: str, given: Collection[str] = ()) -> str:
    """Return a name with what is known of its function.

    Args:
        name: in its table.
        head: what comes first.
        target: its function.
        source: where it is published; "" if nowhere.
        given: options that are not a study's to give.
    """
    said = " ".join(filter(None, (head, summary(target), f"Source: {source}." if source else "")))
    lines = [f"- `{k}`: {allowed(o)} ({default(o)})" for k, o in options_of(target).items() if k not in given]
    return "\n".join([f"### `{name}`", said, *lines])


def allowed(option: Option) -> str:
    """Return which values an option may have, as one writes them in YAML; whole numbers end where the head says."""
    return words(hint(option.annotation)).replace(f" and <= {MOST}", "").replace(" or None", " or null")


def default(option: Option) -> str:
    """Return what an option is if nothing is said."""
    if option.required:
        return "required"
    unknown = option.default is None and mismatch(None, hint(option.annotation))
    return "may be left out" if unknown else literal(option.default)


def keys(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield the keys of a typed file with what they say and what they are if left out; those inside follow."""
    for name, field in model.model_fields.items():
        said = (field.description or "").replace("<", r"\<")  # which is no tag
        yield (f"`{above}{name}`", said, left_out(field))
        for inside, where in nested(field.annotation):
            yield from keys(inside, f"{above}{name}{where}.")


def nested(annotation: Any, where: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """Yield the typed models in an annotation, with how one writes that they are in a list or mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, where
    more = {list: "[]", dict: ".<name>"}.get(get_origin(annotation), "")
    for part in get_args(annotation):
        yield from nested(part, where + more)


def left_out(field: FieldInfo) -> str:
    """Return what a key is if it is left out; of one with keys inside it is these that say so."""
    if field.is_required():
        return "required"
    return "" if isinstance(field.default, BaseModel) or field.default in (None, [], {}) else literal(field.default)


def literal(value: Any) -> str:
    """Return a value as one writes it in YAML."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"[{', '.join(map(literal, value))}]" if isinstance(value, tuple | list) else str(value)


def pipes(head: tuple[str, ...], rows: Iterator[tuple[Any, ...]] | Collection[tuple[Any, ...]]) -> str:
    """Return a table as Markdown."""
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
