"""The plan of a run: which models are trained, and which attacks run on each.

    claims + recipes -> models -> attacks -> jobs (`touchstone.plan.build`)

Nothing here imports torch: the Snakefile makes the plan before any job starts.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from touchstone import paths
from touchstone.cell import ModelId, ThreatSpec, distinct_radii
from touchstone.data import DATASETS
from touchstone.paths import Results
from touchstone.plan.asked import Asked, asked
from touchstone.plan.caps import Limits
from touchstone.plan.reach import check_reach
from touchstone.registry import EXAMPLES, DatasetSpec, SourceError, find_code, is_elsewhere
from touchstone.report.plots import PLOTS, POINTS
from touchstone.study import claims
from touchstone.study.checks import Checker, check_config, checked_study
from touchstone.study.config import Config, ConfigError
from touchstone.study.config import load as load_config
from touchstone.study.schema import (
    CellsDef,
    FileDef,
    First,
    MemberDef,
    Study,
    begins_with_weights,
    for_cell,
    starts,
    weights_of,
)
from touchstone.study.suites import PLAIN, Suites, load_suites, norm_of, worst_slug

ALL = "all"  # the batch of all attacks on a model, `jobs: per_model`


@dataclass(frozen=True, eq=False)  # a plan is itself alone: what is worked out of it is kept by it
class Plan:
    """Everything that a run needs."""

    root: Path
    config: Config
    studies: dict[str, Study]
    suites: Suites
    asked: dict[str, list[Asked]] = field(repr=False)

    @cached_property
    def results(self) -> Results:
        """Where the run's results lie."""
        return Results.of(self.config.run)

    def stand_in(self, dataset: str) -> str:
        """Return the dataset that this run uses in place of one of a study, "" for its own."""
        return self.config.stand_in.get(dataset, "")

    def data(self, dataset: str) -> str:
        """Return the dataset in use for one of a study."""
        return self.stand_in(dataset) or dataset

    def dataset(self, name: str) -> DatasetSpec:
        """Return what a dataset is: a row of the table, or one of the studies' own."""
        return self.own_data(name) or DATASETS[name]

    def own_data(self, name: str) -> DatasetSpec | None:
        """Return what data of the user's own are, None for a name of the table."""
        rows = (study.datasets[name].spec for study in self.studies.values() if name in study.datasets)
        return next(rows, None)

    def limits(self, model: ModelId, attack: str = "") -> Limits:
        """Return the caps on a training, or on an attack on it."""
        where = model._asdict() | ({"attack": attack} if attack else {})
        return Limits.where(self.config.caps, **where)

    # ---- models

    def weights(self, model: ModelId) -> FileDef | None:
        """Return the file of weights that the study gives for a model, if it does."""
        study, kind = self.studies[model.study], (model.dataset, model.model, model.defense)
        files = weights_of(study, *kind)
        if begins_with_weights(study, model.defense, model.dataset):
            return files[0] if files else None  # one file for all seeds
        return files[model.seed] if model.seed < len(files) else None

    def weights_files(self, model: ModelId) -> list[Path]:
        """Return where the weights lie that the study gives for a model, none if it gives none."""
        given = self.weights(model)
        return [paths.study_files(model.study, self.root).beside(given.file)] if given else []

    def is_given(self, model: ModelId) -> bool:
        """Say whether weights stand in place of a model's training."""
        study, kind = self.studies[model.study], (model.dataset, model.model, model.defense)
        return bool(weights_of(study, *kind)) and not begins_with_weights(study, model.defense, model.dataset)

    def wanted_seeds(self, model: ModelId) -> int:
        """Return how many seeds of a model the study has: as many as it gives weights for, or its `seeds`."""
        study = self.studies[model.study]
        given = weights_of(study, model.dataset, model.model, model.defense) if self.is_given(model) else []
        return len(given) or for_cell(study.seeds, model.dataset, model.defense)

    def seeds(self, model: ModelId, attack: str = "") -> int:
        """Return how many seeds of a model are trained, or attacked so."""
        wanted = self.wanted_seeds(model)
        seeds = self.limits(model).capped("seeds", wanted)
        return min(seeds, self.limits(model, attack).capped("seeds", wanted)) if attack else seeds

    @cached_property
    def models(self) -> list[ModelId]:
        """Every model to attack, in a fixed order."""
        only = self.config.only
        found = set()
        for study, wanted in self.asked.items():
            for dataset, model, defense, _ in wanted:
                parts = ((only.datasets, dataset), (only.models, model), (only.defenses, defense))
                if all(not names or name in names for names, name in parts):
                    found.add(ModelId(study, dataset, model, defense, 0))
        return sorted(one._replace(seed=seed) for one in found for seed in range(self.seeds(one)))

    @cached_property
    def trained(self) -> list[ModelId]:
        """Every model to train: those attacked, substitutes of attacks on them, and what all of these start from."""
        found = set[ModelId]()
        for model in self.models:
            substitutes = (s for attack in self.attacks(model) for s in self.substitutes(model, attack))
            for one in (model, *substitutes):
                found |= set(self._lineage(one))
        return sorted(found)

    def selects(self, model: ModelId) -> bool:
        """Say whether options of a model's defense are chosen by the study's selection."""
        return bool(self.studies[model.study].defenses[model.defense].select) and not self.is_given(model)

    def start(self, model: ModelId) -> list[ModelId]:
        """Return the model whose weights a training starts from, if any."""
        if self.is_given(model):
            return []
        names = starts(self.studies[model.study], model.defense, model.dataset)
        return [model._replace(defense=name) for name in names]

    def _lineage(self, model: ModelId) -> Iterator[ModelId]:
        yield model
        for start in self.start(model):
            yield from self._lineage(start)

    # ---- attacks

    @cached_property
    def _asked_of(self) -> dict[tuple[str, str, str, str], set[str]]:
        """(study, dataset, model, defense) -> attacks that are asked for."""
        found = defaultdict(set)
        for study, wanted in self.asked.items():
            for dataset, model, defense, attack in wanted:
                found[study, dataset, model, defense].add(attack)
        return found

    @cache  # noqa: B019 - asked for a dozen times per model, in a program that makes one plan
    def attacks(self, model: ModelId) -> list[str]:
        """Return the attacks that run on a model in the study's order, then its worst cases."""
        study, only = self.studies[model.study], self.config.only.attacks
        wanted = self._asked_of[model[:-1]] | {worst_slug(norm) for norm in study.worst}
        wanted = (wanted & set(only) if only else wanted) | {"clean"}
        wanted |= {source for attack in wanted if (source := self.grid_from(model, attack))}
        every = [*study.attacks, *map(worst_slug, study.worst)]
        return [a for a in every if a in wanted and model.seed < self.seeds(model, a)]

    def batches(self, model: ModelId) -> dict[str, list[str]]:
        """Return the attacks on a model by the job that runs them; one that chooses for others runs with them."""
        found = defaultdict[str, list[str]](list)
        for attack in self.attacks(model):
            found[self._batch(model, attack)].append(attack)
        if self.config.jobs == "per_norm" and len(found) > 1:  # what has no norm costs less than a job
            rest = found.pop("none")
            first = next(iter(found))
            found[first] = [*rest, *found[first]]
        return dict(found)

    def _batch(self, model: ModelId, attack: str) -> str:
        """Return the name of the batch that an attack belongs to."""
        if self.config.jobs == "per_model":
            return ALL
        if self.config.jobs == "per_attack":
            return self.grid_from(model, attack) or attack
        threat = self.threat(model, attack)
        return threat.norm if threat else "none"

    def grid_from(self, model: ModelId, attack: str) -> str | None:
        """Return the attack whose choice of a grid another one takes over, None if it takes none."""
        study = self.studies[model.study]
        return study.attacks[attack].grid_from if attack in study.attacks else None

    def population(self, model: ModelId, attack: str) -> int | None:
        """Return how many of the first test images an attack's published numbers are about, None for all of them."""
        study = self.studies[model.study]
        own = study.attacks[attack].samples if attack in study.attacks else None
        given = own or study.samples
        return given.first if isinstance(given, First) else None

    def samples(self, model: ModelId, attack: str) -> int | None:
        """Return how many images a cap leaves of an attack's population (None: the test set), None for all of it."""
        cap, population = self.limits(model, attack)["samples"], self.population(model, attack)
        return None if cap is None or (population is not None and cap >= population) else cap

    def shown(self, model: ModelId, attack: str) -> int:
        """Return how many images of an attack on a model people see, 0 for none."""
        people = self.studies[model.study].people
        if people is None or model.seed >= people.seeds or not any(_lists(c, model, attack) for c in people.cells):
            return 0
        pages = self.limits(model, attack).capped("assignments", people.assignments)
        there = [n for n in (self.samples(model, attack), self.population(model, attack)) if n is not None]
        return min([pages * people.images, *there])

    @cached_property
    def asking(self) -> list[str]:
        """The studies that ask people of images of this run."""
        return sorted({m.study for m in self.models for attack in self.attacks(m) if self.shown(m, attack)})

    def kept(self, model: ModelId, attack: str) -> int:
        """Return how many points of an attack on a model are kept as images: for people, and for figures that ask."""
        figures = self.studies[model.study].figures.values()
        asked = (f.samples for f in figures if PLOTS[f.fn].data == POINTS and attack in f.attacks)
        return max([EXAMPLES, self.shown(model, attack), *filter(None, asked)])

    def members(self, model: ModelId, attack: str) -> dict[str, MemberDef]:
        """Return what an attack on a model consists of: itself, or the attacks behind a worst case."""
        study = self.studies[model.study]
        return self.suites.behind(study, study.defenses[model.defense], self.config.suite, attack)

    def substitutes(self, model: ModelId, attack: str) -> list[ModelId]:
        """Return the models that an attack on this one, or its members, start from."""
        members = self.members(model, attack).values()
        return [self.substitute(model, member) for member in members if member.substitute is not None]

    def substitute(self, model: ModelId, member: MemberDef) -> ModelId:
        """Return the model that a transfer to this one starts from.

        Its seed is the next of the study's seeds on its own recipe, the first after the last. So it is never that
        of the target: equal seeds would give equal initial weights and batches where the two are trained alike.
        With a single seed, 0, substitutes have seed 1. Of given weights there are no others than the given ones.
        """
        given = self.studies[model.study].plain if member.substitute == PLAIN else member.substitute
        name, _, defense = str(for_cell(given, model.dataset, model.defense)).partition("/")
        other = model._replace(model=name, defense=defense)
        seeds = self.seeds(other) if self.is_given(other) else max(self.seeds(other), 2)
        return other._replace(seed=(model.seed + 1) % seeds)

    # ---- threats

    def threat(self, model: ModelId, attack: str) -> ThreatSpec | None:
        """Return what an attack may do to a model; None for the clean pass."""
        study = self.studies[model.study]
        norm = norm_of(study, attack)
        if norm is not None:
            covered = (self.pixel_radii(model, name) for name in study.worst[norm])
            return ThreatSpec(norm, epsilons=distinct_radii(r for radii in covered for r in radii.values()))
        name = study.attacks[attack].threat
        if name is None:
            return None
        threat = study.threats[name]
        space = for_cell(threat.space, model.dataset, model.defense)
        return ThreatSpec(threat.norm, space, threat.bounds, tuple(threat.radii(model.dataset, model.defense)))

    def pixel_radii(self, model: ModelId, threat: str) -> dict[float, float]:
        """Map each radius of a threat on a model to the radius of the largest pixel ball inside it.

        In normalised space a step of r in every channel is r * std_c in pixels, so the ball of radius
        r * min(std) in pixels lies inside for every norm: an attack that succeeds there succeeds under the threat.
        In whitened space, where contrast has no bound, none does: the map is empty.
        """
        definition = self.studies[model.study].threats[threat]
        space = for_cell(definition.space, model.dataset, model.defense)
        if space == "whitened":
            return {}
        scale = min(self.dataset(self.data(model.dataset)).std) if space == "normalized" else 1.0
        return {e: e * scale for e in definition.radii(model.dataset, model.defense)}


