"""What a study's report is written from: everything that a run left on disk, read once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

import pandas as pd

from touchstone.cell import ModelId
from touchstone.files import DamagedError, Rule, read_sealed
from touchstone.findings.inputs import read_table
from touchstone.paths import Results, study_files
from touchstone.report.works import Part, parts
from touchstone.runs import Run, read_run
from touchstone.study.captions import captions
from touchstone.study.checks import load_study
from touchstone.study.config import Config
from touchstone.study.config import read as read_yaml
from touchstone.study.figures import Published
from touchstone.study.figures import load as load_figures
from touchstone.study.schema import RESULT_TABLES, Study


class Machine(TypedDict, total=False):
    """A machine, and the jobs that ran on it."""

    platform: str
    cpu: str
    cores: int
    memory_gb: float
    gpu: str
    jobs: list[str]


class Provenance(Machine, total=False):
    """What produced results, as `touchstone.provenance.record` writes it; what is unknown is missing."""

    touchstone: str
    git: str
    machines: list[Machine]
    versions: dict[str, str]
    started: str
    finished: str
    seconds: float
    broken_off: int
    command: str


@dataclass(frozen=True, eq=False)
class Material:
    """All that a study's report is written from, as read from disk; tables hold strings, digits as written.

    Two are never equal, so that what is made of one can be kept for it.

    `published` are the work's own figures, by the figure of study.yaml that draws them again, `used` what of the
    package's tables the study's models and attacks are made of.
    """

    results: Results
    study: Study
    captions: Mapping[str, str]
    published: Mapping[str, Published]
    config: Config
    provenance: Provenance
    tables: Mapping[str, pd.DataFrame]
    runs: Sequence[Run]
    used: Sequence[Part]


def gather(results_dir: str | Path, study: str, root: str | Path = "") -> Material:
    """Read a study's results.

    Args:
        results_dir: results/<run>.
        study: slug; its definition and captions are read from root/studies.
        root: the checkout; the working folder if not given.

    Raises:
        FileNotFoundError: for a file that is not there; names it and the rule that makes it.
        DamagedError: for one that is not as it was written.
    """
    results, written = Results(Path(results_dir)), study_files(study, Path(root))
    definition = load_study(written)
    tables = {name: _table(results.table(study, name)) for name in RESULT_TABLES}
    config, used = _config(existing(results.config, "resolved_config"), study)
    return Material(
        results=results,
        study=definition,
        captions=captions(written.captions)[0],
        published={one.drawn: one for one in load_figures(written.figures, study, definition.figures)},
        config=config,
        provenance=provenance(results.provenance(study), "tables"),
        tables=tables,
        runs=_runs(results, tables["cells"]),
        used=used,
    )


def provenance(path: Path, rule: Rule) -> Provenance:
    """Read what produced the results of a study or of a run; raises as `gather` does."""
    return cast(Provenance, read_sealed(existing(path, rule), rule))


def existing(path: Path, rule: Rule) -> Path:
    """Return the path of a file that is there.

    Raises:
        FileNotFoundError: naming the file and the rule that makes it.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; `snakemake {path}` makes it (rule {rule})")
    return path


def _config(path: Path, study: str) -> tuple[Config, Sequence[Part]]:
    try:
        resolved = read_yaml(path)[0]
        return Config.model_validate(resolved["config"]), parts(study, resolved["jobs"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(path, "resolved_config", error) from error


def _table(path: Path) -> pd.DataFrame:
    return read_table(existing(path, "tables"))


def _runs(results: Results, cells: pd.DataFrame) -> list[Run]:
    """Return the training of every model of this run; what an earlier run left in the folder is none of it."""
    models = cells[list(ModelId._fields)].drop_duplicates().itertuples(index=False, name=None)
    return [read_run(existing(results.model(ModelId(*model)).run, "train")) for model in sorted(models)]


def stand_ins(runs: Iterable[Run]) -> dict[str, str]:
    """Return, for each dataset of the studies that was not used itself, what was used in its place."""
    return {run.model.dataset: run.stand_in for run in runs if run.stand_in}
