"""Recipes and phases: every setting is read by something, and what is needed is said."""

from collections.abc import Mapping
from dataclasses import dataclass

from touchstone.defenses import defense_spec
from touchstone.recipe import CHANGES, LEAST_SHARE, MODEL, OPTIMIZERS, SCHEDULES, Said, settings_of
from touchstone.study.checks.checker import Checker
from touchstone.study.config import Key
from touchstone.study.schema import (
    WEIGHTS,
    OptimizerDef,
    PhaseDef,
    Study,
    TrainingDef,
    phases_of,
    resolved_phases,
    starts,
)


@dataclass(frozen=True)
class Recipes:
    """Checks how models are trained."""

    check: Checker
    study: Study

    def run(self) -> None:
        """Check the recipe of each dataset, and how often it is followed."""
        self.check.per_dataset(("seeds",), self.study.seeds, self.study)
        for name, recipe in self.study.recipes.items():
            self.check.known(("recipes", name), name, self.study.known_datasets, "dataset")
            self.training(("recipes", name), name, recipe, recipe)

    def phases(self, key: Key, defense: str) -> None:
        """Check the phases of a defense on each dataset."""
        phases = self.study.defenses[defense].phases
        self.check.per_dataset(key, phases, self.study)
        for dataset, recipe in self.study.recipes.items():
            place = (*key, dataset) if isinstance(phases, Mapping) else key
            for number, phase in enumerate(phases_of(self.study, defense, dataset)):
                self._init((*place, number, "init"), defense, dataset, number, phase)
                self.training((*place, number), dataset, phase, recipe)
            self._held_out(place, defense, dataset)
            self._groups(place, defense, dataset)

    def training(self, key: Key, dataset: str, given: TrainingDef, recipe: TrainingDef) -> None:
        """Check the settings that a phase, or a recipe itself, makes of a recipe: `given` comes before it."""
        parts: list[Said] = [recipe.said, given.said]
        epochs = {**recipe.said, **given.said}["epochs"]
        self._settings(key, given, parts, epochs)
        self._augment((*key, "augment"), dataset, given, recipe)
        if 0 < (share := given.said.get("validation_share", 0)) < LEAST_SHARE:
            self.check.add((*key, "validation_share"), f"must be 0, or {LEAST_SHARE} to 0.5, got {share}")
        for name, group in given.groups.items():
            before = [part["groups"][name] for part in parts if name in part["groups"]]
            self._settings((*key, "groups", name), group, [*parts, *before], epochs)
            if name == MODEL:
                self.check.add(
                    (*key, "groups", name), "the model's own optimiser is that of the phase; write its settings there"
                )

    def _settings(self, key: Key, given: OptimizerDef, parts: list[Said], epochs: int) -> None:
        """What is given is read by the optimiser and the schedule, and what they need is there."""
        made = settings_of(*parts)
        readers: Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]] = {
            "optimizer": (made["optimizer"], OPTIMIZERS),
            "schedule": (made.get("schedule", "constant"), {name: s.reads for name, s in SCHEDULES.items()}),
        }
        for kind, (chosen, table) in readers.items():
            others = {option for reads in table.values() for option in reads} - set(table[chosen])
            for option in sorted(others & given.model_fields_set):
                takes = [name for name in table if option in table[name]]
                self.check.add((*key, option), f"{kind} {chosen!r} takes none; those that do: {', '.join(takes)}")
            for option in table[chosen] if kind == "schedule" else ():
                if not made.get(option):
                    self.check.add(key, f"schedule {chosen!r} needs {option}")
        if made.get("nesterov") and not made.get("momentum"):
            self.check.add(key, "nesterov needs a momentum above 0")
        self._milestones((*key, "milestones"), given.said.get("milestones", ()), epochs)

    def _milestones(self, key: Key, milestones: tuple[int, ...], epochs: int) -> None:
        """The rate falls after each of them: they rise, and epochs follow."""
        if sorted(set(milestones)) != list(milestones):
            self.check.add(key, f"must rise without repeats, got {list(milestones)}")
        for milestone in sorted({m for m in milestones if m >= epochs}):
            self.check.add(key, f"{milestone} is never reached in {epochs} epochs")

    def _augment(self, key: Key, dataset: str, given: TrainingDef, recipe: TrainingDef) -> None:
        """It varies images of that size, or takes away what the recipe says."""
        if given.augment is None:
            return
        said = given.augment.model_dump(exclude_none=True)
        if not said:
            if given is recipe or recipe.augment is None:
                self.check.add(key, "{} leaves images as they are, and there is nothing to take away: leave it out")
            return
        if not any(said.get(change) for change in CHANGES):
            self.check.add(key, f"varies nothing; what does: {', '.join(CHANGES)}")
        elif "fill" in said and not (said.get("crop") or said.get("translate")):
            self.check.add((*key, "fill"), "is for crop or translate, and there is none")
        known = self.study.known_datasets.get(dataset)
        side = min(known.shape[1:]) if known else None
        if side is not None and said.get("crop", 0) >= side:
            self.check.add((*key, "crop"), f"must be smaller than the image, {side} pixels, got {said['crop']}")

    def _init(self, key: Key, defense: str, dataset: str, number: int, phase: PhaseDef) -> None:
        """The first phase begins fresh or with a defense's weights, a later one only where the one before it ended."""
        init = phase.init
        if init is None:
            return
        if number:
            if init != "continue":
                text = "a later phase goes on from the one before it: must be continue or left out"
                self.check.add(key, f"{text}, got {init!r}")
        elif init == "continue":
            self.check.add(key, "the first phase has nothing to go on from; write fresh, weights or a defense")
        elif init == WEIGHTS:
            self._given(key, defense, dataset)
        elif init != "fresh" and self.check.known(key, init, {"fresh", WEIGHTS, *self.study.defenses}, "start"):
            self._cycle(key, defense, dataset)

    def _given(self, key: Key, defense: str, dataset: str) -> None:
        """Who begins with given weights is given some."""
        if not any((w.defense, w.dataset) == (defense, dataset) for w in self.study.weights):
            self.check.add(key, f"`weights` of the study has no file for {defense!r} on {dataset!r}")

    def _cycle(self, key: Key, start: str, dataset: str) -> None:
        todo, seen = starts(self.study, start, dataset), set[str]()
        while todo:
            name = todo.pop()
            if name == start:
                self.check.add(key, f"{start!r} starts from itself")
                return
            if name not in seen:
                seen.add(name)
                todo += starts(self.study, name, dataset)

    def _held_out(self, key: Key, defense: str, dataset: str) -> None:
        """The rows held out stay the same: else a net would be judged on rows that it, or its start, has learned."""
        found = set()
        for name in (defense, *starts(self.study, defense, dataset)):
            phases = resolved_phases(self.study, name, dataset)
            fixed = "the fixed split" if any(phase.keep == "best_val" for phase in phases) else "none"
            found |= {str(phase.validation_share or fixed) for phase in phases}
        if len(found) > 1:
            self.check.add(
                key,
                "all phases and starts must hold the same rows out (validation_share; best_val without it: the fixed "
                f"split), got {', '.join(sorted(found))}",
            )

    def _groups(self, key: Key, defense: str, dataset: str) -> None:
        """Every phase says how to step what the defense has besides the model, and nothing that it has not."""
        fn = self.study.defenses[defense].fn
        wanted = set(defense_spec(fn).groups)
        resolved = resolved_phases(self.study, defense, dataset)
        for number, phase in enumerate(phases_of(self.study, defense, dataset)):
            for name in sorted(wanted - resolved[number].groups.keys()):
                self.check.add((*key, number), f"defense {fn!r} needs settings of its group {name!r}")
            for name in sorted(phase.groups.keys() - wanted - {MODEL}):
                self.check.known((*key, number, "groups", name), name, wanted, "group")
