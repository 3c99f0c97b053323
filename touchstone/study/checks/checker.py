"""What every check does: note a problem at a key of a file."""

import ast
from collections.abc import Collection, Mapping
from typing import Any

from touchstone.registry import nearest, options
from touchstone.study.config import Key, Lines
from touchstone.study.schema import Study


class Checker:
    """Collects problems of one file, each with its line."""

    def __init__(self, lines: Lines) -> None:
        self.lines, self.problems = lines, list[str]()

    def add(self, key: Key, text: str) -> None:
        """Note a problem at a key, once."""
        if (found := self.lines.problem(key, text)) not in self.problems:
            self.problems.append(found)

    def known(self, key: Key, name: str, names: Collection[str], what: str) -> bool:
        """Say whether `name` is among `names`; if not, note it."""
        if name in names:
            return True
        self.add(key, f"unknown {what} {name!r}; {nearest(name, names)}")
        return False

    def per_dataset(self, key: Key, value: Any, study: Study) -> None:
        """Note where a value written per dataset leaves one of the recipes out, or names another."""
        if not isinstance(value, Mapping):
            return
        for name in value:
            self.known((*key, name), str(name), study.recipes, "dataset")
        for name in study.recipes.keys() - value.keys():
            self.add(key, f"no value for dataset {name!r}")

    def options(
        self, key: Key, target: str, given: Mapping[str, Any], leave_out: Collection[str] = frozenset()
    ) -> None:
        """Check names and plain types of options against the signature of `target`, read without importing it."""
        allowed = {k: v for k, v in options(target).items() if k not in leave_out}
        for name, value in given.items():
            for single in each(value) if self.known((*key, name), name, allowed, "option") else []:
                if not fits(single, allowed[name].annotation):
                    self.add((*key, name), f"expected {allowed[name].annotation}, got {single!r}")
        for name, option in allowed.items():
            if option.required and name not in given:
                self.add(key, f"option {name!r} is required")


def each(value: Any) -> list[Any]:
    """Return the values of what may differ by dataset, {dataset: value, ...}, or the one value."""
    return list(value.values()) if isinstance(value, Mapping) else [value]


def fits(value: Any, annotation: str) -> bool:
    """Say whether a YAML value can be passed where a parameter is annotated so (unknown annotations pass)."""
    if annotation.startswith("Literal["):
        return value in ast.literal_eval(annotation.removeprefix("Literal"))
    kinds = {part.strip() for part in annotation.split("|")}
    if not kinds <= {"int", "float", "str", "bool", "None"}:
        return True
    if isinstance(value, bool) or value is None:
        return ("None" if value is None else "bool") in kinds
    if isinstance(value, int):
        return bool({"int", "float"} & kinds)
    return type(value).__name__ in kinds
