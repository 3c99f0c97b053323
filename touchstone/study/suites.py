"""The suites of studies/worst.yaml: the fixed lists of attacks behind a worst case, once for all studies."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, RootModel

from touchstone.attacks import attack_spec
from touchstone.study.config import Lines, Slug, parse, read
from touchstone.study.schema import DefenseDef, MemberDef, Norm, Study

Members = dict[str, MemberDef]  # slug -> attack, in their order
TRAINING = "training"  # in place of an attack: what flags of a training are raised for
PLAIN = "plain"  # the substitute of a suite's transfer: the nets that each study calls so


class SuitesFile(RootModel[dict[Slug, dict[Norm, Annotated[dict[Slug, MemberDef], Field(min_length=1)]]]]):
    """The whole of worst.yaml: suite -> norm -> its attacks."""


@dataclass(frozen=True)
class Suites:
    """Every suite, and where it is written."""

    lines: Lines
    by_name: dict[str, dict[Norm, Members]]

    @property
    def slugs(self) -> frozenset[str]:
        """The names that their attacks have taken."""
        norms = (members for suite in self.by_name.values() for members in suite.values())
        return frozenset(slug for members in norms for slug in members)

    def members(self, suite: str, norm: str) -> Members:
        """Return the attacks of a suite in a norm; none where it has none."""
        return next((members for name, members in self.by_name[suite].items() if name == norm), {})

    def behind(self, study: Study, defense: DefenseDef, suite: str, attack: str) -> Members:
        """Return what an attack of a study consists of on a model of a defense.

        That is the attack itself; for a worst case the attacks of a suite, then those meant for the defense that work
        in the norm.
        """
        norm = norm_of(study, attack)
        if norm is None:
            return {attack: study.attacks[attack]}
        adaptive = {slug: one for slug, one in defense.adaptive.items() if norm in attack_spec(one.fn).norms}
        return {**self.members(suite, norm), **adaptive}


def load_suites(path: Path) -> Suites:
    """Read the suites; `touchstone.study.checks` checks what their attacks say against each study.

    Raises:
        ConfigError: with every problem found, each with file, line, key, value and what is allowed.
    """
    values, lines = read(path)
    return Suites(lines, parse(SuitesFile, values, lines).root)


def worst_slug(norm: str) -> str:
    """Return the slug of the worst case in a norm."""
    return f"worst-{norm}"


def norm_of(study: Study, attack: str) -> Norm | None:
    """Return the norm of a study's worst case, None for any other attack."""
    return next((norm for norm in study.worst if worst_slug(norm) == attack), None)
