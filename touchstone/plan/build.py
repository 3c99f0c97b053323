"""From the plan to jobs: every value that decides a result is put together here."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from touchstone import paths
from touchstone.attacks import attack_spec
from touchstone.cell import ModelId, ThreatSpec
from touchstone.data import DATASETS
from touchstone.defenses import defense_spec
from touchstone.plan.caps import Cut, Limits, cut
from touchstone.plan.jobs import (
    AttackJob,
    BatchJob,
    ClaimsJob,
    Code,
    Drawing,
    FeaturesJob,
    FetchJob,
    FiguresJob,
    Heading,
    Member,
    Net,
    Objective,
    PagesJob,
    PreflightJob,
    PrepareJob,
    Probe,
    ReportJob,
    SelectJob,
    SensitivityJob,
    Shown,
    ShownNet,
    Subject,
    Substitute,
    TrainJob,
    Watched,
    Weights,
    WriteJob,
    facts,
    table_facts,
)
from touchstone.plan.plan import Plan
from touchstone.plan.tables import CutShort, Judge, TablesJob, WorstCase
from touchstone.recipe import Phase
from touchstone.registry import OWN, DatasetSpec
from touchstone.report.plots import PLOTS, POINTS, RECORDS
from touchstone.study import claims
from touchstone.study.schema import (
    RESULT_TABLES,
    DefenseDef,
    FigureDef,
    MemberDef,
    Selection,
    Study,
    TableDef,
    for_cell,
    resolved_phases,
)
from touchstone.study.suites import norm_of, worst_slug

_code = cache(Code.of)  # thousands of jobs share a few sets of functions


def subject(plan: Plan, model: ModelId) -> Subject:
    """Return whose results those of a model are."""
    return Subject(plan.config.run, model, plan.stand_in(model.dataset))


def net(plan: Plan, model: ModelId) -> Net:
    """Return the untrained model."""
    definition = plan.studies[model.study].models[model.model]
    data = plan.own_data(plan.data(model.dataset))
    return Net(definition.fn, definition.model_dump()["normalize"], definition.options, data)


def _on(model: ModelId, options: dict[str, Any]) -> dict[str, Any]:
    """Return options with what may differ by dataset and defense resolved, also inside `grid` and wrapped `options`."""
    inside, cell = ("grid", "options"), (model.dataset, model.defense)
    return {k: _on(model, v or {}) if k in inside else for_cell(v, *cell) for k, v in options.items()}


# ---- trainings


def phases(plan: Plan, model: ModelId, epochs: int | None = None) -> tuple[tuple[Phase, ...], tuple[str, ...]]:
    """Return the phases of a training and in words what caps did to them; `epochs` replaces the recipe's."""
    limits, out, caps = plan.limits(model), [], []
    if plan.is_given(model):
        return (), ()
    for full in resolved_phases(plan.studies[model.study], model.defense, model.dataset):
        allowed = limits.capped("epochs", epochs or full.epochs)
        if epochs is None and allowed < full.epochs:
            caps.append(f"{model.defense}: epochs {allowed} of {full.epochs}")
        out.append(full.shrunk(allowed) if allowed < full.epochs else full)
    return tuple(out), tuple(caps)


def _objective(plan: Plan, model: ModelId) -> tuple[Objective, tuple[str, ...]]:
    definition: DefenseDef = plan.studies[model.study].defenses[model.defense]
    done = cut(defense_spec(definition.fn), _on(model, definition.options), plan.limits(model), model.defense)
    return Objective(definition.fn, done.options), done.caps


def _training_caps(plan: Plan, model: ModelId) -> tuple[str, ...]:
    """Return in words what is cut short of a training, its starts included."""
    starts = tuple(f"start {words}" for start in plan.start(model) for words in _training_caps(plan, start))
    return phases(plan, model)[1] + starts + _objective(plan, model)[1]


def _weights(plan: Plan, model: ModelId) -> Weights | None:
    given = plan.weights(model)
    return Weights(given.sha256, given.form, given.key) if given else None


