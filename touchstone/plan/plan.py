"""The plan of a run: which models and attacks its claims ask for, and every value that decides their results.

    claims + recipes -> cells -> training jobs -> attack jobs

Nothing here imports torch: the Snakefile makes the plan before any job starts.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from touchstone.attacks import ATTACKS
from touchstone.data import DATASETS
from touchstone.defenses import DEFENSES
from touchstone.registry import OWN, AttackSpec, DefenseSpec, options
from touchstone.study import claims as claim_table
from touchstone.study import statements
from touchstone.study.checks import Checker, check_config, load_study
from touchstone.study.config import Config, ConfigError, read
from touchstone.study.config import load as load_config
from touchstone.study.schema import LIMITS, AttackDef, MemberDef, Study, for_dataset, shrunk, starts, training

STEPS = ("steps", "attack_steps")  # limits that a longer step makes up for
LENGTHS = ("step_size", "step_sizes")  # options with the length of a step, one or several


@dataclass(frozen=True, order=True)
class Cell:
    """One trained model. `original` is the dataset the study names, `dataset` the one that stands in for it."""

    study: str
    original: str
    dataset: str
    model: str
    defense: str
    seed: int

    @property
    def path(self) -> str:
        """Path segments that identify the model within a study's folder."""
        return f"{self.dataset}/{self.model}/{self.defense}/{self.seed}"


