"""One study: its models and defenses, and that every slug mentioned somewhere is defined."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from touchstone.attacks import ATTACKS
from touchstone.data import DATASETS
from touchstone.defenses import DEFENSES
from touchstone.models import MODELS, model_spec
from touchstone.paths import study_files
from touchstone.registry import OWN, options
from touchstone.report.plots import PLOTS
from touchstone.study.captions import captions
from touchstone.study.checks.attacks import Attacks
from touchstone.study.checks.checker import Checker, each
from touchstone.study.checks.recipes import Recipes
from touchstone.study.config import ConfigError, Key, parse, read
from touchstone.study.schema import (
    RESULT_TABLES,
    CellsDef,
    FigureDef,
    Selection,
    Standardize,
    Study,
    datasets_of,
    for_dataset,
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
            except (ValueError, SyntaxError) as error:
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
        first = next(iter(study.recipes))
        given = {
            k: for_dataset(v, first) if not isinstance(v, Mapping) or first in v else None
            for k, v in defense.options.items()
        }
        for number, candidate in enumerate(defense.select or [{}]):
            where = (*key, "select", number) if defense.select else key
            check.options(where, DEFENSES[defense.fn].fn, {**given, **candidate})
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
        for number, cells in enumerate(self.study.cells):
            self._cells(("cells", number), cells)
        if self.study.selection:
            self._selection(self.study.selection)
        self._readings()
        near_zero = self.study.near_zero
        if near_zero and near_zero.headline not in near_zero.thresholds:
            self.check.add(("near_zero", "headline"), f"must be one of the thresholds {near_zero.thresholds}")
        for name, table in self.study.tables.items():
            if table.dataset:
                self.check.known(("tables", name, "dataset"), table.dataset, self.study.recipes, "dataset")
        for name, figure in self.study.figures.items():
            self._figure(("figures", name), figure)

    def _cells(self, key: Key, cells: CellsDef) -> None:
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
        if "headline" not in self.study.readings:
            self.check.add(("readings",), "the reading 'headline' is required")
        for name, reading in self.study.readings.items():
            if name == "headline" and (reading.defense or reading.attack or reading.mark):
                self.check.add(("readings", name), "is the paper as it stands: it swaps nothing and has no mark")
            if name != "headline" and not reading.mark:
                self.check.add(("readings", name, "mark"), "the words of its verdict are required")
            for kind, defined in (("defense", self.study.defenses), ("attack", self.study.attacks)):
                for ours, other in getattr(reading, kind).items():
                    self.check.known(("readings", name, kind, ours), ours, defined, kind)
                    self.check.known(("readings", name, kind, ours), other, defined, kind)

    def _selection(self, selection: Selection) -> None:
        check, study = self.check, self.study
        if study.near_zero is None:
            check.add(("selection",), "needs `near_zero`, whose headline threshold its table shows")
        check.known(("selection", "reference"), selection.reference, study.defenses, "defense")
        check.per_dataset(("selection", "tolerance"), selection.tolerance, study)
        check.per_dataset(("selection", "epochs"), selection.epochs, study)
        if not check.known(("selection", "probe"), selection.probe, study.attacks, "attack"):
            return
        probe = study.attacks[selection.probe]
        if probe.grid or probe.substitute or OWN in each(probe.options.get("loss")):
            check.add(("selection", "probe"), f"must have no grid, no substitute, and not the loss {OWN!r}")
        spec = ATTACKS.get(probe.fn)
        if spec is not None and spec.kind != "fixed":
            text = f"must be an attack with a fixed budget, got one of kind {spec.kind!r}"
            check.add(("selection", "probe"), text)

    def _figure(self, key: Key, figure: FigureDef) -> None:
        check, study = self.check, self.study
        if check.known((*key, "fn"), figure.fn, PLOTS, "plot"):
            check.options(key, PLOTS[figure.fn], figure.options)
        if figure.dataset:
            check.known((*key, "dataset"), figure.dataset, study.recipes, "dataset")
        if figure.table:
            check.known((*key, "table"), figure.table, RESULT_TABLES, "table")
        if bool(figure.table) == bool(figure.dataset and figure.defenses):
            check.add(key, "give either a table, or a dataset and defenses")
        for number, defense in enumerate(figure.defenses):
            check.known((*key, "defenses", number), defense, study.defenses, "defense")
