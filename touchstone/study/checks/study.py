"""One study: its models and defenses, and that every slug mentioned somewhere is defined."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from touchstone.attacks import ATTACKS
from touchstone.data import DATASETS
from touchstone.defenses import DEFENSES
from touchstone.models import MODELS, model_spec
from touchstone.paths import study_files
from touchstone.registry import OWN, SourceError, options
from touchstone.report.plots import PLOTS, READS, TABLES
from touchstone.study.captions import captions
from touchstone.study.checks.attacks import Attacks
from touchstone.study.checks.checker import Checker, each
from touchstone.study.checks.recipes import Recipes
from touchstone.study.claims import COLUMNS, HEADLINE, MEASURES, OPTIONAL, read_rows
from touchstone.study.config import ConfigError, Key, parse, read
from touchstone.study.schema import (
    FIRST_CONV,
    RESULT_TABLES,
    CellsDef,
    FigureDef,
    Reading,
    Selection,
    Standardize,
    Study,
    datasets_of,
    resolved_phases,
    starts,
)
from touchstone.study.suites import Suites


def load_study(path: Path, suites: Suites | None = None) -> Study:
    """Read and check one study.yaml, its captions, and the suites as far as the study uses them.

    Raises:
        ConfigError: with every problem found, each with file, line, key, value and what is allowed.
    """
    values, lines = read(path)
    study = parse(Study, values, lines)
    check = Checker(lines)
    if study.study != path.parent.name:
        check.add(("study",), f"must equal the folder's name {path.parent.name!r}, got {study.study!r}")
    attacks = Attacks(check, study)
    Recipes(check, study).run()
    Models(check, study).run()
    Defenses(check, study, suites.slugs if suites else frozenset()).run()
    attacks.run()
    References(check, study).run()
    _printed(check, study, path.with_name(study_files("").claims.name))
    problems = check.problems + _caption_problems(path.with_name(study_files("").captions.name), study)
    if suites is not None:
        other = Checker(suites.lines)
        Attacks(other, study).suites(suites)
        problems += other.problems
    if problems:
        raise ConfigError(problems)
    return study


def _caption_problems(path: Path, study: Study) -> list[str]:
    """Say what is wrong with the captions: a caption for each figure, and with any what the paper claims."""
    try:
        given, lines = captions(path)
    except ConfigError as error:
        return error.problems
    check = Checker(lines)
    allowed = {"claim", *study.figures}
    for name in given:
        check.known((name,), str(name), allowed, "caption")
    for name in sorted((allowed if given else allowed - {"claim"}) - given.keys()):
        what = "a paragraph on what the paper says" if name == "claim" else "it is a figure of study.yaml"
        check.add((), f"no caption {name!r}: {what}")
    for name, text in given.items():
        if not isinstance(text, str) or not text.strip():
            check.add((name,), f"must be text, got {text!r}")
    return check.problems


def _printed(check: Checker, study: Study, path: Path) -> None:
    """Check what a study says of the paper's tables and words against claims.csv, if it has one."""
    if not path.exists():
        for name in study.tables if study.cells else ():  # else the file itself is missed where claims are read
            check.add(("tables", name), f"shows what is printed, and there is no {path.name}")
        return
    try:
        rows = [row for _, row in read_rows(path, COLUMNS, OPTIONAL)[0]]
    except ConfigError:
        return  # what is wrong with the file as a whole is said where its claims are read
    tables = {row["source_table"] for row in rows}
    on = {(row["source_table"], row["dataset"]) for row in rows}
    for name, table in study.tables.items():
        known = check.known(("tables", name, "source_table"), table.source_table, tables, "table of claims.csv")
        if known and table.dataset and (table.source_table, table.dataset) not in on:
            text = f"claims.csv has no claim of {table.source_table!r} on {table.dataset!r}"
            check.add(("tables", name, "dataset"), text)
    for name, reading in study.readings.items():
        cells = ([row[f"cell_{word}"] for word in ("defense", "attack", "metric")] for row in rows)
        if reading.swaps and not any(reading.changes(*words) for words in cells):
            check.add(("readings", name), "changes no claim: it swaps slugs that no cell of claims.csv has")
    words = {row[column] for row in rows for column in ("dataset", "model", "defense", "attack")}
    for word in study.labels:
        check.known(("labels", word), word, words.union(study.recipes, study.defenses, study.attacks), "word")


