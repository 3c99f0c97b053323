"""One study: its models and defenses, and that every slug mentioned somewhere is defined."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from string import digits as DIGITS

from touchstone.attacks import ATTACKS, attack_spec
from touchstone.cell import radius_index
from touchstone.data import DATASETS, READERS, reader
from touchstone.defenses import DEFENSES, defense_spec
from touchstone.models import FIRST_CONV, MODELS, model_spec
from touchstone.paths import StudyFiles
from touchstone.registry import OWN, PlotSpec, is_own, options, registered, values_of
from touchstone.report.plots import FEATURES, PLOTS, POINTS
from touchstone.study import figures
from touchstone.study.alike import spelled_out
from touchstone.study.captions import captions
from touchstone.study.checks.attacks import Attacks, space_on
from touchstone.study.checks.checker import Checker, each
from touchstone.study.checks.printed import Captions, Printed
from touchstone.study.checks.recipes import Recipes
from touchstone.study.claims import HEADLINE, Sheet
from touchstone.study.claims import read as read_claims
from touchstone.study.config import ConfigError, Key, parse, read
from touchstone.study.scale import METRICS
from touchstone.study.schema import (
    WEIGHTS,
    CellsDef,
    FigureDef,
    MonitorDef,
    NearZero,
    PeopleDef,
    Reading,
    Selection,
    Standardize,
    Study,
    TableDef,
    WeightsDef,
    begins_with_weights,
    datasets_of,
    resolved_phases,
    starts,
)
from touchstone.study.suites import Suites, worst_slug


def load_study(files: StudyFiles) -> Study:
    """Read and check a study, its own claims with it, but no suites; see `checked_study`."""
    return checked_study(files, read_claims(files.claims))


def checked_study(files: StudyFiles, printed: Sheet | None, suites: Suites | None = None) -> Study:
    """Read and check a study's definition, its captions, and the suites as far as the study uses them.

    Args:
        files: of the study.
        printed: its claims as they are written, None where it has no such file.
        suites: of all studies; None if they are not checked.

    Raises:
        ConfigError: with every problem found, each with file, line, key, value and what is allowed.
    """
    values, lines = read(files.definition)
    study = parse(Study, spelled_out(values, lines), lines)
    check = Checker(lines)
    if study.study != files.study:
        check.add(("study",), f"must equal the folder's name {files.study!r}, got {study.study!r}")
    Datasets(check, study).run()
    Recipes(check, study).run()
    Models(check, study).run()
    Defenses(check, study, suites.slugs if suites else frozenset()).run()
    Attacks(check, study).run()
    GivenWeights(check, study, files).run()
    References(check, study).run()
    Printed(check, study, files.claims.name, printed).run()
    problems = [*check.problems, *_in_captions(files.captions, study), *_in_figures(files.figures, study)]
    if suites is not None:
        other = Checker(suites.lines)
        Attacks(other, study).suites(suites)
        problems += other.problems
    if problems:
        raise ConfigError(problems)
    return study


def _in_captions(path: Path, study: Study) -> list[str]:
    """Return what is wrong with a file of captions."""
    try:
        given, lines = captions(path)
    except ConfigError as error:
        return error.problems
    check = Checker(lines)
    Captions(check, study, given).run()
    return check.problems


def _in_figures(path: Path, study: Study) -> list[str]:
    """Return what is wrong with what is said of the work's own figures."""
    try:
        figures.load(path, study.study, study.figures)
    except ConfigError as error:
        return error.problems
    return []


@dataclass(frozen=True)
class Datasets:
    """Checks the data of the user's own."""

    check: Checker
    study: Study

    def run(self) -> None:
        """Check every row: its name, its reader with its options, and its constants per channel."""
        for name, data in self.study.datasets.items():
            key: Key = ("datasets", name)
            if name in DATASETS:
                self.check.add(key, f"{name!r} is a dataset of the package; give it another name")
            if (target := self.check.spec(key, data.fn, READERS, reader, "reader")) is not None:
                self.check.options(key, target, data.options)
            for part in ("mean", "std"):
                if len(values := getattr(data, part)) != data.shape[0]:
                    self.check.add((*key, part), f"needs {data.shape[0]} values, got {len(values)}")


