"""List what a study can name, and the studies, with their sources.

Sources name author and year, with the arXiv number or DOI where one was looked up. Studies are those of the checkout
that it is started from.

example: touchstone ls attacks
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from touchstone import paths
from touchstone.attacks import ATTACKS
from touchstone.commands.text import columns, one_of
from touchstone.data import DATASETS
from touchstone.defenses import DEFENSES
from touchstone.models import MODELS
from touchstone.paths import StudyFiles
from touchstone.study import claims
from touchstone.study.config import ConfigError, read

Lines = Iterator[tuple[str, ...]]
# of the published numbers: those that an experiment measures again, that the work takes from others, and that none can
# or need give; a cited one may be measured again too
COUNTED = {"measured": "cell_model", "cited": "cited", "out of scope": "out_of_scope"}


def options(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    parser.add_argument("what", type=one_of(KINDS), help=", ".join(KINDS))


def run(arguments: argparse.Namespace) -> str:
    """Return the table of a kind of names.

    Raises:
        ConfigError: if studies are asked for where none are, or one cannot be read.
    """
    return columns([*KINDS[arguments.what]()])


def studies() -> Lines:
    """Yield a line per study of the checkout, with how many published numbers it has, and what becomes of them."""
    found = paths.studies(Path())
    if not found:
        raise ConfigError([f"{paths.STUDIES}: there are no studies here; start it in a checkout"])
    own = {name for name, files in found.items() if files == paths.own_study(name)}
    yield ("study", "numbers", *COUNTED, "source")
    for name in sorted(found, key=lambda name: name in own):  # those of papers first
        yield (str(paths.OWN_STUDIES / name) if name in own else name, *_study(found[name]))


def _study(files: StudyFiles) -> tuple[str, ...]:
    """Return how many numbers a study has and its source; what is wrong with one that cannot be read."""
    try:
        sheet, source = claims.read(files.claims), str(read(files.definition)[0].get("citation", ""))
    except ConfigError as error:
        return ("?", *("?" for _ in COUNTED), error.problems[0])
    rows = [row for _, row in sheet.rows] if sheet else []
    return (str(len(rows)), *(str(sum(bool(row.get(column)) for row in rows)) for column in COUNTED.values()), source)


def datasets() -> Lines:
    """Yield a line per dataset."""
    yield ("dataset", "images", "classes", "source")
    for name, spec in DATASETS.items():
        yield (name, "x".join(map(str, spec.shape)), str(spec.classes), spec.source)


def models() -> Lines:
    """Yield a line per architecture."""
    yield ("model", "source")
    yield from ((name, spec.source) for name, spec in MODELS.items())


def defenses() -> Lines:
    """Yield a line per training objective."""
    yield ("defense", "source")
    yield from ((name, spec.source) for name, spec in DEFENSES.items())


def attacks() -> Lines:
    """Yield a line per attack: fixed ones stay within a radius, minimal ones look for the nearest point."""
    yield ("attack", "kind", "norms", "source")
    yield from ((name, spec.kind, " ".join(spec.norms), spec.source) for name, spec in ATTACKS.items())


KINDS: Mapping[str, Callable[[], Lines]] = {
    "studies": studies,
    "datasets": datasets,
    "models": models,
    "defenses": defenses,
    "attacks": attacks,
}
