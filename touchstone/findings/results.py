"""A finished run as pandas: `touchstone.load_run("results/demo")`."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from touchstone.cell import ModelId
from touchstone.files import RunError
from touchstone.findings.cells import from_text
from touchstone.findings.inputs import by_model, read_table
from touchstone.paths import Results
from touchstone.records import Batch, read_headers
from touchstone.registry import nearest

CLAIM_NUMBERS = [
    *["cell_epsilon", "low", "high", "ours", "n", "seeds", "h", "H", "interval_lo", "interval_hi", "difference", "tau"],
    *["p", "q", "worst", "worst_h", "worst_n", "overstated_by", "attack_gap", "replication_gap"],
]


@dataclass(frozen=True)
class LoadedRun:
    """The numbers of a run, read from its folder when they are asked for.

    Attributes:
        results: where they lie.
        studies: those whose tables are there.
    """

    results: Results
    studies: tuple[str, ...]

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Every measured number: a row per `touchstone.findings.cells.Cell`, of all studies."""
        return from_text(self._tables("cells", lambda _: []))

    @cached_property
    def claims(self) -> pd.DataFrame:
        """Every claim under each reading, with its verdicts: `study`, then the columns of its claims.csv."""
        return self._tables("claims", lambda columns: [name for name in columns if name in CLAIM_NUMBERS])

    @cached_property
    def statements(self) -> pd.DataFrame:
        """What the studies say in words, with its verdicts: `study`, then the columns of qualitative.csv; texts."""
        return self._tables("qualitative", lambda _: [])

    @cached_property
    def records(self) -> pd.DataFrame:
        """Every judged point: `study` to `attack` and `protocol`, then `touchstone.records.COLUMNS`."""
        parts = [
            one.frame.assign(**one.header.model._asdict(), attack=one.header.attack, protocol=one.header.protocol)
            for batch in self.batches()
            for one in batch.attacks
        ]
        frame = pd.concat(parts, ignore_index=True)
        first = [*ModelId._fields, "attack", "protocol"]
        return frame[[*first, *(name for name in frame if name not in first)]]

    def batches(self) -> Iterator[Batch]:
        """Read the records of its attacks, one model at a time; what an earlier run left in the folder is left out.

        Raises:
            RunError: if two files have records of one attack on one model.
            DamagedError: for a file that is not as it was written.
        """
        own = set(self.cells[[*ModelId._fields, "attack"]].itertuples(index=False, name=None))
        files = [path for study in self.studies for path in self.results.records(study)]
        _check_once(files)
        for batch in by_model(files):
            attacks = [one for one in batch.attacks if (*one.header.model, one.header.attack) in own]
            if attacks:
                yield Batch(attacks, batch.preflights)

    def _tables(self, name: str, numbers: Callable[[Iterable[str]], list[str]]) -> pd.DataFrame:
        """Read a table of every study; what is empty is nan among numbers and "" among texts."""
        found = []
        for study in self.studies:
            table = read_table(self.results.table(study, name))
            table = table.assign(**{column: pd.to_numeric(table[column]) for column in numbers(table.columns)})
            found.append(table if "study" in table else table.assign(study=study)[["study", *table.columns]])
        return pd.concat(found, ignore_index=True)


def _check_once(files: list[Path]) -> None:
    """Raise RunError for records that are there twice: another `jobs` of the config left them in another batch."""
    seen: dict[tuple[ModelId, str], Path] = {}
    for file in files:
        for header in read_headers(file):
            if (first := seen.setdefault((header.model, header.attack), file)) != file:
                what = f"{header.attack} on {header.model.label}"
                raise RunError(f"{what} is in {first} and in {file}; delete the folder that an earlier `jobs` left")


def load_run(folder: str | Path) -> LoadedRun:
    """Return a finished run.

    Args:
        folder: results/<run>.

    Raises:
        RunError: if no study has its tables there.
    """
    results = Results(Path(folder))
    if not (studies := results.studies):
        known = results.beside
        beside = nearest(results.name, known) if known else "nor does a folder beside it"
        raise RunError(f"{folder}: holds no tables of a finished run; {beside}")
    return LoadedRun(results, tuple(studies))