@dataclass(frozen=True)
class Plan:
    """Every job that a run needs, with the values that decide its result."""

    root: Path
    config: Config
    studies: dict[str, Study]
    asked: dict[str, list[dict[str, str]]] = field(repr=False)  # what each study asks for, see `asked`

    def actual(self, original: str) -> str:
        """Return the dataset that stands in for `original` in this run."""
        return self.config.substitute.get(original, original)

    def originals(self, study: str) -> list[str]:
        """Return the study's datasets that this run covers."""
        only = self.config.only.datasets
        return [d for d in self.studies[study].recipes if not only or d in only]

    def limit(self, name: str, **cell: str | None) -> int | None:
        """Return the smallest cap `name` whose `where` matches the cell, or None."""
        matching = [
            getattr(cap, name)
            for cap in self.config.caps
            if getattr(cap, name) is not None and all(cell.get(k) == v for k, v in cap.where if v is not None)
        ]
        return min(matching, default=None)

    def capped(self, name: str, wanted: int, **cell: str | None) -> int:
        """Return min(wanted, cap)."""
        return min(wanted, self.limit(name, **cell) or wanted)

    @cached_property
    def cells(self) -> list[Cell]:
        """Every model to attack, in a fixed order."""
        found = set()
        for study, asked in self.asked.items():
            for one in asked:
                found |= set(self.seeds_of(study, one["dataset"], one["model"], one["defense"]))
        only = self.config.only
        return sorted(
            cell
            for cell in found
            if cell.original in self.originals(cell.study)
            and (not only.models or cell.model in only.models)
            and (not only.defenses or cell.defense in only.defenses)
        )

    @cached_property
    def trained(self) -> list[Cell]:
        """Every model to train: the cells, the substitutes of attacks on them, and what all of these start from."""
        found = set[Cell]()
        for cell in self.cells:
            found |= set(self._lineage(cell))
            for name in self.attacks(cell):
                for substitute in self.substitutes(cell, name):
                    found |= set(self._lineage(substitute))
        return sorted(found)

    def _lineage(self, cell: Cell) -> Iterator[Cell]:
        yield cell
        for name in starts(self.studies[cell.study], cell.defense, cell.original):
            yield from self._lineage(replace(cell, defense=name))

    def substitutes(self, cell: Cell, attack: str) -> list[Cell]:
        """Return the models that an attack on this one, or its members, start from."""
        definition = self.studies[cell.study].attacks[attack]
        parts = [definition, *definition.members.values()]
        return [self.substitute(cell, part) for part in parts if part.substitute is not None]

    def substitute(self, cell: Cell, definition: MemberDef) -> Cell:
        """Return the model that a transfer to this one starts from.

        Its seed is the next of the study's seeds on its own recipe, the first after the last. So it is never that
        of the target: equal seeds would give equal initial weights and batches where the two are trained alike.
        With a single seed, 0, substitutes have seed 1.
        """
        model, _, defense = for_dataset(definition.substitute, cell.original).partition("/")
        wanted = self.studies[cell.study].seeds
        seeds = self.capped("seeds", wanted, dataset=cell.original, model=model, defense=defense)
        return replace(cell, model=model, defense=defense, seed=(cell.seed + 1) % max(seeds, 2))

    def seeds_of(self, study: str, original: str, model: str, defense: str) -> Iterator[Cell]:
        """Yield the cell of each seed."""
        wanted = self.studies[study].seeds
        n = self.capped("seeds", wanted, dataset=original, model=model, defense=defense)
        for seed in range(n):
            yield Cell(study, original, self.actual(original), model, defense, seed)

    def attacks(self, cell: Cell) -> list[str]:
        """Return the attacks that are asked for on this model, and the worst case, in the study's order."""
        study, only = self.studies[cell.study], self.config.only.attacks
        where = {"dataset": cell.original, "model": cell.model, "defense": cell.defense}
        asked = {one["attack"] for one in self.asked[cell.study] if where.items() <= one.items()} | {*study.worst}
        asked = (asked & set(only) if only else asked) | {"clean"}
        return [
            a for a in study.attacks if a in asked and cell.seed < self.capped("seeds", study.seeds, attack=a, **where)
        ]

    def has(self, study: str, original: str, defense: str) -> bool:
        """Say whether this run trains a defense on a dataset."""
        return any((c.study, c.original, c.defense) == (study, original, defense) for c in self.cells)

    def epsilons(self, study: str, threat: str, original: str) -> list[float]:
        """Return the radii of a threat on the dataset in use, in the threat's own space."""
        definition = self.studies[study].threats[threat]
        if not definition.covers:
            return list(definition.epsilons[original])
        return sorted({r for other in definition.covers for r in self.pixel_radii(study, other, original).values()})

    def pixel_radii(self, study: str, threat: str, original: str) -> dict[float, float]:
        """Map each radius of a threat to the radius of the largest pixel ball inside it.

        In normalised space a step of r in every channel is r * std_c in pixels, so the ball of radius
        r * min(std) in pixels lies inside for every norm: an attack that succeeds there succeeds under the threat.
        """
        definition = self.studies[study].threats[threat]
        std = DATASETS[self.actual(original)].std
        scale = min(std) if definition.space == "normalized" else 1.0
        return {e: round(e * scale, 6) for e in definition.epsilons[original]}

    def worst_of(self, study: str, attack: str, original: str) -> dict[float, tuple[str, float]]:
        """Map each epsilon of a published attack to (worst-case attack, pixel radius) that judges it; {} if none."""
        definition = self.studies[study]
        threat = definition.attacks[attack].threat
        for name in definition.worst:
            if threat in definition.threats[definition.attacks[name].threat].covers:
                radii = self.pixel_radii(study, threat, original)
                return {epsilon: (name, radius) for epsilon, radius in radii.items()}
        return {}

    def _options(
        self,
        spec: AttackSpec | DefenseSpec,
        given: Mapping[str, Any],
        original: str,
        caps: list[str],
        slug: str,
        **cell: str | None,
    ) -> dict[str, Any]:
        """Resolve per-dataset values and caps; a capped number of steps keeps steps x step_size as it was.

        `grid` maps options to lists of values; `options` are those of a wrapped attack, as far as the wrapper does not
        take them itself. What a study leaves to a default is capped too.
        """

        def resolved(values: Mapping[str, Any]) -> dict[str, Any]:
            return {k: for_dataset(v, original) for k, v in values.items()}

        wraps = spec.wraps if isinstance(spec, AttackSpec) else ()
        out = resolved({k: v for k, v in given.items() if k != "grid" and not (wraps and k == "options")})
        grid, inner = resolved(given.get("grid", {})), resolved(given.get("options") or {} if wraps else {})
        homes = [(ATTACKS[out.get("attack", wraps[0])], inner), (spec, out)] if wraps else [(spec, out)]
        known = {name: (home, o.default) for one, home in homes for name, o in options(one.fn).items()}
        for name in LIMITS:
            home, default = known.get(name, (out, None))
            full, limit = home.get(name, default), self.limit(name, dataset=original, **cell)
            if not isinstance(full, int) or limit is None or limit >= full:
                continue
            caps.append(f"{slug}: {name} {limit} of {full}")
            home[name] = limit
            for place, length in _lengths((out, inner, grid), known) if name in STEPS else []:
                longer = _scaled(place[length], full / limit)
                caps[-1] += f", each {_shown(longer)} instead of {_shown(place[length])}"
                place[length] = longer
        return out | ({"options": inner} if wraps else {}) | ({"grid": grid} if grid else {})

    def phases(self, cell: Cell, epochs: int | None = None) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the resolved phases of a training and the caps that bit; `epochs` replaces the recipe's."""
        study = self.studies[cell.study]
        caps, out = [], []
        for number, phase in enumerate(for_dataset(study.defenses[cell.defense].phases, cell.original)):
            full = training(study.recipes[cell.original], phase)
            wanted = full["epochs"] if epochs is None else epochs
            allowed = self.capped(
                "epochs", wanted, dataset=cell.original, model=cell.model, defense=cell.defense
            )  # fmt: skip
            if allowed < full["epochs"] and epochs is None:
                caps.append(f"{cell.defense}: epochs {allowed} of {full['epochs']}")
            init = phase.init or ("continue" if number else "fresh")
            out.append({"init": init, **(shrunk(full, allowed) if allowed < full["epochs"] else full)})
        return out, caps

    def defense(self, cell: Cell, caps: list[str]) -> dict[str, Any]:
        """Return {fn, options} of a defense on a dataset."""
        definition = self.studies[cell.study].defenses[cell.defense]
        where = {"model": cell.model, "defense": cell.defense}
        return {
            "fn": definition.fn,
            "options": self._options(
                DEFENSES[definition.fn], definition.options, cell.original, caps, cell.defense, **where
            ),
        }

    def _model(self, cell: Cell) -> dict[str, Any]:
        definition = self.studies[cell.study].models[cell.model]
        fixed = definition.model_dump(include={"fn", "normalize"})
        return {**fixed, "options": definition.options}

    def _substitute(self, cell: Cell) -> dict[str, Any]:
        """Return what identifies a substitute, and where its weights are among the study's models."""
        return {"path": cell.path, "model": self._model(cell), "defense": cell.defense, "seed": cell.seed}

    def training(self, cell: Cell) -> dict[str, Any]:
        """Return every value that decides the weights of one model."""
        phases, caps = self.phases(cell)
        for name in starts(self.studies[cell.study], cell.defense, cell.original):
            caps += [f"start {cut}" for cut in self.training(replace(cell, defense=name))["caps"]]
        defense = self.defense(cell, caps)
        return {
            "dataset": cell.dataset,
            "model": self._model(cell),
            "defense": defense,
            "phases": phases,
            "seed": cell.seed,
            "redraws": self.studies[cell.study].redraws,
            "device": self.config.device,
            "threads": self.config.threads,
            "amp": self.config.amp,
            "compile": self.config.compile and DEFENSES[defense["fn"]].compiles,
            "caps": caps,
        }

    def selection(self, cell: Cell) -> dict[str, Any]:
        """Return every value that decides which candidate of a defense is selected."""
        study = self.studies[cell.study]
        criterion = study.selection
        probe = self.attack(cell, criterion.probe)
        reference = Cell(cell.study, cell.original, cell.dataset, cell.model, criterion.reference, criterion.seed)
        phases, _ = self.phases(cell, epochs=criterion.epochs[cell.original])
        caps: list[str] = []
        return {
            "dataset": cell.dataset,
            "model": self._model(cell),
            "reference": self.defense(reference, caps),
            "defense": self.defense(cell, caps),
            "candidates": study.defenses[cell.defense].select,
            "phases": phases,
            "tolerance": criterion.tolerance[cell.original],
            "seed": criterion.seed,
            "redraws": study.redraws,
            "probe": {k: probe[k] for k in ("fn", "options", "threat", "batch_size")},
            "probe_samples": self.capped("samples", criterion.probe_samples),
            "near_zero": study.near_zero.headline,
            "device": self.config.device,
            "threads": self.config.threads,
            "amp": self.config.amp,
        }

    def evaluation(self, study: str) -> dict[str, Any]:
        """Return what the verdicts of a study need besides records: readings, worst cases, and what was cut short."""
        definition = self.studies[study]
        worst: list[Any] = []
        for reading, (attack, published) in product(definition.readings, definition.attacks.items()):
            for original in definition.recipes if published.threat and published.protocol == "published" else []:
                key = [original, attack, reading]
                if published.rule == "unbounded":
                    worst.append([key, f"{attack} is unbounded, so no radius bounds a worst case"])
                    continue
                judges = self.worst_of(study, attack, original)
                if judges:
                    worst.append([key, [[epsilon, *judge] for epsilon, judge in judges.items()]])
        cells = {(c.original, c.model, c.defense): c for c in reversed(self.cells) if c.study == study}
        caps = [self._cut(cell, attack) for cell in cells.values() for attack in self.attacks(cell)]
        readings = {name: reading.model_dump() for name, reading in definition.readings.items()}
        return {"readings": readings, "worst": worst, "caps": caps}

    def _cut(self, cell: Cell, attack: str) -> dict[str, Any]:
        """Return what this run cuts short for one attack on one model, by what it affects."""
        study, stand_in = self.studies[cell.study], []
        if cell.dataset != cell.original:
            stand_in = [f"{cell.dataset} stands in for {cell.original}"]
        job = self.attack(cell, attack)
        size = []
        if job["samples"]:
            size.append(f"at most {job['samples']} test images")
        where = {"dataset": cell.original, "model": cell.model, "defense": cell.defense}
        seeds = min(
            self.capped("seeds", study.seeds, **where), self.capped("seeds", study.seeds, attack=attack, **where)
        )
        if seeds < study.seeds:
            size.append(f"{seeds} of {study.seeds} seeds")
        return {
            "cell": [cell.original, cell.model, cell.defense, attack],
            "dataset": cell.dataset,
            "model": stand_in + self.training(cell)["caps"],
            "attack": job["caps"],
            "size": size,
        }

    def resolved(self) -> dict[str, Any]:
        """Return the run as plain data: config, then every training and attack with its values."""
        jobs = {}
        for cell in self.trained:
            attacks = [self.attack(cell, a) for a in self.attacks(cell)] if cell in self.cells else []
            jobs[f"{cell.study}/{cell.path}"] = {"training": self.training(cell), "attacks": attacks}
        return {"config": self.config.model_dump(exclude_none=True), "jobs": jobs}

    def _members(self, cell: Cell, suite: AttackDef) -> dict[str, MemberDef]:
        """Return the members of a suite (none for another attack), then the defense's own that work in its norm."""
        study = self.studies[cell.study]
        if not suite.members:
            return {}
        norm, own = study.threats[suite.threat].norm, study.defenses[cell.defense].adaptive
        return suite.members | {slug: one for slug, one in own.items() if norm in ATTACKS[one.fn].norms}

    def attack(self, cell: Cell, name: str) -> dict[str, Any]:
        """Return every value that decides the records of one attack on one model."""
        study = self.studies[cell.study]
        definition = study.attacks[name]
        where = {"model": cell.model, "defense": cell.defense}
        caps: list[str] = []

        def part(definition: MemberDef, slug: str, **more: Any) -> dict[str, Any]:
            given = {**definition.options, **more}
            options = self._options(ATTACKS[definition.fn], given, cell.original, caps, slug, attack=name, **where)
            found = {"grid": options.pop("grid")} if "grid" in options else {}
            if definition.substitute is not None:
                other = self.substitute(cell, definition)
                found["substitute"] = self._substitute(other)
                caps.extend(f"substitute {cut}" for cut in self.training(other)["caps"])
            return {"fn": definition.fn, "options": options, **found}

        members = [{"slug": slug, **part(member, slug)} for slug, member in self._members(cell, definition).items()]
        job = part(definition, name, grid=definition.grid)
        if any(OWN in (p["options"].get("loss"), *p.get("grid", {}).get("loss", ())) for p in (job, *members)):
            job["defense"] = self.defense(cell, [])
        if members:
            job["options"] = {**job["options"], "members": members}
        threat = None
        if definition.threat:
            t = study.threats[definition.threat]
            epsilons = self.epsilons(cell.study, definition.threat, cell.original)
            threat = {"norm": t.norm, "space": t.space, "bounds": t.bounds, "epsilons": epsilons}
        return {
            "attack": name,
            **job,
            **({"budget_rule": definition.budget_rule} if definition.budget_rule else {}),
            "protocol": definition.protocol,
            "threat": threat,
            "samples": self.limit("samples", dataset=cell.original, attack=name, **where),
            "batch_size": self.config.batch_size,
            "seed": cell.seed,
            "device": self.config.device,
            "threads": self.config.threads,
            "caps": caps,
        }


