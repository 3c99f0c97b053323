"""Check config and studies against the tables of the package, before any job is planned.

Every problem is collected and reported at once, with file, line, key, value and what is allowed. Torch is not
imported: the signatures of attacks and defenses are read from their source.
"""

import ast
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from touchstone.attacks import ATTACKS
from touchstone.data import DATASETS
from touchstone.defenses import DEFENSES
from touchstone.models import MODELS, model_spec
from touchstone.registry import LOSSES, OWN, AttackSpec, nearest, options
from touchstone.report.plots import PLOTS
from touchstone.study.config import Config, ConfigError, Key, parse, problem, read
from touchstone.study.schema import (
    LIMITS,
    OPTIMIZERS,
    RESULT_TABLES,
    SCHEDULES,
    AttackDef,
    CellsDef,
    DefenseDef,
    FigureDef,
    MemberDef,
    RuleDef,
    Selection,
    Standardize,
    Study,
    TrainingDef,
    datasets_of,
    for_dataset,
    phases_of,
    rule,
    starts,
    training,
)

# arguments of attacks that threat, protocol and jobs fill in
CONTRACT = frozenset({"norm", "eps", "rng", "stop", "substitute"})
NOT_CHOSEN = frozenset({*LIMITS, "target_confidence"})


class Checker:
    """Collects problems of one file, each with its line."""

    def __init__(self, path: Path, lines: Any) -> None:
        self.path, self.lines, self.problems = path, lines, list[str]()

    def add(self, key: Key, text: str) -> None:
        """Note a problem at a key, once."""
        if (found := problem(self.path, self.lines, key, text)) not in self.problems:
            self.problems.append(found)

    def known(self, key: Key, name: str, names: Collection[str], what: str) -> bool:
        """Say whether `name` is among `names`; if not, note it."""
        if name in names:
            return True
        self.add(key, f"unknown {what} {name!r}; {nearest(name, names)}")
        return False

    def options(self, key: Key, target: str, given: Mapping[str, Any], leave_out: set[str] = frozenset()) -> None:
        """Check names and plain types of options against the signature of `target`, read without importing it."""
        allowed = {k: v for k, v in options(target).items() if k not in leave_out}
        for name, value in given.items():
            for single in each(value) if self.known((*key, name), name, allowed, "option") else []:
                if not fits(single, allowed[name].annotation):
                    self.add((*key, name), f"expected {allowed[name].annotation}, got {single!r}")
        for name, option in allowed.items():
            if option.required and name not in given:
                self.add(key, f"option {name!r} is required")


def each(value: Any) -> list[Any]:
    """Return the values of what may differ by dataset, {dataset: value, ...}, or the one value."""
    return list(value.values()) if isinstance(value, Mapping) else [value]


def fits(value: Any, annotation: str) -> bool:
    """Say whether a YAML value can be passed where a parameter is annotated so (unknown annotations pass)."""
    if annotation.startswith("Literal["):
        return value in ast.literal_eval(annotation.removeprefix("Literal"))
    kinds = {part.strip() for part in annotation.split("|")}
    if not kinds <= {"int", "float", "str", "bool", "None"}:
        return True
    if isinstance(value, bool) or value is None:
        return ("None" if value is None else "bool") in kinds
    if isinstance(value, int):
        return bool({"int", "float"} & kinds)
    return type(value).__name__ in kinds


def load_study(path: Path) -> Study:
    """Read and check one study.yaml.

    Raises:
        ConfigError: with every problem found, each with file, line, key, value and what is allowed.
    """
    values, lines = read(path)
    study: Study = parse(Study, path, values, lines)
    check = Checker(path, lines)
    if study.study != path.parent.name:
        check.add(("study",), f"must equal the folder's name {path.parent.name!r}, got {study.study!r}")
    for name, recipe in study.recipes.items():
        check.known(("recipes", name), name, DATASETS, "dataset")
        _check_training(check, ("recipes", name), recipe, recipe)
    for name in study.models:
        _check_model(check, study, name)
    _check_defenses(check, study)
    _check_threats(check, study)
    for name, attack in study.attacks.items():
        _check_attack(check, study, name, attack)
    for number, cells in enumerate(study.cells):
        _check_cells(check, ("cells", number), study, cells)
    _check_references(check, study)
    if check.problems:
        raise ConfigError(check.problems)
    return study


