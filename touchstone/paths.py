"""Where every file lies. No other module knows the tree, and nobody reads a name out of a path.

Names may be wildcards ("{dataset}"), so that rules and jobs use the same functions. Paths are relative to the checkout.
"""

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from touchstone.cell import ModelId

DATA = Path("data")
PREPARED = DATA / "prepared"
STUDIES = Path("studies")
OWN_STUDIES = Path("studies-own")  # of nets of the user's own, as `touchstone evaluate` writes them
RESULTS = Path("results")
FORMS = ("svg", "pdf", "png")  # of a figure


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


class ComparisonFiles(NamedTuple):
    """What is written of two runs beside each other."""

    cells: Path
    words: Path
    picture: Path


class FeatureFiles(NamedTuple):
    """What is kept of features for one figure: points, and what is measured of them."""

    points: Path
    measured: Path


class PaperFiles(NamedTuple):
    """One of the paper's tables in its own shape, in its three forms."""

    csv: Path
    md: Path
    tex: Path


class PeopleFiles(NamedTuple):
    """What people are asked and answer: a folder of pages, the key to them, and what the answers come to."""

    pages: Path
    key: Path
    answers: Path


class Report(NamedTuple):
    """A report in its three forms."""

    ipynb: Path
    html: Path
    pdf: Path


@dataclass(frozen=True)
class StudyFiles:
    """A study as it is written: its name, and what is in its folder."""

    study: str
    definition: Path
    claims: Path
    statements: Path
    captions: Path
    figures: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.definition, self.claims, self.statements, self.captions, self.figures)

    def beside(self, name: str) -> Path:
        """Return where a file lies that the definition names: relative to its folder, or anywhere."""
        return self.definition.parent / Path(name).expanduser()


class Raw(NamedTuple):
    """A dataset as it is published: the folder of its files, what says that they are there, and a lock to get them."""

    folder: Path
    fetched: Path
    lock: Path


class Templates(NamedTuple):
    """What is made of text here: notebooks, the documents that they become, and the page that people answer on.

    Of the notebooks, `study` is for a work, `model` for a net of the user's own, `summary` for a run.
    """

    study: Path
    model: Path
    summary: Path
    head: Path
    page: Path
    script: Path
    people: Path


def raw(dataset: str) -> Raw:
    """Return where the raw files of a dataset lie."""
    folder = DATA / "raw" / dataset
    return Raw(folder, folder / "fetched.json", folder / "fetched.lock")


def prepared(dataset: str, folder: Path = PREPARED) -> Prepared:
    """Return the files of a prepared dataset."""
    return Prepared(folder / f"{dataset}.safetensors", folder / f"{dataset}.json")


def model_files(folder: Path) -> ModelFiles:
    """Return the files of a model that lies in a folder."""
    return ModelFiles(folder / "model.safetensors", folder / "history.csv", folder / "run.json")


def model_with(run: Path) -> ModelFiles:
    """Return the files of a model whose run.json this is."""
    return model_files(run.parent)


def sums_beside(table: Path) -> Path:
    """Return the file with the sums of a table and of those in its folder."""
    return table.with_name("sums.json")


def machine_beside(log: Path) -> Path:
    """Return the file that says on which machine the job ran whose log this is."""
    return log.with_suffix(".json")


def attempt_beside(log: Path, attempt: int) -> Path:
    """Return the log of one attempt at a job whose log this is; Snakemake deletes that of the job before each."""
    return log.with_name(f"{log.stem}.attempt{attempt}{log.suffix}")


def attempts_beside(log: Path) -> list[Path]:
    """Return the logs of the attempts at a job, which last until one of them has done what it should."""
    return [*itertools.takewhile(Path.exists, (attempt_beside(log, number) for number in itertools.count(1)))]


def studies(root: Path = Path()) -> dict[str, StudyFiles]:
    """Return the studies that a checkout has, by name: those of papers, then those of the user's own."""
    return studies_beside(suites(root)) | _studies_in(root / OWN_STUDIES)


def studies_beside(suites: Path) -> dict[str, StudyFiles]:
    """Return the studies whose folders lie beside a file with suites, by name."""
    return _studies_in(suites.parent)


def _studies_in(home: Path) -> dict[str, StudyFiles]:
    found = (study_in(folder) for folder in sorted(home.glob("*/")))
    return {study.study: study for study in found if study.definition.exists()}


