"""Published statements that are not numbers: reading and checking qualitative.csv.

A statement has a `test`: a name of TESTS followed by its words, or "see ..." where a figure shows it.
`touchstone.findings.statements` has a function of the same words for each.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

import pandas as pd

from touchstone.registry import nearest
from touchstone.study.claims import Known, read_rows
from touchstone.study.config import ConfigError
from touchstone.study.scale import METRICS

COLUMNS = ["paper", "id", "claim", "evidence_table", "how_to_test", "published_numbers_agree", "test"]
# test -> its words; the last one of a name that ends in * may be repeated, or left out
TESTS: dict[str, tuple[str, ...]] = {
    "above": ("better", "worse", "dataset"),
    "not-above": ("defense", "reference"),
    "little-above": ("defense", "reference"),
    "best-on-most": ("best", "others*"),
    "broken": ("attack", "dataset"),
    "costs-clean": ("defense", "slight", "clear"),
    "decreasing": ("metric", "defenses*"),
    "near-zero": ("defense", "other"),
    "mean-gain": ("better", "worse"),
}
WEIGHT_METRICS = ("rho_extreme",)  # read from weights, and compared with no published number


def words(known: Known) -> set[str]:
    """Return what the tests of a study may name: metrics, and the slugs that are defined."""
    return {*METRICS, *WEIGHT_METRICS}.union(*known.values())


def load(folder: Path, words: Collection[str], *, required: bool = True) -> pd.DataFrame:
    """Return qualitative.csv with the columns COLUMNS.

    Where the file need not be there (`required`), its absence means that there are none.

    Raises:
        ConfigError: with every problem: an unknown test, a wrong number of words, a word not in `words`.
    """
    path = folder / "qualitative.csv"
    rows, problems = read_rows(path, COLUMNS, [], required=required)
    for line, row in rows:
        problems += [f"{path}:{line}: test: {text}" for text in _test_problems(row["test"], words)]
    if problems:
        raise ConfigError(problems)
    return pd.DataFrame([row for _, row in rows], columns=COLUMNS)


def _test_problems(test: str, words: Collection[str]) -> Iterator[str]:
    name, _, rest = test.partition(" ")
    if name == "see" and rest:
        return
    if name not in TESTS:
        yield f"unknown test {name!r}; {nearest(name, [*TESTS, 'see'])}"
        return
    given, wanted = rest.split(), TESTS[name]
    fixed = [word for word in wanted if not word.endswith("*")]
    if len(given) < len(fixed) or (len(given) > len(fixed) and fixed == list(wanted)):
        yield f"{name!r} takes {', '.join(wanted)}; got {len(given)} words"
    yield from (f"unknown word {word!r}; {nearest(word, words)}" for word in given if word not in words)