FIRST_LAYERS = {"normalized": "dataset", "whitened": "whitened"}  # space -> the `normalize` that it is behind


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
        spec = self.check.spec(key, model.fn, MODELS, model_spec, "model")
        if spec is None:
            return
        before = len(self.check.problems)
        self.check.options(key, spec.fn, model.options, leave_out=set(spec.preset))
        if spec.library and isinstance(named := model.options.get("name"), str):
            self.check.known((*key, "name"), named, registered(spec.library), f"classifier of {spec.library}")
        if len(self.check.problems) == before:
            self.check.together(key, spec.fn, {**spec.preset, **model.options}, self.study)
        if isinstance(model.normalize, Standardize):
            self._standardize((*key, "normalize"), name, model.normalize)
        for space in sorted(self._spaces(name) & FIRST_LAYERS.keys()):
            if model.normalize != (needed := FIRST_LAYERS[space]):
                self.check.add((*key, "normalize"), f"must be {needed} where a threat or defense is in {space} space")

    def _spaces(self, name: str) -> set[str]:
        """Return the spaces of the threats and defenses that meet a model."""
        study = self.study
        defenses = {one for cells in study.cells if name in cells.models for one in cells.defenses}
        options = [study.defenses[one].options.get("space", "pixel") for one in defenses & study.defenses.keys()]
        written = [*(threat.space for threat in study.threats.values()), *options]
        return {space_on(dataset, space) for space in written for dataset in datasets_of(study, name)}

    def _standardize(self, key: Key, name: str, normalize: Standardize) -> None:
        known = self.study.known_datasets
        for dataset in sorted(datasets_of(self.study, name) & known.keys()):
            channels = known[dataset].shape[0]
            for part, values in normalize:
                if len(values) not in (1, channels):
                    text = f"{dataset!r} needs {values_of(channels)}, got {len(values)}"
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
        if name in ("fresh", "continue", WEIGHTS):
            check.add(key, f"{name!r} is reserved: it is a phase's start")
        spec, before = check.spec(key, defense.fn, DEFENSES, defense_spec, "defense"), len(check.problems)
        if spec is None:
            return
        Attacks(check, study).adaptive((*key, "adaptive"), defense, self.taken)
        for option, value in defense.options.items():
            check.per_dataset((*key, option), value, study)
        chosen = {option for candidate in defense.select for option in candidate}
        check.options(key, spec.fn, defense.options, elsewhere=chosen, by_dataset=True)
        for number, candidate in enumerate(defense.select):
            check.options((*key, "select", number), spec.fn, candidate, elsewhere=defense.options)
        for candidate in (defense.select or [{}]) if len(check.problems) == before else []:
            check.together(key, spec.fn, {**defense.options, **candidate}, study)
        if defense.select and study.selection is None:
            check.add((*key, "select"), "needs `selection`, the criterion that chooses")
        if defense.select and any(starts(study, name, dataset) for dataset in study.recipes):
            check.add((*key, "select"), "chooses among fresh trainings; no phase may start from another defense")
        Recipes(check, study).phases((*key, "phases"), name)


@dataclass(frozen=True)
class GivenWeights:
    """Checks the files of weights that a study gives."""

    check: Checker
    study: Study
    files: StudyFiles

    def run(self) -> None:
        """Check every entry: it speaks of something that the study has, of nothing twice, and has its files."""
        seen = set[tuple[str, str, str]]()
        for number, given in enumerate(self.study.weights):
            key: Key = ("weights", number)
            kind = (given.dataset, given.model, given.defense)
            if kind in seen:
                self.check.add(key, f"{'/'.join(kind)} stands above already")
            seen.add(kind)
            self._entry(key, given)
            for place, file in enumerate(given.files):
                path = self.files.beside(file.file)
                if not path.is_file():
                    self.check.add((*key, "files", place, "file"), f"there is no file {path}")
                else:
                    self.check.sum((*key, "files", place, "sha256"), path, file.sha256)

    def _entry(self, key: Key, given: WeightsDef) -> None:
        check, study = self.check, self.study
        known = [
            check.known((*key, "dataset"), given.dataset, study.recipes, "dataset"),
            check.known((*key, "model"), given.model, study.models, "model"),
            check.known((*key, "defense"), given.defense, study.defenses, "defense"),
        ]
        if not all(known):
            return
        begins = begins_with_weights(study, given.defense, given.dataset)
        if begins and len(given.files) > 1:
            check.add((*key, "files"), f"{given.defense!r} begins every seed with one file, got {len(given.files)}")
        if not begins and study.defenses[given.defense].select:
            check.add((*key, "defense"), f"nothing is selected for {given.defense!r} where its weights are given")