@dataclass(frozen=True)
class Models:
    """Checks the architectures."""

    check: Checker
    study: Study

    def run(self) -> None:
        """Check every model."""
        for name in self.study.models:
            self._model(("models", name), name)

    def _model(self, key: Key, name: str) -> None:
        model = self.study.models[name]
        if ":" in model.fn:
            try:
                options(model.fn)
            except SourceError as error:
                self.check.add((*key, "fn"), f"{model.fn!r} cannot be read: {error}")
                return
        elif not self.check.known((*key, "fn"), model.fn, MODELS, "model"):
            return
        spec = model_spec(model.fn)
        self.check.options(key, spec.fn, model.options, leave_out=set(spec.preset))
        if isinstance(model.normalize, Standardize):
            self._standardize((*key, "normalize"), name, model.normalize)
        if model.normalize != "dataset" and any(t.space == "normalized" for t in self.study.threats.values()):
            self.check.add((*key, "normalize"), "must be dataset where a threat is in normalized space")

    def _standardize(self, key: Key, name: str, normalize: Standardize) -> None:
        for dataset in sorted(datasets_of(self.study, name) & DATASETS.keys()):
            channels = DATASETS[dataset].shape[0]
            for part, values in normalize:
                if len(values) not in (1, channels):
                    text = f"{dataset!r} needs 1 or {channels} values, got {len(values)}"
                    self.check.add((*key, part), text)


@dataclass(frozen=True)
class Defenses:
    """Checks the objectives, with what attacks them only; `taken` are the slugs of the suites."""

    check: Checker
    study: Study
    taken: Collection[str]

    def run(self) -> None:
        """Check every defense."""
        for name in self.study.defenses:
            self._defense(("defenses", name), name)

    def _defense(self, key: Key, name: str) -> None:
        check, study = self.check, self.study
        defense = study.defenses[name]
        if name in ("fresh", "continue"):
            check.add(key, f"{name!r} is reserved: it is a phase's start")
        if not check.known((*key, "fn"), defense.fn, DEFENSES, "defense"):
            return
        Attacks(check, study).adaptive((*key, "adaptive"), defense, self.taken)
        for option, value in defense.options.items():
            check.per_dataset((*key, option), value, study)
        target = DEFENSES[defense.fn].fn
        chosen = {option for candidate in defense.select for option in candidate}
        check.options(key, target, defense.options, elsewhere=chosen, by_dataset=True)
        for number, candidate in enumerate(defense.select):
            check.options((*key, "select", number), target, candidate, elsewhere=defense.options)
        if defense.select and study.selection is None:
            check.add((*key, "select"), "needs `selection`, the criterion that chooses")
        if defense.select and any(starts(study, name, dataset) for dataset in study.recipes):
            check.add((*key, "select"), "chooses among fresh trainings; no phase may start from another defense")
        Recipes(check, study).phases((*key, "phases"), name)