def _check_per_dataset(check: Checker, key: Key, value: Any, study: Study) -> None:
    """A value written per dataset must name every dataset of the recipes, and no other."""
    if not isinstance(value, Mapping):
        return
    for name in value:
        check.known((*key, name), str(name), study.recipes, "dataset")
    for name in study.recipes.keys() - value.keys():
        check.add(key, f"no value for dataset {name!r}")


def _check_model(check: Checker, study: Study, name: str) -> None:
    key, model = ("models", name), study.models[name]
    if ":" in model.fn:
        try:
            options(model.fn)
        except (ValueError, SyntaxError) as error:
            check.add((*key, "fn"), f"{model.fn!r} cannot be read: {error}")
            return
    elif not check.known((*key, "fn"), model.fn, MODELS, "model"):
        return
    spec = model_spec(model.fn)
    check.options(key, spec.fn, model.options, leave_out=set(spec.preset))
    if isinstance(model.normalize, Standardize):
        for dataset in sorted(datasets_of(study, name) & DATASETS.keys()):
            channels = DATASETS[dataset].shape[0]
            for part, values in model.normalize:
                if len(values) not in (1, channels):
                    check.add((*key, "normalize", part), f"{dataset!r} needs 1 or {channels} values, got {len(values)}")
    if model.normalize != "dataset" and any(threat.space == "normalized" for threat in study.threats.values()):
        check.add((*key, "normalize"), "must be dataset where a threat is in normalized space")


def _check_defenses(check: Checker, study: Study) -> None:
    for name, defense in study.defenses.items():
        key: Key = ("defenses", name)
        if name in ("fresh", "continue"):
            check.add(key, f"{name!r} is reserved: it is a phase's start")
        if not check.known((*key, "fn"), defense.fn, DEFENSES, "defense"):
            continue
        _check_adaptive(check, (*key, "adaptive"), study, defense)
        for option, value in defense.options.items():
            _check_per_dataset(check, (*key, option), value, study)
        first = next(iter(study.recipes))
        given = {k: for_dataset(v, first) if not isinstance(v, Mapping) or first in v else None
                 for k, v in defense.options.items()}  # fmt: skip
        for number, candidate in enumerate(defense.select or [{}]):
            where = (*key, "select", number) if defense.select else key
            check.options(where, DEFENSES[defense.fn].fn, {**given, **candidate})
        if defense.select and study.selection is None:
            check.add((*key, "select"), "needs `selection`, the criterion that chooses")
        if defense.select and any(starts(study, name, dataset) for dataset in study.recipes):
            check.add((*key, "select"), "chooses among fresh trainings; no phase may start from another defense")
        _check_phases(check, (*key, "phases"), study, name)


def _check_phases(check: Checker, key: Key, study: Study, defense: str) -> None:
    phases = study.defenses[defense].phases
    _check_per_dataset(check, key, phases, study)
    for dataset, recipe in study.recipes.items():
        place = (*key, dataset) if isinstance(phases, Mapping) else key
        for number, phase in enumerate(phases_of(study, defense, dataset)):
            _check_init(check, (*place, number, "init"), study, defense, dataset, number, phase.init)
            _check_training(check, (*place, number), phase, recipe)
        _check_held_out(check, place, study, defense, dataset)
        _check_groups(check, place, study, defense, dataset)


def _check_held_out(check: Checker, key: Key, study: Study, defense: str, dataset: str) -> None:
    """The rows held out stay the same: else a net would be judged on rows that it, or its start, has learned."""
    found = set()
    for name in (defense, *starts(study, defense, dataset)):
        phases = [training(study.recipes[dataset], phase) for phase in phases_of(study, name, dataset)]
        fixed = "the fixed split" if any(phase["keep"] == "best_val" for phase in phases) else "none"
        found |= {str(phase["validation_share"] or fixed) for phase in phases}
    if len(found) > 1:
        text = (
            "all phases and starts must hold the same rows out (validation_share; best_val without it: the fixed split)"
        )
        check.add(key, f"{text}, got {', '.join(sorted(found))}")


