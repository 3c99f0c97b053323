"""What every check does: note a problem at a key of a file."""

from collections.abc import Callable, Collection, Mapping
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from touchstone.conditions import CONDITIONS, UNKNOWN, Facts, broken
from touchstone.files import came_instead, sum_of_file
from touchstone.ranges import hint, mismatch
from touchstone.registry import Option, SourceError, is_own, nearest, options, with_defaults
from touchstone.study.config import Key, Lines
from touchstone.study.schema import Study, for_cell

Spec = TypeVar("Spec")  # of an attack, a defense or a model


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

    def sum(self, key: Key, path: Path, sha256: str) -> None:
        """Note that a file which is there is not the one that a study means, or cannot be read."""
        try:
            found = sum_of_file(path)
            other = came_instead(path) if found != sha256 else ""
        except OSError as error:
            self.add(key, f"{path} cannot be read: {error.strerror}")
            return
        if other:
            self.add(key, f"{path} is {other}")
        elif found != sha256:
            self.add(key, f"{path} is not the file that the study means: expected sha256 {sha256}, got {found}")

    def spec(
        self, key: Key, name: str, table: Mapping[str, Any], spec_of: Callable[[str], Spec], what: str
    ) -> Spec | None:
        """Return what is known of a function that is named in a table, or as "module:function"; note it if nothing is.

        Args:
            key: under which `fn` stands.
            name: what it says.
            table: of such functions.
            spec_of: the spec of a name that is in the table, or the user's own.
            what: such a function is.
        """
        if not is_own(name):
            return spec_of(name) if self.known((*key, "fn"), name, table, what) else None
        try:
            found = spec_of(name)
            options(name)
        except SourceError as error:
            self.add((*key, "fn"), f"{name!r} cannot be used: {error}")
            return None
        return found

    def per_dataset(self, key: Key, value: Any, study: Study) -> None:
        """Note where a value written per dataset, or there per defense, leaves one out, or names another."""
        if not isinstance(value, Mapping):
            return
        self._each_of(key, value, study.recipes, "dataset")
        for name, own in value.items():
            if isinstance(own, Mapping):
                self._each_of((*key, name), own, study.defenses, "defense")

    def _each_of(self, key: Key, value: Mapping[str, Any], names: Collection[str], what: str) -> None:
        for name in value:
            self.known((*key, name), str(name), names, what)
        for name in names:
            if name not in value:
                self.add(key, f"needs a value for {what} {name!r}")

    def options(
        self,
        key: Key,
        target: str,
        given: Mapping[str, Any],
        leave_out: Collection[str] = frozenset(),
        elsewhere: Collection[str] = frozenset(),
        *,
        by_dataset: bool = False,
    ) -> None:
        """Check names, types and ranges of options against the signature of `target`, read without importing it.

        Args:
            key: under which they stand.
            target: "module:function".
            given: option -> value, with `by_dataset` also {dataset: value}.
            leave_out: arguments that are no options.
            elsewhere: options that are given in another place.
            by_dataset: whether a value may differ by dataset, and there by defense.
        """
        allowed = {k: v for k, v in options(target).items() if k not in leave_out}
        for name, value in given.items():
            if self.known((*key, name), name, allowed, "option"):
                self.value((*key, name), value, allowed[name], by_dataset=by_dataset)
        for name, option in allowed.items():
            if option.required and name not in given and name not in elsewhere:
                self.add(key, f"option {name!r} is required")

    def together(
        self,
        key: Key,
        target: str,
        given: Mapping[str, Any],
        study: Study,
        facts: Callable[[str], Facts] = lambda _: UNKNOWN,
    ) -> None:
        """Note what is wrong with options together, each of which is right, on any dataset and defense of a study.

        Args:
            key: under which they stand.
            target: "module:function".
            given: option -> value, or {dataset: value}, or there {defense: value}.
            study: whose datasets and defenses these are.
            facts: what they meet on a dataset.
        """
        if target not in CONDITIONS:
            return
        for dataset, defense in product(study.recipes, study.defenses):
            own = {name: for_cell(value, dataset, defense) for name, value in given.items()}
            met = facts(dataset)._replace(written=frozenset(given))
            for name, words in broken(target, with_defaults(target, own), met):
                self.add((*key, *([name] if name else [])), words)

    def value(self, key: Key, value: Any, option: Option, *, by_dataset: bool = False) -> None:
        """Note that a value, or one of those written {dataset: value}, is none that an option may have."""
        if by_dataset and isinstance(value, Mapping):
            for place, single in placed(key, value):
                self.value(place, single, option)
            return
        try:
            problem = mismatch(value, hint(option.annotation))
        except ValueError as error:
            self.add(key, str(error))
        else:
            if problem:
                self.add(key, f"expected {problem}")


def placed(key: Key, value: Any) -> list[tuple[Key, Any]]:
    """Return the values of what may differ by dataset, {dataset: value, ...}, and by defense, each with its key."""
    if not isinstance(value, Mapping):
        return [(key, value)]
    return [one for name, own in value.items() for one in placed((*key, name), own)]


def each(value: Any) -> list[Any]:
    """Return the values of what may differ by dataset and by defense, or the one value."""
    return [one for _, one in placed((), value)]