@dataclass(frozen=True)
class References:
    """Checks that every slug which is mentioned elsewhere is defined."""

    check: Checker
    study: Study

    def run(self) -> None:
        """Check cells, selection, readings, tables and figures."""
        self._cells()
        if self.study.selection:
            self._selection(self.study.selection)
        self._readings()
        for number, name in enumerate(self.study.paired.match if self.study.paired else []):
            self.check.known(("paired", "match", number), name, self.study.attacks, "attack")
        near_zero = self.study.near_zero
        if near_zero and near_zero.headline not in near_zero.thresholds:
            self.check.add(("near_zero", "headline"), f"must be one of the thresholds {near_zero.thresholds}")
        if near_zero and FIRST_CONV in near_zero.parameters:
            self._has_conv1(("near_zero",))
        for name, table in self.study.tables.items():
            if table.dataset:
                self.check.known(("tables", name, "dataset"), table.dataset, self.study.recipes, "dataset")
        for name, figure in self.study.figures.items():
            self._figure(("figures", name), figure)

    def _cells(self) -> None:
        """Every entry adds something."""
        before = set[tuple[str, ...]]()
        for number, cells in enumerate(self.study.cells):
            self._names(("cells", number), cells)
            listed = set(product(cells.datasets, cells.models, cells.defenses, cells.attacks))
            if listed <= before:
                self.check.add(("cells", number), "every combination of these stands above already")
            before |= listed

    def _names(self, key: Key, cells: CellsDef) -> None:
        study = self.study
        defined: dict[str, Collection[str]] = {
            "datasets": study.recipes,
            "models": study.models,
            "defenses": study.defenses,
            "attacks": study.attacks,
        }
        for kind, names in defined.items():
            for number, name in enumerate(getattr(cells, kind)):
                self.check.known((*key, kind, number), name, names, kind.removesuffix("s"))

    def _readings(self) -> None:
        if HEADLINE not in self.study.readings:
            self.check.add(("readings",), f"the reading {HEADLINE!r} is required")
        for name, reading in self.study.readings.items():
            self._reading(("readings", name), reading, headline=name == HEADLINE)

    def _reading(self, key: Key, reading: Reading, *, headline: bool) -> None:
        """The headline takes the paper as it is; another one swaps something, and has words for its verdict."""
        if headline and (reading.swaps or reading.mark):
            self.check.add(key, "is the paper's own: it swaps nothing and has no mark")
        if not headline and not reading.swaps:
            self.check.add(key, "swaps nothing, and is the headline once more")
        if not headline and not reading.mark:
            self.check.add(key, "a mark is required, the words of its verdict")
        words: dict[str, Collection[str]] = {
            "metric": MEASURES,
            "defense": self.study.defenses,
            "attack": self.study.attacks,
        }
        for kind, defined in words.items():
            for ours, other in getattr(reading, kind).items():
                place = (*key, kind, ours)
                known = [self.check.known(place, name, defined, kind) for name in (ours, other)]
                if all(known) and ours == other:
                    self.check.add(place, f"{ours!r} is swapped with itself")

    def _selection(self, selection: Selection) -> None:
        check, study = self.check, self.study
        if study.near_zero is None and not self._without_conv1:
            check.add(("selection",), "needs `near_zero`, whose headline threshold its table shows")
        key, name = ("selection", "reference"), selection.reference
        if check.known(key, name, study.defenses, "defense") and study.defenses[name].select:
            check.add(key, f"{name!r} is chosen itself (`select`): compare with one that is not")
        check.per_dataset(("selection", "tolerance"), selection.tolerance, study)
        check.per_dataset(("selection", "epochs"), selection.epochs, study)
        for dataset in study.recipes.keys() & selection.epochs.keys():
            self._selection_epochs(dataset, selection.epochs[dataset])
        if not check.known(("selection", "probe"), selection.probe, study.attacks, "attack"):
            return
        probe = study.attacks[selection.probe]
        if probe.grid or probe.substitute or OWN in each(probe.options.get("loss")):
            check.add(("selection", "probe"), f"must have no grid, no substitute, and not the loss {OWN!r}")
        spec = ATTACKS.get(probe.fn)
        if spec is not None and spec.kind != "fixed":
            text = f"must be an attack with a fixed budget, got one of kind {spec.kind!r}"
            check.add(("selection", "probe"), text)

    def _selection_epochs(self, dataset: str, epochs: int) -> None:
        """The trainings of the selection are shortened ones."""
        for name in [name for name, defense in self.study.defenses.items() if defense.select]:
            shortest = min(phase.epochs for phase in resolved_phases(self.study, name, dataset))
            if epochs > shortest:
                text = f"must be at most the {shortest} epochs of {name!r}, got {epochs}"
                self.check.add(("selection", "epochs", dataset), text)

    @property
    def _without_conv1(self) -> list[str]:
        """The models of the study that have no first convolution."""
        known = {name: one.fn for name, one in self.study.models.items() if ":" in one.fn or one.fn in MODELS}
        return [name for name, fn in known.items() if not model_spec(fn).conv1]

    def _has_conv1(self, key: Key) -> None:
        """What measures the first convolution is asked of models that have one."""
        for name in self._without_conv1:
            self.check.add(key, f"measures the first convolution, and {name!r} has none")

    def _figure(self, key: Key, figure: FigureDef) -> None:
        check, study = self.check, self.study
        if check.known((*key, "fn"), figure.fn, PLOTS, "plot"):
            check.options(key, PLOTS[figure.fn], figure.options)
            self._drawn(key, figure)
            if READS[figure.fn] == READS["weight-histogram"]:
                self._has_conv1((*key, "fn"))
        if figure.dataset:
            check.known((*key, "dataset"), figure.dataset, study.recipes, "dataset")
        if figure.table:
            check.known((*key, "table"), figure.table, RESULT_TABLES, "table")
        for number, defense in enumerate(figure.defenses):
            check.known((*key, "defenses", number), defense, study.defenses, "defense")

    def _drawn(self, key: Key, figure: FigureDef) -> None:
        """A plot is given what it draws: its table of results, or trained models."""
        table, models = TABLES.get(figure.fn), (figure.dataset, *figure.defenses)
        if table is None and (figure.table or not (figure.dataset and figure.defenses)):
            self.check.add(key, f"{figure.fn!r} draws models: give a dataset and defenses, and no table")
        if table is not None and (any(models) or figure.table != table):
            self.check.add(key, f"{figure.fn!r} draws a table: give `table: {table}`, and no dataset or defenses")