def _check_groups(check: Checker, key: Key, study: Study, defense: str, dataset: str) -> None:
    """Every phase says how to step what the defense has besides the model, and nothing that it has not."""
    wanted = set(DEFENSES[study.defenses[defense].fn].groups)
    for number, phase in enumerate(phases_of(study, defense, dataset)):
        for name in sorted(wanted - training(study.recipes[dataset], phase)["groups"].keys()):
            check.add((*key, number), f"defense {study.defenses[defense].fn!r} needs settings of its group {name!r}")
        for name in sorted(phase.groups.keys() - wanted - {"model"}):
            check.known((*key, number, "groups", name), name, wanted, "group")


def _check_init(
    check: Checker, key: Key, study: Study, defense: str, dataset: str, number: int, init: str | None
) -> None:
    """The first phase begins fresh or with a defense's weights, a later one only where the one before it ended."""
    if init is None:
        return
    if number:
        if init != "continue":
            check.add(key, f"a later phase goes on from the one before it: must be continue or left out, got {init!r}")
    elif init == "continue":
        check.add(key, "the first phase has nothing to go on from; write fresh or a defense")
    elif init != "fresh" and check.known(key, init, {"fresh", *study.defenses}, "start"):
        _check_cycle(check, key, study, defense, dataset)


def _check_training(check: Checker, key: Key, given: TrainingDef, recipe: TrainingDef) -> None:
    """Check the rules that a phase, or a recipe itself, makes of a recipe: `given` comes before it."""
    parts = [recipe, given]
    _check_rule(check, key, given, rule(*parts))
    for name, group in given.groups.items():
        before = [part.groups[name] for part in parts if name in part.groups]
        where = (*key, "groups", name)
        _check_rule(check, where, group, rule(*parts, *before))
        if name == "model":
            check.add(where, "the model's own optimiser is that of the phase; write its settings there")


def _check_rule(check: Checker, key: Key, given: RuleDef, made: Mapping[str, Any]) -> None:
    """What is given is read by the optimiser and the schedule, and what they need is there."""
    readers = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
    for kind, table in readers.items():
        others = {option for options in table.values() for option in options} - set(table[made[kind]])
        for option in sorted(others & given.model_fields_set):
            takes = [name for name in table if option in table[name]]
            check.add((*key, option), f"{kind} {made[kind]!r} takes none; those that do: {', '.join(takes)}")
    for option in SCHEDULES[made["schedule"]]:
        if not made.get(option):
            check.add(key, f"schedule {made['schedule']!r} needs {option}")
    if made.get("nesterov") and not made["momentum"]:
        check.add(key, "nesterov needs a momentum above 0")


def _check_cycle(check: Checker, key: Key, study: Study, start: str, dataset: str) -> None:
    todo, seen = starts(study, start, dataset), set[str]()
    while todo:
        name = todo.pop()
        if name == start:
            check.add(key, f"{start!r} starts from itself")
            return
        if name not in seen:
            seen.add(name)
            todo += starts(study, name, dataset)


def _check_cells(check: Checker, key: Key, study: Study, cells: CellsDef) -> None:
    """What cells combine is defined; suites are named once for all models, under `worst`."""
    defined = {"datasets": study.recipes, "models": study.models, "defenses": study.defenses, "attacks": study.attacks}
    for kind, names in defined.items():
        for number, name in enumerate(getattr(cells, kind)):
            check.known((*key, kind, number), name, names, kind.removesuffix("s"))