def twice(root: Path = Path()) -> set[str]:
    """Return the names of studies that lie both among those of papers and among the user's own."""
    return studies_beside(suites(root)).keys() & _studies_in(root / OWN_STUDIES).keys()


def suites(root: Path = Path()) -> Path:
    """Return the file with the suites of all studies."""
    return root / STUDIES / "worst.yaml"


def packaged_suites() -> Path:
    """Return the same file as the package has it, a link, for where there is no checkout."""
    return Path(__file__).with_name(suites().name)


def study_of(file: Path) -> StudyFiles | None:
    """Return the files of a study whose folder, or one of whose files, this is; None if it is neither."""
    study = study_in(file if file.is_dir() else file.parent)
    return study if file.is_dir() or file in study.files else None


def beside(file: Path) -> list[str]:
    """Return the names of what lies in the folder of a file."""
    return [path.name for path in file.parent.glob("*")]


def suites_beside(study: StudyFiles) -> Path:
    """Return the file with the suites that a study uses: it lies beside the folders of those of papers."""
    folder = study.definition.parent
    if (home := folder.resolve().parent).name == OWN_STUDIES.name:
        return suites(home.parent)
    return (folder.parent if folder.name else folder / os.pardir) / suites().name


def templates(root: Path) -> Templates:
    """Return what the reports of a checkout are made with."""
    folder = root / "reports"
    names = ("study.ipynb", "model.ipynb", "summary.ipynb", "head.typ", "page.html", "page.js", "people.html")
    return Templates(*(folder / name for name in names))


def returned(folder: Path) -> list[Path]:
    """Return the files with answers that a folder holds."""
    return sorted(folder.expanduser().glob("*.csv"))


def code(folders: Iterable[str]) -> list[Path]:
    """Return folders of the user's own code as every job finds them, wherever it starts."""
    return [Path(folder).expanduser().resolve() for folder in folders]


def modules(folder: Path) -> set[str]:
    """Return the names by which Python imports the files and packages of a folder."""
    return {*(path.stem for path in folder.glob("*.py")), *(path.parent.name for path in folder.glob("*/__init__.py"))}


def link(document: Path, file: Path) -> str:
    """Return how a document points to a file."""
    return os.path.relpath(file, document.parent)


def study_files(study: str, root: Path = Path()) -> StudyFiles:
    """Return the files of a study below the checkout, whether it is of a paper or the user's own."""
    own = own_study(study, root)
    return own if own.definition.is_file() else study_in(root / STUDIES / study)


def own_study(study: str, root: Path = Path()) -> StudyFiles:
    """Return the files of a study of the user's own."""
    return study_in(root / OWN_STUDIES / study)


def own_config(study: str, root: Path = Path()) -> Path:
    """Return the config that runs a study of the user's own alone."""
    return root / OWN_STUDIES / f"{study}.yaml"


def run_named(words: Path) -> Path:
    """Return the folder of a run's results, which may be given by its name."""
    return words if words.exists() or len(words.parts) > 1 else RESULTS / words


def study_in(folder: Path) -> StudyFiles:
    """Return the files of a study in its folder, whose name is the study's."""
    names = ("study.yaml", "claims.csv", "qualitative.csv", "captions.yaml", "figures.csv")
    return StudyFiles(folder.resolve().name, *(folder / name for name in names))


def comparison(folder: Path) -> ComparisonFiles:
    """Return the files of a comparison of two runs."""
    return ComparisonFiles(*(folder / name for name in ("cells.csv", "words.csv", "cells.png")))


def compared(one: "Results", other: "Results") -> Path:
    """Return where a comparison of two runs is written; no run has that name."""
    return RESULTS / "_compared" / f"{one.name}_{other.name}"


def own_units() -> Path:
    """Return where it is kept what passes through nets take on this machine."""
    return RESULTS / "units.csv"