@cache
def train_job(plan: Plan, model: ModelId) -> TrainJob:
    """Return the training of one model."""
    objective, _ = _objective(plan, model)
    untrained, whose, watched = net(plan, model), subject(plan, model), _watched(plan, model)
    probes = [watched.probe.member] if watched else []
    run = [target for member in probes for target in member.targets]
    return TrainJob(
        code=_code("touchstone.jobs.train:train", untrained.target, objective.target, *run),
        subject=whose,
        net=untrained,
        objective=objective,
        selects=plan.selects(model),
        start=next(iter(plan.start(model)), None),
        weights=_weights(plan, model),
        phases=phases(plan, model)[0],
        redraws=plan.studies[model.study].redraws,
        watched=watched,
        amp=plan.config.amp,
        compile=plan.config.compile and defense_spec(objective.fn).compiles,
        device=plan.config.device,
        threads=plan.config.threads,
        facts=table_facts(plan.dataset(whose.data), [untrained], probes),
    )


def _watched(plan: Plan, model: ModelId) -> Watched | None:
    """Return what is measured during a training; None where nothing is, or where nothing is trained."""
    study, kept = plan.studies[model.study], phases(plan, model)[0]
    said = study.monitor
    if said is None or model.defense not in said.defenses or not kept:
        return None
    attack = for_cell(said.attack, model.dataset, model.defense)
    samples = plan.limits(model, attack).capped("samples", said.samples)
    full = sum(phase.epochs for phase in resolved_phases(study, model.defense, model.dataset))
    every = max(1, round(said.every * sum(phase.epochs for phase in kept) / full))
    probe = _probe(plan, model, attack, samples)
    largest = replace(probe.threat, epsilons=probe.threat.epsilons[-1:])
    return Watched(replace(probe, threat=largest), every)


def _probe(plan: Plan, model: ModelId, attack: str, samples: int) -> Probe:
    """Return an attack with a fixed budget as a probe."""
    (member,), threat = _members(plan, model, attack)[0], plan.threat(model, attack)
    if threat is None:
        raise ValueError(f"{model.study}: the probe {attack!r} has no threat")
    return Probe(member, threat, samples, plan.config.batch_size)


def _selection(plan: Plan, model: ModelId) -> tuple[Selection, ModelId]:
    """Return how a study selects, and the model whose constants that chooses: the seed of `model` does not count."""
    criterion = plan.studies[model.study].selection
    if criterion is None:
        raise ValueError(f"{model.study}: nothing is selected without a criterion")
    return criterion, model._replace(seed=criterion.seed)


def select_job(plan: Plan, model: ModelId) -> SelectJob:
    """Return the choice of a defense's unstated constants; the seed of `model` does not count."""
    criterion, chosen = _selection(plan, model)
    study = plan.studies[model.study]
    reference, _ = _objective(plan, chosen._replace(defense=criterion.reference))
    objective, _ = _objective(plan, chosen)
    untrained, whose = net(plan, chosen), subject(plan, chosen)
    return SelectJob(
        code=_code("touchstone.jobs.select:select", reference.target, untrained.target, objective.target),
        subject=whose,
        net=untrained,
        reference=reference,
        objective=objective,
        candidates=tuple(study.defenses[model.defense].select),
        phases=phases(plan, chosen, criterion.epochs[model.dataset])[0],
        tolerance=criterion.tolerance[model.dataset],
        redraws=study.redraws,
        amp=plan.config.amp,
        device=plan.config.device,
        threads=plan.config.threads,
        facts=table_facts(plan.dataset(whose.data), [untrained]),
    )


def sensitivity_job(plan: Plan, model: ModelId) -> SensitivityJob:
    """Return what is shown of the candidates of a selection."""
    criterion, chosen = _selection(plan, model)
    study, untrained, whose = plan.studies[model.study], net(plan, chosen), subject(plan, chosen)
    samples = Limits.where(plan.config.caps).capped("samples", criterion.probe_samples)
    probe = _probe(plan, chosen, criterion.probe, samples)
    return SensitivityJob(
        code=_code("touchstone.jobs.sensitivity:sensitivity", untrained.target, *probe.member.targets),
        subject=whose,
        net=untrained,
        probe=probe,
        near_zero=study.near_zero.headline if study.near_zero else None,
        device=plan.config.device,
        threads=plan.config.threads,
        facts=table_facts(plan.dataset(whose.data), [untrained], [probe.member]),
    )