def _check_threats(check: Checker, study: Study) -> None:
    for name, threat in study.threats.items():
        key: Key = ("threats", name)
        if bool(threat.epsilons) == bool(threat.covers):
            check.add(key, "give either epsilons or covers")
        if threat.covers and threat.space != "pixel":
            check.add((*key, "space"), "a threat that covers others is in pixel space")
        if threat.epsilons:
            _check_per_dataset(check, (*key, "epsilons"), threat.epsilons, study)
        for dataset, grid in threat.epsilons.items():
            if sorted(set(grid)) != grid:
                check.add((*key, "epsilons", dataset), f"must rise without repeats, got {grid}")
        for number, other in enumerate(threat.covers):
            _check_covered(check, (*key, "covers", number), study, threat.norm, other)


def _check_covered(check: Checker, key: Key, study: Study, norm: str, other: str) -> None:
    if not check.known(key, other, study.threats, "threat"):
        return
    if study.threats[other].norm != norm:
        check.add(key, f"{other!r} is measured in {study.threats[other].norm}, not in {norm}")
    if study.threats[other].covers:
        check.add(key, f"{other!r} covers others itself")


def _check_attack(check: Checker, study: Study, name: str, attack: AttackDef) -> None:
    key: Key = ("attacks", name)
    if not check.known((*key, "fn"), attack.fn, ATTACKS, "attack"):
        return
    spec = ATTACKS[attack.fn]
    if attack.budget_rule and (attack.protocol, spec.kind) != ("published", "minimal"):
        check.add((*key, "budget_rule"), "is for a minimal-norm attack under protocol published")
    _check_grid(check, key, study, attack, spec)
    if spec.kind == "none":
        if attack.threat or attack.options or attack.substitute:
            check.add(key, f"{attack.fn!r} takes no threat and no options")
        return
    if attack.threat is None:
        check.add(key, "a threat is required")
    elif check.known((*key, "threat"), attack.threat, study.threats, "threat"):
        _check_norm(check, (*key, "threat"), attack.fn, spec, study.threats[attack.threat].norm)
    if spec.kind == "suite":
        _check_members(check, key, study, attack)
        return
    if attack.members:
        check.add((*key, "members"), f"{attack.fn!r} takes no members")
    _check_options(check, key, study, attack.fn, attack.options)
    _check_substitute(check, key, study, attack)


def _check_options(
    check: Checker,
    key: Key,
    study: Study,
    fn: str,
    given: Mapping[str, Any],
    losses: Collection[str] = LOSSES,
    taken: Collection[str] = (),
) -> None:
    """Check the options of one attack, and those of the attack that it wraps but those `taken` by itself."""
    spec = ATTACKS[fn]
    own = {option: value for option, value in given.items() if not (spec.wraps and option == "options")}
    for option, value in own.items():
        _check_per_dataset(check, (*key, option), value, study)
    check.options(key, spec.fn, own, leave_out=CONTRACT.union(taken))
    _check_losses(check, (*key, "loss"), each(own["loss"]) if "loss" in own else [], losses)
    wrapped = given.get("attack", spec.wraps[0]) if spec.wraps else None
    if wrapped is not None and check.known((*key, "attack"), wrapped, spec.wraps, "attack"):
        # it may run on a substitute, which comes without the loss it was trained with
        others = [loss for loss in losses if loss != OWN]
        inner = given.get("options") or {}
        _check_options(check, (*key, "options"), study, wrapped, inner, others, taken=options(spec.fn))


def _check_losses(check: Checker, key: Key, names: list[Any], losses: Collection[str]) -> None:
    for name in names:
        if isinstance(name, str):  # anything else is no option of that type, and is noted as such
            check.known(key, name, losses, "loss")


def _check_grid(check: Checker, key: Key, study: Study, attack: AttackDef, spec: AttackSpec) -> None:
    """Check the options whose values are chosen for all samples together."""
    if attack.grid and (attack.protocol, spec.kind) not in (("published", "fixed"), ("published", "minimal")):
        check.add((*key, "grid"), "is for one attack under protocol published; a suite takes each value as a member")
        return
    allowed = {name: option for name, option in options(spec.fn).items() if name not in CONTRACT}
    for option, values in attack.grid.items():
        where: Key = (*key, "grid", option)
        _check_per_dataset(check, where, values, study)
        if option in attack.options:
            check.add(where, f"{option!r} is set beside the grid already")
        if option in NOT_CHOSEN:
            check.add(where, f"{option!r} is not for a grid to choose: it may be capped, or says what success is")
        for choice in each(values) if check.known(where, option, allowed, "option") else []:
            if not choice:
                check.add(where, "needs at least one value")
            for value in choice:
                if not fits(value, allowed[option].annotation):
                    check.add(where, f"expected {allowed[option].annotation}, got {value!r}")
            _check_losses(check, where, choice if option == "loss" else [], LOSSES)