@dataclass(frozen=True)
class References:
    """Checks that every slug which is mentioned elsewhere is defined."""

    check: Checker
    study: Study

    def run(self) -> None:
        """Check cells, selection, readings, tables and figures."""
        self._cells()
        if self.study.people:
            self._people(self.study.people)
        if self.study.selection:
            self._selection(self.study.selection)
        if self.study.monitor:
            self._monitor(self.study.monitor)
        self._readings()
        for number, name in enumerate(self.study.paired.match if self.study.paired else []):
            self.check.known(("paired", "match", number), name, self.study.attacks, "attack")
        near_zero = self.study.near_zero
        if near_zero and near_zero.headline not in near_zero.thresholds:
            self.check.add(("near_zero", "headline"), f"must be one of the thresholds {near_zero.thresholds}")
        if near_zero and FIRST_CONV in near_zero.parameters:
            self._some_conv1(near_zero)
        for name, table in self.study.tables.items():
            self._table(("tables", name), table)
        for name, figure in self.study.figures.items():
            self._figure(("figures", name), figure)

    def _table(self, key: Key, table: TableDef) -> None:
        if table.dataset:
            self.check.known((*key, "dataset"), table.dataset, self.study.recipes, "dataset")
        if table.lost and table.lost.defense:
            self.check.known((*key, "lost", "defense"), table.lost.defense, self.study.defenses, "defense")
        if (table.lost is None) == (table.source_table is None):
            self.check.add(key, "expected either source_table or lost")
        if table.lost and not table.shape:
            self.check.add((*key, "lost"), "needs a shape")
        if table.shape and len(set(table.shape.axes)) < len(table.shape.axes):
            self.check.add((*key, "shape"), "rows, columns and blocks must differ")

    def _cells(self) -> None:
        """Every entry adds something."""
        before = set[tuple[str, ...]]()
        for number, cells in enumerate(self.study.cells):
            self._names(("cells", number), cells)
            listed = set(product(cells.datasets, cells.models, cells.defenses, cells.attacks))
            if listed <= before:
                self.check.add(("cells", number), "every combination of these stands above already")
            before |= listed

    def _people(self, people: PeopleDef) -> None:
        """They see points of a minimal-norm attack, and type one digit."""
        for number, cells in enumerate(people.cells):
            key: Key = ("people", "cells", number)
            self._names(key, cells)
            for attack in [name for name in cells.attacks if name in self.study.attacks]:
                fn = self.study.attacks[attack].fn
                if (is_own(fn) or fn in ATTACKS) and (kind := attack_spec(fn).kind) != "minimal":
                    self.check.add((*key, "attacks"), f"{attack!r} must be a minimal-norm attack, got kind {kind!r}")
            for dataset in [name for name in cells.datasets if name in self.study.known_datasets]:
                if (classes := self.study.known_datasets[dataset].classes) > len(DIGITS):
                    self.check.add((*key, "datasets"), f"{dataset!r} has {classes} classes, and an answer is a digit")

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
            "metric": METRICS,
            "model": self.study.models,
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
        key, name = ("selection", "reference"), selection.reference
        if check.known(key, name, study.defenses, "defense") and study.defenses[name].select:
            check.add(key, f"{name!r} is chosen itself (`select`): compare with one that is not")
        check.per_dataset(("selection", "tolerance"), selection.tolerance, study)
        check.per_dataset(("selection", "epochs"), selection.epochs, study)
        for dataset in study.recipes.keys() & selection.epochs.keys():
            self._selection_epochs(dataset, selection.epochs[dataset])
        self._probe(("selection", "probe"), selection.probe)

    def _monitor(self, monitor: MonitorDef) -> None:
        for number, name in enumerate(monitor.defenses):
            self.check.known(("monitor", "defenses", number), name, self.study.defenses, "defense")
        self.check.per_dataset(("monitor", "attack"), monitor.attack, self.study)
        for attack in each(monitor.attack):
            self._probe(("monitor", "attack"), attack)

    def _probe(self, key: Key, name: str) -> None:
        """An attack that is run beside a training or a selection has a budget, and needs nothing but the net."""
        check, attacks = self.check, self.study.attacks
        if not check.known(key, name, attacks, "attack"):
            return
        probe = attacks[name]
        if probe.grid or probe.substitute or OWN in each(probe.options.get("loss")):
            check.add(key, f"must have no grid, no substitute, and not the loss {OWN!r}")
        spec = check.spec(("attacks", name), probe.fn, ATTACKS, attack_spec, "attack")
        if spec is not None and spec.kind != "fixed":
            check.add(key, f"must be an attack with a fixed budget, got one of kind {spec.kind!r}")

    def _selection_epochs(self, dataset: str, epochs: int) -> None:
        """The trainings of the selection are shortened ones."""
        for name in [name for name, defense in self.study.defenses.items() if defense.select]:
            shortest = min(phase.epochs for phase in resolved_phases(self.study, name, dataset))
            if epochs > shortest:
                text = f"must be at most the {shortest} epochs of {name!r}, got {epochs}"
                self.check.add(("selection", "epochs", dataset), text)

    @property
    def _conv1(self) -> dict[str, bool | None]:
        """Whether the models of the study have a first convolution, of its name; None where only the net knows."""
        known = {name: one.fn for name, one in self.study.models.items() if is_own(one.fn) or one.fn in MODELS}
        return {name: model_spec(fn).conv1 for name, fn in known.items()}

    def _some_conv1(self, near_zero: NearZero) -> None:
        """The first convolution is measured of the models that have one; of others' nets if `parameters` names it."""
        have = self._conv1.values()
        named = "parameters" in near_zero.model_fields_set
        if have and True not in have and not (named and None in have):
            text = "measures the first convolution, which no model here is known to have: give `parameters`"
            self.check.add(("near_zero",), text)

    def _has_conv1(self, key: Key) -> None:
        """What draws the first convolution is asked of models that are known to have one."""
        for name in [name for name, conv1 in self._conv1.items() if not conv1]:
            self.check.add(key, f"shows the first convolution, and {name!r} is not known to have one")

    def _figure(self, key: Key, figure: FigureDef) -> None:
        check, study = self.check, self.study
        if check.known((*key, "fn"), figure.fn, PLOTS, "plot"):
            plot = PLOTS[figure.fn]
            self._named(key, figure, plot)
            self._options(key, figure, plot)
        worst = map(worst_slug, study.worst)
        defined: dict[str, Collection[str]] = {
            "datasets": study.recipes,
            "models": study.models,
            "defenses": study.defenses,
            "attacks": {*study.attacks, *worst},
        }
        for kind, names in defined.items():
            for number, name in enumerate(getattr(figure, kind)):
                check.known((*key, kind, number), name, names, kind.removesuffix("s"))
        self._along(key, figure)
        self._radius(key, figure)

    def _named(self, key: Key, figure: FigureDef, plot: PlotSpec) -> None:
        """A figure names what its plot takes, and all that it needs."""
        for name in figure.named:
            self.check.known((*key, name), name, (*plot.needs, *plot.takes), f"key of {figure.fn!r}")
        for name in plot.needs:
            if name not in figure.named:
                self.check.add(key, f"{figure.fn!r} needs {name!r}")
        if plot.data == POINTS and len(figure.datasets) > 1:
            self.check.add((*key, "datasets"), f"{figure.fn!r} shows the images of one dataset")
        if plot.data == FEATURES and (len(figure.attacks) > 1 or not self.study.attacks.keys() >= {*figure.attacks}):
            self.check.add((*key, "attacks"), f"{figure.fn!r} shows the points of one attack of the study")

    def _options(self, key: Key, figure: FigureDef, plot: PlotSpec) -> None:
        """An option is of the function that draws, or of the one that reads."""
        read = options(plot.read)
        self.check.options(key, plot.fn, {k: v for k, v in figure.options.items() if k not in read})
        self.check.options(key, plot.read, {k: v for k, v in figure.options.items() if k in read})
        if "parameter" in read and figure.options.get("parameter", FIRST_CONV) == FIRST_CONV:
            self._has_conv1((*key, "fn"))

    def _radius(self, key: Key, figure: FigureDef) -> None:
        """Every published attack with a budget is run at the radius; a worst case is read at radii in pixels."""
        study, epsilon = self.study, figure.epsilon
        if epsilon is None:
            return
        threats = {study.attacks[name].threat for name in figure.attacks if name in study.attacks}
        for threat in (study.threats[name] for name in threats if name in study.threats):
            for dataset in (name for name in figure.datasets if name in threat.epsilons):
                if all(radius_index(radii, epsilon) is None for radii in threat.on(dataset)):
                    text = f"must be a radius on {dataset}, one of {threat.epsilons[dataset]}, got {epsilon:g}"
                    self.check.add((*key, "epsilon"), text)

    def _along(self, key: Key, figure: FigureDef) -> None:
        """Every defense has a number for each option on the axis."""
        for number, option in enumerate(figure.along):
            for name in figure.defenses:
                value = self.study.defenses[name].options.get(option) if name in self.study.defenses else 0
                if not isinstance(value, int | float):
                    self.check.add((*key, "along", number), f"{name!r} has no number {option!r}, got {value!r}")
