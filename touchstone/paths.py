"""Where every file lies. No other module knows the tree, and nobody reads a name out of a path.

Names may be wildcards ("{dataset}"), so that rules and jobs use the same functions. Paths are relative to the checkout.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from touchstone.cell import ModelId

DATA = Path("data")
STUDIES = Path("studies")
CHECKPOINT = "unfinished.safetensors"  # of a training, beside where its weights will be


class Prepared(NamedTuple):
    """A dataset as one file, and what it is."""

    data: Path
    facts: Path


class ModelFiles(NamedTuple):
    """What a training leaves."""

    weights: Path
    history: Path
    run: Path


class SelectionFiles(NamedTuple):
    """What a choice of unstated constants leaves: the choice, the nets it was made from, and what is shown of them."""

    choice: Path
    weights: Path
    sensitivity: Path


class AttackFiles(NamedTuple):
    """What a batch of attacks on one model leaves."""

    records: Path
    examples: Path


class PartFiles(NamedTuple):
    """What is kept of a finished attack or preflight: rows, points, their sums; and what is locked to make it."""

    records: Path
    examples: Path
    sums: Path
    lock: Path


class Report(NamedTuple):
    """A report in its three forms."""

    ipynb: Path
    html: Path
    pdf: Path


class StudyFiles(NamedTuple):
    """A study as it is written: one folder."""

    definition: Path
    claims: Path
    statements: Path
    figures: Path
    captions: Path


def fetched(dataset: str) -> Path:
    """Return the file that says that a dataset's raw files lie beside it."""
    return DATA / "raw" / dataset / "fetched.json"


def prepared(dataset: str) -> Prepared:
    """Return the files of a prepared dataset."""
    folder = DATA / "prepared"
    return Prepared(folder / f"{dataset}.safetensors", folder / f"{dataset}.json")


def model_files(folder: Path) -> ModelFiles:
    """Return the files of a model that lies in a folder."""
    return ModelFiles(folder / "model.safetensors", folder / "history.csv", folder / "run.json")


def study_files(study: str, root: Path = Path()) -> StudyFiles:
    """Return the files of a study below the checkout."""
    folder = root / STUDIES / study
    names = ("study.yaml", "claims.csv", "qualitative.csv", "figures.csv", "captions.yaml")
    return StudyFiles(*(folder / name for name in names))


@dataclass(frozen=True)
class Results:
    """The tree of one run's results."""

    root: Path

    @classmethod
    def of(cls, run: str) -> "Results":
        """Return the tree of a run by its name."""
        return cls(Path("results") / run)

    @cache  # noqa: B019 - asked for a dozen times per model, in a program that plans one run
    def _at(self, kind: str, model: ModelId) -> Path:
        return self.root.joinpath(model.study, kind, model.dataset, model.model, model.defense, str(model.seed))

    @cache  # noqa: B019
    def model(self, model: ModelId) -> ModelFiles:
        """Return the files of a trained model."""
        return model_files(self._at("models", model))

    def selection(self, model: ModelId) -> SelectionFiles:
        """Return the files of a choice of unstated constants, which is one for all seeds."""
        folder = self._at("models", model).parent
        names = ("selection.json", "candidates.safetensors", "sensitivity.json")
        return SelectionFiles(*(folder / name for name in names))

    def attack(self, model: ModelId, batch: str) -> AttackFiles:
        """Return the files of one batch of attacks on a model."""
        folder = self._at("attacks", model) / batch
        return AttackFiles(folder / "records.parquet", folder / "examples.safetensors")

    def part(self, model: ModelId, key: str) -> PartFiles:
        """Return the files of a finished attack on a model, whichever batch it belongs to."""
        folder = self._at("attacks", model) / "parts"
        return PartFiles(*(folder / f"{key}.{form}" for form in ("parquet", "safetensors", "json", "lock")))

    def table(self, study: str, name: str) -> Path:
        """Return a table of a study."""
        return self.root / study / "tables" / f"{name}.csv"

    def figure(self, study: str, name: str, form: str = "svg") -> Path:
        """Return a figure of a study."""
        return self.root / study / "figures" / f"{name}.{form}"

    def report(self, study: str = "") -> Report:
        """Return the report of a study, or that of the run."""
        folder = self.root / study
        return Report(*(folder / f"report.{form}" for form in Report._fields))

    @property
    def claims(self) -> Path:
        """The claims of all studies."""
        return self.root / "claims.csv"

    @property
    def config(self) -> Path:
        """The run with every value resolved."""
        return self.root / "config.yaml"

    @property
    def provenance(self) -> Path:
        """What produced the results."""
        return self.root / "provenance.json"

    def benchmarks(self) -> dict[str, list[Path]]:
        """Return the files with the seconds of every job so far, by rule."""
        folders = sorted((self.root / "benchmarks").iterdir())
        return {folder.name: sorted(folder.rglob("*.tsv")) for folder in folders}

    def log(self, rule: str, *names: str) -> Path:
        """Return the log of a job."""
        return self.root.joinpath("logs", rule, *names[:-1], f"{names[-1] if names else rule}.log")

    def benchmark(self, rule: str, *names: str) -> Path:
        """Return the file with the seconds of a job."""
        return self.root.joinpath("benchmarks", rule, *names[:-1], f"{names[-1] if names else rule}.tsv")