def _check_substitute(check: Checker, key: Key, study: Study, definition: MemberDef) -> None:
    """An attack that starts from another model names it, and no other attack does."""
    where, given = (*key, "substitute"), definition.substitute
    if "substitute" not in options(ATTACKS[definition.fn].fn):
        if given is not None:
            check.add(where, f"{definition.fn!r} takes no substitute")
        return
    if given is None:
        check.add(key, f"{definition.fn!r} needs a substitute, <model>/<defense>")
        return
    _check_per_dataset(check, where, given, study)
    for value in each(given):
        model, _, defense = value.partition("/")
        check.known(where, model, study.models, "model")
        check.known(where, defense, study.defenses, "defense")


def _check_members(check: Checker, key: Key, study: Study, attack: AttackDef) -> None:
    if not attack.members:
        check.add(key, f"{attack.fn!r} needs members")
    if attack.protocol != "worst":
        check.add((*key, "protocol"), f"{attack.fn!r} runs under protocol worst only")
    for option in attack.options:
        check.add((*key, option), f"{attack.fn!r} takes no option but its members")
    for slug, member in attack.members.items():
        where: Key = (*key, "members", slug)
        if _check_member(check, where, study, member) and attack.threat in study.threats:
            _check_norm(check, (*where, "fn"), member.fn, ATTACKS[member.fn], study.threats[attack.threat].norm)


def _check_member(check: Checker, key: Key, study: Study, member: MemberDef) -> bool:
    """Check one attack of a suite; say whether it is known."""
    runnable = [a for a, s in ATTACKS.items() if s.kind in ("fixed", "minimal")]
    if not check.known((*key, "fn"), member.fn, runnable, "attack"):
        return False
    _check_options(check, key, study, member.fn, member.options)
    _check_substitute(check, key, study, member)
    return True


def _check_adaptive(check: Checker, key: Key, study: Study, defense: DefenseDef) -> None:
    """The attacks meant for a defense work in a norm of the worst case, under slugs that its suites have not taken."""
    suites = [study.attacks[name] for name in study.worst if name in study.attacks]
    norms = {study.threats[s.threat].norm for s in suites if s.threat in study.threats}
    for slug, member in defense.adaptive.items():
        if any(slug in suite.members for suite in suites):
            check.add((*key, slug), "a suite of the worst case has a member of that name")
        if member.substitute is not None:
            check.add((*key, slug), "an adaptive attack takes no substitute")
        elif _check_member(check, (*key, slug), study, member) and not norms & set(ATTACKS[member.fn].norms):
            check.add(
                (*key, slug), f"{member.fn!r} works in none of the worst case's norms: {', '.join(sorted(norms))}"
            )


def _check_norm(check: Checker, key: Key, name: str, spec: AttackSpec, norm: str) -> None:
    if norm not in spec.norms:
        check.add(key, f"{name!r} does not work in norm {norm!r}; allowed: {', '.join(spec.norms)}")


def _check_references(check: Checker, study: Study) -> None:
    """Every slug that is mentioned elsewhere is defined."""
    if study.selection:
        _check_selection(check, study, study.selection)
    for number, name in enumerate(study.worst):
        if check.known(("worst", number), name, study.attacks, "attack") and study.attacks[name].protocol != "worst":
            check.add(("worst", number), f"{name!r} is not under protocol worst")
    _check_readings(check, study)
    if study.near_zero and study.near_zero.headline not in study.near_zero.thresholds:
        check.add(("near_zero", "headline"), f"must be one of the thresholds {study.near_zero.thresholds}")
    for name, table in study.tables.items():
        if table.dataset:
            check.known(("tables", name, "dataset"), table.dataset, study.recipes, "dataset")
    for name, figure in study.figures.items():
        _check_figure(check, ("figures", name), study, figure)