# ---- attacks


def _members(plan: Plan, model: ModelId, attack: str) -> tuple[tuple[Member, ...], tuple[str, ...]]:
    """Return what an attack consists of, and in words what caps did to it and its substitutes."""
    limits, members, caps = plan.limits(model, attack), [], list[str]()
    study = plan.studies[model.study]
    for slug, definition in plan.members(model, attack).items():
        published = study.attacks[attack] if norm_of(study, attack) is None else None
        grid = {"grid": dict(published.grid)} if published else {}
        chooser = study.attacks[published.grid_from].grid if published and published.grid_from else {}
        given = _on(model, {**definition.options, **grid})
        done: Cut = cut(attack_spec(definition.fn), given, limits, slug, elsewhere=chooser)
        caps += done.caps
        start = _substitute(plan, model, definition)
        if start is not None:
            caps += [f"substitute {words}" for words in _training_caps(plan, start.model)]
        counted_by = published.counted_by if published else attack_spec(definition.fn).budget_rule
        members.append(Member(slug, definition.fn, done.options, done.grid, counted_by, start))
    return tuple(members), tuple(caps)


def _substitute(plan: Plan, model: ModelId, member: MemberDef) -> Substitute | None:
    if member.substitute is None:
        return None
    other = plan.substitute(model, member)
    return Substitute(other, net(plan, other))


def attack_job(plan: Plan, model: ModelId, attack: str) -> AttackJob:
    """Return one attack on one model."""
    members, _ = _members(plan, model, attack)
    chooser = plan.grid_from(model, attack)
    climbs_own = any(OWN in (m.options.get("loss"), *m.grid.get("loss", ())) for m in members)
    objective = _objective(plan, model)[0] if climbs_own else None
    nets = [net(plan, model), *(m.substitute.net for m in members if m.substitute)]
    run = (target for member in members for target in member.targets)
    targets = [*(n.target for n in nets), *run, *([objective.target] if objective else [])]
    worst = norm_of(plan.studies[model.study], attack) is not None
    return AttackJob(
        attack=attack,
        protocol="worst" if worst else "published",
        suite=plan.config.suite if worst else "",
        members=members,
        threat=plan.threat(model, attack),
        population=plan.population(model, attack),
        samples=plan.samples(model, attack),
        examples=plan.kept(model, attack),
        chosen_by=attack_job(plan, model, chooser) if chooser else None,
        seed=model.seed,
        objective=objective,
        facts=table_facts(plan.dataset(plan.data(model.dataset)), nets, members),
        code=_code("touchstone.jobs.attack:attack", *targets),
    )


def _preflight(plan: Plan, model: ModelId, threat: ThreatSpec) -> PreflightJob:
    """Return what is measured of a model under a threat."""
    untrained = net(plan, model)
    return PreflightJob(
        threat=threat,
        seed=model.seed,
        facts=table_facts(plan.dataset(plan.data(model.dataset)), [untrained]),
        code=_code("touchstone.evaluation.preflight:preflight", untrained.target),
    )


@cache
def batch_job(plan: Plan, model: ModelId, batch: str) -> BatchJob:
    """Return the attacks on one model that run in one job."""
    attacks = tuple(attack_job(plan, model, attack) for attack in plan.batches(model)[batch])
    threats = dict.fromkeys(attack.threat for attack in attacks if attack.threat is not None)
    return BatchJob(
        code=_code("touchstone.jobs.attack:run"),
        subject=subject(plan, model),
        batch=batch,
        net=net(plan, model),
        attacks=attacks,
        preflights=tuple(_preflight(plan, model, threat) for threat in threats),
        batch_size=plan.config.batch_size,
        device=plan.config.device,
        threads=plan.config.threads,
    )