def _lists(cells: CellsDef, model: ModelId, attack: str) -> bool:
    listed = (cells.datasets, cells.models, cells.defenses, cells.attacks)
    words = (model.dataset, model.model, model.defense, attack)
    return all(word in names for word, names in zip(words, listed, strict=True))


def make_plan(root: Path, config_file: Path) -> Plan:
    """Read config, studies and claims, check all of them, and return the plan.

    Raises:
        ConfigError: with every problem of every file at once.
    """
    config, lines = load_config(config_file)
    check = Checker(lines)
    available, twice, suites = paths.studies(root), paths.twice(root), load_suites(paths.suites(root))
    _find_code(check, config)
    studies, wanted = {}, {}
    for number, name in enumerate(config.studies):
        if not check.known(("studies", number), name, available, "study"):
            continue
        if name in twice:
            check.add(("studies", number), f"{name!r} is in {paths.STUDIES} and in {paths.OWN_STUDIES}: rename one")
        try:
            files = available[name]
            printed = claims.read(files.claims)
            studies[name] = checked_study(files, printed, suites)
            wanted[name] = asked(files, studies[name], printed)
        except ConfigError as error:
            check.problems += error.problems
        except SourceError as error:  # of a function that the tables of the package name
            check.problems.append(str(error))
    if not check.problems:
        check_config(check, config, studies, suites, {one.dataset for rows in wanted.values() for one in rows})
    plan = Plan(root, config, studies, suites, wanted)
    if not check.problems:
        check_reach(check, plan)
    if check.problems:
        raise ConfigError(check.problems)
    return plan


def _find_code(check: Checker, config: Config) -> None:
    """Let Python find the user's own code, here and in the processes of jobs, which have PYTHONPATH."""
    for number, (given, folder) in enumerate(zip(config.code, paths.code(config.code), strict=True)):
        if not folder.is_dir():
            check.add(("code", number), f"there is no folder {given!r}")
        elif hidden := sorted(name for name in paths.modules(folder) if is_elsewhere(name, folder)):
            text = f"{given} would hide {', '.join(hidden)} of Python or of what is installed: rename these files"
            text += ", or give a folder without them"
            check.add(("code", number), text)
        else:
            find_code(folder)