def _check_readings(check: Checker, study: Study) -> None:
    if "headline" not in study.readings:
        check.add(("readings",), "the reading 'headline' is required")
    for name, reading in study.readings.items():
        for kind, defined in (("defense", study.defenses), ("attack", study.attacks)):
            for ours, other in getattr(reading, kind).items():
                check.known(("readings", name, kind, ours), ours, defined, kind)
                check.known(("readings", name, kind, ours), other, defined, kind)


def _check_selection(check: Checker, study: Study, selection: Selection) -> None:
    if study.near_zero is None:
        check.add(("selection",), "needs `near_zero`, whose headline threshold its table shows")
    check.known(("selection", "reference"), selection.reference, study.defenses, "defense")
    for key in ("tolerance", "epochs"):
        _check_per_dataset(check, ("selection", key), getattr(selection, key), study)
    if not check.known(("selection", "probe"), selection.probe, study.attacks, "attack"):
        return
    probe = study.attacks[selection.probe]
    if probe.grid or probe.substitute or OWN in each(probe.options.get("loss")):
        check.add(("selection", "probe"), f"must have no grid, no substitute, and not the loss {OWN!r}")
    spec = ATTACKS.get(probe.fn)
    if spec is not None and spec.kind != "fixed":
        check.add(("selection", "probe"), f"must be an attack with a fixed budget, got one of kind {spec.kind!r}")


def _check_figure(check: Checker, key: Key, study: Study, figure: FigureDef) -> None:
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


def check_config(check: Checker, config: Config, studies: Mapping[str, Study]) -> None:
    """Check the names in a run's config against its studies, adding what is wrong to `check`."""
    names = {
        "dataset": {d for study in studies.values() for d in study.recipes},
        "defense": {d for study in studies.values() for d in study.defenses},
        "attack": {a for study in studies.values() for a in study.attacks},
        "model": {m for study in studies.values() for m in study.models},
    }
    _check_substitutes(check, config, names["dataset"])
    _check_sources(check, config)
    if config.amp and config.device == "cpu":
        check.add(("amp",), "needs `device: cuda`: on a CPU bfloat16 is mostly emulated, slower and less exact")
    for key, listed in config.only:
        kind = key.removesuffix("s")
        for number, name in enumerate(listed):
            check.known(("only", key, number), name, names[kind], kind)
    for number, cap in enumerate(config.caps):
        for kind, name in cap.where:
            if name is not None:
                check.known(("caps", number, "where", kind), name, names[kind], kind)
        if not any(value is not None for limit, value in cap if limit != "where"):
            check.add(("caps", number), "a cap limits something")


def _check_substitutes(check: Checker, config: Config, originals: Collection[str]) -> None:
    for original, actual in config.substitute.items():
        known = check.known(("substitute", original), original, originals, "dataset")
        if check.known(("substitute", original), actual, DATASETS, "dataset") and known:
            want, got = DATASETS[original].shape, DATASETS[actual].shape
            if want != got:
                check.add(("substitute", original), f"{actual!r} has images of shape {got}, {original!r} of {want}")
    run = set(config.only.datasets or originals) & set(originals)
    used = [config.substitute.get(original, original) for original in sorted(run)]
    for actual in sorted(set(used)):
        if used.count(actual) > 1:
            check.add(("substitute",), f"{actual!r} would stand for two datasets of the study")
        if actual not in config.data:
            check.add(("data",), f"no source for dataset {actual!r}; write `{actual}: {{source: ...}}`")


def _check_sources(check: Checker, config: Config) -> None:
    for name, data in config.data.items():
        if check.known(("data", name), name, DATASETS, "dataset"):
            embedded = DATASETS[name].embedded
            if embedded != (data.source == "embedded"):
                allowed = "embedded" if embedded else "download, {mirror: URL} or {local: DIR}"
                check.add(("data", name, "source"), f"the source of {name!r} must be {allowed}")