# ---- findings


def tables_job(plan: Plan, study: str) -> TablesJob:
    """Return what the verdicts of a study need besides records: readings, worst cases, and what was cut short."""
    definition = plan.studies[study]
    first = {model[:-1]: model for model in reversed(plan.models) if model.study == study}
    return TablesJob(
        code=_code("touchstone.jobs.tables:tables"),
        run=plan.config.run,
        study=study,
        slugs={slot: tuple(names) for slot, names in claims.known(definition).items()},
        reference=definition.reference,
        near_zero=definition.near_zero,
        tables=definition.tables,
        labels=definition.labels,
        match=tuple(definition.paired.match if definition.paired else ()),
        readings=definition.readings,
        worst=tuple(
            found
            for attack in definition.attacks
            for dataset in definition.recipes
            if (found := _worst_case(plan, study, dataset, attack))
        ),
        cut_short=tuple(_cut_short(plan, model, attack) for model in first.values() for attack in plan.attacks(model)),
    )


def _worst_case(plan: Plan, study: str, dataset: str, attack: str) -> WorstCase | None:
    """Return what tests the numbers of a published attack on a dataset; None where nothing is said of it."""
    definition = plan.studies[study]
    published = definition.attacks[attack]
    if published.threat is None:
        return None
    defined = definition.threats[published.threat]
    threat = ThreatSpec(defined.norm, for_cell(defined.space, dataset, ""), defined.bounds)
    if published.counted_by == "unbounded":
        return WorstCase(dataset, attack, threat, why_not=f"{attack} is unbounded, so no radius bounds a worst case")
    for norm, covered in definition.worst.items():
        if published.threat in covered:
            models = [ModelId(study, dataset, "", defense, 0) for defense in definition.defenses]
            radii = dict(pair for m in models for pair in plan.pixel_radii(m, published.threat).items())
            if not radii:
                why = f"{attack} works in whitened space, the worst case in pixels"
                return WorstCase(dataset, attack, threat, why_not=why)
            judges = tuple(Judge(e, worst_slug(norm), r) for e, r in sorted(radii.items()))
            return WorstCase(dataset, attack, threat, judges)
    return None


def _cut_short(plan: Plan, model: ModelId, attack: str) -> CutShort:
    wanted, seeds = plan.wanted_seeds(model), plan.seeds(model, attack)
    population, data = plan.population(model, attack), plan.data(model.dataset)
    samples = plan.samples(model, attack)
    stand_in = (f"{data} stands in for {model.dataset}",) if plan.stand_in(model.dataset) else ()
    images = (f"at most {samples} test images",) if samples else ()
    trained = (f"{seeds} of {wanted} seeds",) if seeds < wanted else ()
    training, cuts = _training_caps(plan, model), _members(plan, model, attack)[1]
    names = (model.dataset, model.model, model.defense, attack)
    given = plan.is_given(model)
    other = ("other weights",) if plan.studies[model.study].paired and not given else ()
    changed = stand_in + training + other
    sizes = images + trained
    return CutShort(*names, data, population, cut_model=changed, cut_attack=cuts, cut_size=sizes, given=given)


@cache
def figures_job(plan: Plan, study: str) -> FiguresJob:
    """Return all figures of a study."""
    figures = plan.studies[study].figures
    plots = (PLOTS[figure.fn] for figure in figures.values())
    targets = sorted({target for plot in plots for target in (plot.fn, plot.read)})
    return FiguresJob(
        code=_code("touchstone.jobs.figures:figures", *targets),
        run=plan.config.run,
        study=study,
        drawings=tuple(drawing(plan, study, name) for name in figures),
    )


def drawing(plan: Plan, study: str, name: str) -> Drawing:
    """Return one figure of a study."""
    figure = plan.studies[study].figures[name]
    return Drawing(
        study=study,
        name=name,
        plot=figure.fn,
        options=figure.options,
        datasets=tuple(figure.datasets),
        models=tuple(figure.models),
        defenses=tuple(figure.defenses),
        attacks=tuple(figure.attacks),
        samples=figure.samples,
        epsilon=figure.epsilon,
        along=_along(plan.studies[study], figure),
        shown=() if PLOTS[figure.fn].data in RESULT_TABLES else _shown(plan, study, figure),
    )