@dataclass(frozen=True)
class Results:
    """The tree of one run's results."""

    root: Path

    @classmethod
    def of(cls, run: str) -> "Results":
        """Return the tree of a run by its name."""
        return cls(RESULTS / run)

    @cache  # noqa: B019 - asked for a dozen times per model, in a program that plans one run
    def _at(self, kind: str, model: ModelId) -> Path:
        return self.root.joinpath(model.study, kind, model.dataset, model.model, model.defense, str(model.seed))

    @cache  # noqa: B019
    def model(self, model: ModelId) -> ModelFiles:
        """Return the files of a trained model."""
        return model_files(self.model_folder(model))

    def model_folder(self, model: ModelId) -> Path:
        """Return the folder of a trained model."""
        return self._at("models", model)

    def unfinished(self, model: ModelId) -> Path:
        """Return where a training keeps what it needs to go on after a kill, until its outputs are safe."""
        return self.model_folder(model) / "unfinished.safetensors"

    def spent(self, model: ModelId) -> list[Path]:
        """Return what a training kept to go on, if its outputs are there."""
        return [kept for kept in [self.unfinished(model)] if kept.exists() and self.model(model).run.exists()]

    def selection(self, model: ModelId) -> SelectionFiles:
        """Return the files of a choice of unstated constants, which is one for all seeds."""
        folder = self.model_folder(model).parent
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

    def kept(self, model: ModelId, keys: str) -> list[Path]:
        """Return the files of all parts on a model whose keys are of a pattern of `glob`."""
        return sorted((self._at("attacks", model) / "parts").glob(f"{keys}.*"))

    def table(self, study: str, name: str) -> Path:
        """Return a table of a study."""
        return self.root / study / "tables" / f"{name}.csv"

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.root.resolve().name

    @property
    def beside(self) -> list[str]:
        """The names of the runs beside it of which a study has its tables."""
        return sorted(path.name for path in self.root.parent.glob("*") if Results(path).studies)

    @property
    def studies(self) -> list[str]:
        """The studies whose tables are there."""
        return sorted(path.parent.parent.name for path in self.root.glob("*/tables/cells.csv"))

    def records(self, study: str) -> list[Path]:
        """Return the records of every batch of attacks that is there."""
        return sorted(self.root.glob(f"{study}/attacks/*/*/*/*/*/records.parquet"))

    def paper(self, study: str, table: str) -> PaperFiles:
        """Return one of the paper's tables in its own shape."""
        folder = self.root / study / "tables" / "paper"
        return PaperFiles(*(folder / f"{table}.{form}" for form in PaperFiles._fields))

    def figure(self, study: str, name: str, form: str = "svg") -> Path:
        """Return a figure of a study."""
        return self.root / study / "figures" / f"{name}.{form}"

    def features(self, study: str, figure: str) -> FeatureFiles:
        """Return the files of the features that a figure of a study draws."""
        folder = self.root / study / "features"
        return FeatureFiles(folder / f"{figure}.safetensors", folder / f"{figure}.json")

    def people(self, study: str) -> PeopleFiles:
        """Return the files about what people see in a study."""
        folder = self.root / study / "people"
        return PeopleFiles(folder / "pages", folder / "key.json", folder / "answers.json")

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

    def provenance(self, study: str = "") -> Path:
        """Return what says by what the tables of a study were produced, or all that a run has left."""
        return self.root / study / "provenance.json"

    @property
    def finished(self) -> Path:
        """The sums of what the run has left."""
        return self.root / "finished.json"

    @property
    def lock(self) -> Path:
        """What a run holds while it works."""
        return self.root / "run.lock"

    def benchmarks(self, rule: str, study: str = "") -> list[Path]:
        """Return the files with the seconds of every job of a rule so far; only of a study if one is named."""
        folder = self.root / "benchmarks" / rule
        return sorted([*(folder / study).rglob("*.tsv"), *(folder.glob(f"{study}.tsv") if study else ())])

    def job(self, benchmark: Path) -> str:
        """Return what a job is called whose file of seconds this is: its rule, and whose result it is."""
        return str(benchmark.relative_to(self.root / "benchmarks").with_suffix(""))

    def machine(self, job: str) -> Path:
        """Return the file that says on which machine a job ran."""
        return machine_beside(self._log_of(job))

    def broken_off(self, job: str) -> list[Path]:
        """Return the logs of the attempts at a finished job that failed, were killed, or ran out of time."""
        return attempts_beside(self._log_of(job))

    def _log_of(self, job: str) -> Path:
        return self.root / "logs" / f"{job}.log"

    def log(self, rule: str, *names: str) -> Path:
        """Return the log of a job."""
        return self.root.joinpath("logs", rule, *names[:-1], f"{names[-1] if names else rule}.log")

    def benchmark(self, rule: str, *names: str) -> Path:
        """Return the file with the seconds of a job."""
        return self.root.joinpath("benchmarks", rule, *names[:-1], f"{names[-1] if names else rule}.tsv")