def make_plan(root: Path, config_file: Path) -> Plan:
    """Read config, studies and claims, check all of them, and return the plan.

    Raises:
        ConfigError: with every problem of every file at once.
    """
    config = load_config(config_file)
    _, lines = read(config_file)
    check = Checker(config_file, lines)
    available = sorted(p.parent.name for p in (root / "studies").glob("*/study.yaml"))
    studies, wanted = {}, {}
    for number, name in enumerate(config.studies):
        if not check.known(("studies", number), name, available, "study"):
            continue
        try:
            studies[name] = load_study(root / "studies" / name / "study.yaml")
            wanted[name] = asked(root / "studies" / name, studies[name])
        except ConfigError as error:
            check.problems += error.problems
    if not check.problems:
        check_config(check, config, studies)
    if check.problems:
        raise ConfigError(check.problems)
    return Plan(root, config, studies, wanted)


def asked(folder: Path, study: Study) -> list[dict[str, str]]:
    """Return the {dataset, model, defense, attack} that a study asks for: its claims under each reading, and cells.

    Metrics that compare with the reference defense ask for its cell too.

    Raises:
        ConfigError: with every problem of claims.csv and qualitative.csv; if the study asks for nothing.
    """
    known = claim_table.known(study)
    problems, claims = [], None
    try:
        claims = claim_table.load(folder, known, _budgets(study), required=not study.cells)
    except ConfigError as error:
        problems += error.problems
    try:
        statements.load(folder, statements.words(known), required=not study.cells)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    rows = claim_table.expand(claims, {name: reading.model_dump() for name, reading in study.readings.items()})
    rows = rows[rows["out_of_scope"] == ""]
    compared = rows["cell_metric"].isin(claim_table.COMPARED)
    if compared.any() and not study.reference:
        named = ", ".join(sorted(set(rows["cell_metric"][compared])))
        raise ConfigError([f"{folder / 'claims.csv'}: cell_metric: {named}: study.yaml has no `selection.reference`"])
    reference = rows[compared].assign(cell_defense=study.reference)
    claimed = pd.concat([rows, reference])[claim_table.CELL].itertuples(index=False, name=None)
    listed = (row for c in study.cells for row in product(c.datasets, c.models, c.defenses, c.attacks))
    return [dict(zip(claim_table.SLOTS, row, strict=True)) for row in dict.fromkeys([*claimed, *listed])]