def _along(study: Study, figure: FigureDef) -> dict[str, dict[str, float]]:
    """Return for each option that a figure is drawn along the defenses that differ from its first one in that alone."""
    listed = {name: study.defenses[name] for name in figure.defenses}

    def apart_from(option: str) -> dict[str, tuple[str, dict[str, Any]]]:
        return {name: (one.fn, {**one.options, option: None}) for name, one in listed.items()}

    found = {}
    for option in figure.along:
        rest = apart_from(option)
        like_first = [name for name, other in rest.items() if other == next(iter(rest.values()))]
        found[option] = {name: float(listed[name].options[option]) for name in like_first}
    return found


def _shown(plan: Plan, study: str, figure: FigureDef) -> tuple[Shown, ...]:
    """Return the kinds of models that a figure draws of those that its study asks for, in the figure's order."""
    asked = {(one.dataset, one.model, one.defense) for one in plan.asked[study]}
    definition = plan.studies[study]
    datasets, defenses = figure.datasets or definition.recipes, figure.defenses or definition.defenses
    every = product(datasets, defenses, figure.models or definition.models)
    kinds = [(dataset, model, defense) for dataset, defense, model in every if (dataset, model, defense) in asked]
    found = []
    for dataset, model, defense in kinds:
        models = tuple(m for m in plan.models if m[:-1] == (study, dataset, model, defense))
        batches = tuple(_batches(plan, m, figure) for m in models)
        label = _label(model, defense, [kind[1:] for kind in kinds if kind[0] == dataset])
        found.append(Shown(label, dataset, model, defense, models, batches))
    return tuple(found)


def _batches(plan: Plan, model: ModelId, figure: FigureDef) -> tuple[str, ...]:
    """Return the batches with the attacks on a model that a figure draws; none for a figure of models alone."""
    held = plan.batches(model) if PLOTS[figure.fn].data in (RECORDS, POINTS) else {}
    wanted = set(figure.attacks)
    return tuple(batch for batch, attacks in held.items() if not wanted or wanted.intersection(attacks))


def _label(model: str, defense: str, others: Sequence[tuple[str, str]]) -> str:
    """Name a kind of model by its defense, its model, or both: the first that tells all on its dataset apart."""
    models, defenses = (len(set(names)) for names in zip(*others, strict=True))
    if defenses == len(others):
        return defense
    return model if models == len(others) else f"{model} {defense}"


@cache
def features_job(plan: Plan, study: str, name: str) -> FeaturesJob:
    """Return what the models of a figure make of test images, and of what its attack makes of them."""
    one = drawing(plan, study, name)
    nets = tuple(_shown_once(plan, model, one) for shown in one.shown for model in shown.models)
    targets = sorted({target for batch in nets for target in batch.code.targets})
    code = _code("touchstone.jobs.features:features", *targets)
    return FeaturesJob(code=code, run=plan.config.run, study=study, figure=name, nets=nets)


def _shown_once(plan: Plan, model: ModelId, one: Drawing) -> BatchJob:
    """Return the attack on a model whose points a figure shows, at the one radius that it shows."""
    whole = attack_job(plan, model, one.attacks[0] if one.attacks else "clean")
    threat = whole.threat
    if threat is not None and whole.kind == "fixed":
        threat = replace(threat, epsilons=(one.epsilon or threat.epsilons[-1],))
    samples = min(count for count in (one.samples, whole.samples, whole.population) if count is not None)
    return BatchJob(
        code=whole.code,
        subject=subject(plan, model),
        batch=one.name,
        net=net(plan, model),
        attacks=(replace(whole, threat=threat, samples=samples, examples=samples),),
        preflights=(),
        batch_size=plan.config.batch_size,
        device=plan.config.device,
        threads=plan.config.threads,
    )


def pages_job(plan: Plan, study: str) -> PagesJob:
    """Return the pages on which people say what they see."""
    people = plan.studies[study].people
    if people is None:
        raise ValueError(f"{study}: nobody is asked anything without `people`")
    nets = tuple(
        ShownNet(subject(plan, model), attack, batch, count)
        for model in plan.models
        if model.study == study
        for batch, attacks in plan.batches(model).items()
        for attack in attacks
        if (count := plan.shown(model, attack))
    )
    return PagesJob(_code("touchstone.jobs.people:pages"), plan.config.run, study, nets, people.images, people.seed)


def answers_job() -> WriteJob:
    """Return how the answers of people become numbers."""
    return WriteJob(code=_code("touchstone.findings.people:count"))


def report_job(plan: Plan, study: str = "") -> ReportJob:
    """Return the report of a study, or that of the whole run."""
    title = plan.studies[study].title if study else f"Touchstone: {plan.config.run} run"
    whose: dict[str, Any] = {"study": study} if study else {"studies": list(plan.studies)}
    parameters = {"results_dir": str(plan.results.root), **whose, "root": os.path.relpath(plan.root)}
    part = {"": "summary:values", "study": "sections:values", "model": "model:values"}[
        plan.studies[study].report if study else ""
    ]
    code = _code(f"touchstone.report.{part}", "touchstone.report.material:gather", "touchstone.report.render:execute")
    return ReportJob(code=code, title=title, parameters=parameters)


# ---- data, and what is said of the run


def fetch_job(dataset: str, own: DatasetSpec | None = None) -> FetchJob:
    """Return which raw files of a dataset come in. Their sums decide what they are, so no code does."""
    told = None if own is None else dict(own.options)
    return FetchJob(code=_code(), dataset=dataset, files=(own or DATASETS[dataset]).files, own=told)


def source(plan: Plan, dataset: str) -> str | dict[str, str]:
    """Return where a dataset's raw files come from."""
    found: str | dict[str, str] = plan.config.data[dataset].model_dump()["source"]
    return found


def prepare_job(dataset: str, own: DatasetSpec | None = None) -> PrepareJob:
    """Return how a dataset's raw files, or data of the user's own, become one."""
    spec = own or DATASETS[dataset]
    code = _code("touchstone.data.prepare:prepare", spec.fn)
    return PrepareJob(code=code, dataset=dataset, facts=facts(spec), own=own)


def raw_place(plan: Plan, dataset: str) -> Path:
    """Return where a dataset's raw files are fetched to, or where data of the user's own lie, which nothing copies."""
    if plan.own_data(dataset) is None:
        return paths.raw(dataset).folder
    return Path(plan.config.data[dataset].model_dump()["source"]["local"]).expanduser()


def config_job(plan: Plan) -> WriteJob:
    """Return the run as plain data: its config, then every training and attack with its values."""
    jobs: dict[str, Any] = {}
    attacked = set(plan.models)
    for model in plan.trained:
        batches = [batch_job(plan, model, b).to_params() for b in plan.batches(model)] if model in attacked else []
        jobs[model.label] = {"training": train_job(plan, model).to_params(), "attacks": batches}
    values = {"config": plan.config.model_dump(exclude_none=True), "jobs": jobs}
    return WriteJob(code=_code("touchstone.files:write_yaml"), values=values)


def claims_job(plan: Plan) -> ClaimsJob:
    """Return how the claims of all studies become one table, and the papers' tables are written in their own shape."""
    headings = {
        study: {name: _heading(plan, definition, table) for name, table in definition.tables.items()}
        for study, definition in plan.studies.items()
    }
    targets = ("touchstone.findings.tables:gather", "touchstone.findings.paper:write")
    return ClaimsJob(code=_code(*targets), run=plan.config.run, headings=headings)


def _heading(plan: Plan, study: Study, table: TableDef) -> Heading:
    datasets = [table.dataset] if table.dataset else study.recipes
    used = {name: plan.stand_in(name) for name in datasets if plan.stand_in(name)}
    return Heading(f"{table.label}. {table.heading}", used)