def _lengths(
    places: Sequence[dict[str, Any]], known: Mapping[str, tuple[dict[str, Any], Any]]
) -> list[tuple[dict[str, Any], str]]:
    """Return where the lengths of a step are written; the default, if that is the one that counts, is written down."""
    written = [(place, name) for place in places for name in LENGTHS if place.get(name)]
    home, default = known.get("step_size", ({}, None))
    if written or not default:
        return written
    home["step_size"] = default
    return [(home, "step_size")]


def _scaled(lengths: Any, factor: float) -> Any:
    """Multiply one length or each of several."""
    return [length * factor for length in lengths] if isinstance(lengths, list) else lengths * factor


def _shown(lengths: Any) -> str:
    return ", ".join(f"{length:g}" for length in lengths) if isinstance(lengths, list) else f"{lengths:g}"


def _budgets(study: Study) -> dict[tuple[str, str], Collection[float]]:
    """(dataset, attack) -> the epsilons it is run at; attacks whose definition is faulty are left out."""
    budgets = {}
    for slug, attack in study.attacks.items():
        for dataset in study.recipes:
            if attack.fn not in ATTACKS:
                continue
            if ATTACKS[attack.fn].kind in ("none", "minimal") and attack.rule != "shrink_and_retest":
                budgets[dataset, slug] = ()
            elif attack.threat in study.threats:
                budgets[dataset, slug] = study.threats[attack.threat].epsilons.get(dataset, ())
    return budgets
