"""What a run costs: trainings, attacks and jobs of each study, hours on one CPU thread, and disk, as the plan says.

Hours are passes times seconds: how many passes an image costs at most is said in the tables of attacks and objectives
(`touchstone.plan.passes`), what share of them is usual beside them, and what a pass takes was measured
(`touchstone.plan.units`). What cannot be estimated is named, and is no part of a sum.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, product
from math import prod
from pathlib import Path
from typing import Literal, NamedTuple

from touchstone.attacks import twice_the_steps
from touchstone.cell import ModelId
from touchstone.paths import prepared
from touchstone.plan import build, targets
from touchstone.plan.jobs import AttackJob, Member, Net, Objective, Options
from touchstone.plan.passes import Count, of_attack, of_defense
from touchstone.plan.plan import Plan
from touchstone.plan.units import Key, Unit, units
from touchstone.recipe import Phase
from touchstone.registry import AttackSpec, DatasetSpec, options

RUN = ""  # in the place of a study, what all of them share

# What the code does to so many images, whatever they are: accuracy after each epoch, preflight, probes, and radius 0.5.
TRAIN_PROBE, PROBED = 5000, 200
NOISE_DRAWS = 10
PREFLIGHT = Count(14, 12)  # passes, those in float64 taken for two
FULL_RANGE = 0.5

# Measured on the runs in reports/reference and the demo.
START = 6.0  # seconds of a job that imports torch before it does anything
JUDGED = 1e-4  # seconds for what is said of a point besides its logits
LEFT = 0.6  # share of the images that a member of a suite finds unbroken, in the mean over radii and members
ROW = 70  # bytes of a record
COPIES = 2  # of an attack: its part, and the batch's file


Part = Literal["training", "attacking"]


class NotKnownError(LookupError):
    """What something takes cannot be said."""


class Item(NamedTuple):
    """What something takes; None where it cannot be said, because of `lacks`."""

    study: str
    part: Part
    seconds: float | None
    lacks: str = ""


class StudyCost(NamedTuple):
    """What a study costs.

    Attributes:
        study: RUN for what all studies share.
        trainings: nets, given ones included.
        attacks: on one net each, a worst case being one.
        jobs: as Snakemake counts them.
        done: those of them whose files are there.
        figures: drawn.
        training: core-hours on one thread.
        attacking: the same.
        disk: bytes.
        lacks: what is not estimated, and why.
    """

    study: str
    trainings: int = 0
    attacks: int = 0
    jobs: int = 0
    done: int = 0
    figures: int = 0
    training: float = 0.0
    attacking: float = 0.0
    disk: float = 0.0
    lacks: tuple[str, ...] = ()


def costs(plan: Plan) -> list[StudyCost]:
    """Return what each study costs, then what they share."""
    return [_study(plan, study) for study in plan.studies] + [_shared(plan)]


def total(rows: Sequence[StudyCost]) -> StudyCost:
    """Return the sum over studies."""
    numbers = {name: sum(getattr(row, name) for row in rows) for name in StudyCost._fields[1:-1]}
    return StudyCost("all", **numbers, lacks=tuple(dict.fromkeys(chain.from_iterable(row.lacks for row in rows))))


def _study(plan: Plan, study: str) -> StudyCost:
    trained = [m for m in plan.trained if m.study == study]
    attacked = [m for m in plan.models if m.study == study]
    found = items(plan, study)
    hours = {part: sum(i.seconds or 0 for i in found if i.part == part) / 3600 for part in ("training", "attacking")}
    made = study_jobs(plan, study)
    return StudyCost(
        study,
        len(trained),
        sum(len(plan.attacks(m)) for m in attacked),
        len(made),
        sum(all(path.exists() for path in files) for files in made),
        len(plan.studies[study].figures),
        **hours,
        disk=sum(disk(plan, m) for m in trained) + sum(disk_of_attacks(plan, m) for m in attacked),
        lacks=tuple(dict.fromkeys(i.lacks for i in found if i.seconds is None)),
    )


def _shared(plan: Plan) -> StudyCost:
    made = shared_jobs(plan)
    data = [plan.dataset(name) for name in _datasets(plan)]
    size = sum(sum(one.images) * prod(one.shape) * COPIES for one in data if one.images)
    done = sum(all(path.exists() for path in files) for files in made)
    return StudyCost(RUN, jobs=len(made), done=done, disk=size)


# ---- jobs


def study_jobs(plan: Plan, study: str) -> list[list[Path]]:
    """Return what each job of a study leaves: trainings, selections and what is shown of them, attacks, findings."""
    results = plan.results
    trained = [m for m in plan.trained if m.study == study]
    batches = targets.batches(plan, [m for m in plan.models if m.study == study])
    chosen = targets.selections(plan, trained)
    return [
        *(list(results.model(m)) for m in trained),
        *([s.choice, s.weights] for s in chosen),
        *([s.sensitivity] for s in chosen),
        *(list(files) for files in batches),
        *(list(results.features(study, one.name)) for one in targets.of_features(plan, study)),
        targets.tables(plan, study),
        *_people(plan, study),
        *([targets.figures(plan, study)] if plan.studies[study].figures else []),
        list(results.report(study)),
    ]


def _people(plan: Plan, study: str) -> list[list[Path]]:
    """Return what the jobs about questions and about answers leave, where there are any."""
    return [files for files in (targets.asked(plan, study), targets.answered(plan, study)[-1:]) if files]


def shared_jobs(plan: Plan) -> list[list[Path]]:
    """Return what each job of a run leaves that belongs to no study; the last one, `all`, leaves nothing of its own."""
    results, data = plan.results, _datasets(plan)
    fetched = [files for name in data if (files := targets.fetched(plan, name))]
    made = [*fetched, *(list(prepared(name)) for name in data)]
    rest = [targets.claims(plan), [results.config], list(results.report())]
    return [*made, *rest, targets.everything(plan)]


def _datasets(plan: Plan) -> list[str]:
    return sorted({plan.data(model.dataset) for model in plan.trained})


def attack_jobs(plan: Plan, model: ModelId) -> list[AttackJob]:
    """Return every attack on a model, as its batches have them."""
    return [job for batch in plan.batches(model) for job in build.batch_job(plan, model, batch).attacks]


# ---- seconds


def items(plan: Plan, study: str) -> list[Item]:
    """Return what every training, selection and attack of a study takes, those for its figures among them."""
    trained = [m for m in plan.trained if m.study == study]
    choices = {m._replace(seed=0): m for m in trained if plan.selects(m)}.values()
    parts = (
        *(training(plan, m) for m in trained),
        *(selection(plan, m) for m in choices),
        *(attacking(plan, m) for m in plan.models if m.study == study),
        *(features(plan, study, one.name) for one in targets.of_features(plan, study)),
    )
    return list(chain.from_iterable(parts))


def training(plan: Plan, model: ModelId) -> Iterator[Item]:
    """Yield what a training takes; given weights are copied."""
    job = build.train_job(plan, model)
    yield Item(model.study, "training", START)
    if job.phases:
        share = max(phase.validation_share for phase in job.phases)
        yield item(model, "training", lambda: fit(job.net, job.objective, job.phases, _data(plan, model), share))
    if job.watched:
        epochs, probe = sum(phase.epochs for phase in job.phases), job.watched.probe
        times = 2 * probe.samples * -(-epochs // job.watched.every)
        yield item(model, "training", partial(run, probe.member, {}, times, _data(plan, model), job.net))


def selection(plan: Plan, model: ModelId) -> Iterator[Item]:
    """Yield what the choice of a defense's constants takes, and what is shown of the candidates."""
    job, shown, data = build.select_job(plan, model), build.sensitivity_job(plan, model), _data(plan, model)
    tried = [job.reference, *(Objective(job.objective.fn, {**job.objective.options, **c}) for c in job.candidates)]
    times = len(tried) * shown.probe.samples * len(shown.probe.threat.epsilons)
    yield Item(model.study, "training", 2 * START)
    for one in tried:
        yield item(model, "training", partial(fit, job.net, one, job.phases, data))
    yield item(model, "training", partial(run, shown.probe.member, {}, times, data, shown.net))


def attacking(plan: Plan, model: ModelId) -> Iterator[Item]:
    """Yield what the attacks on a model take, with what their jobs do besides."""
    net, data = build.net(plan, model), _data(plan, model)
    jobs = attack_jobs(plan, model)
    yield Item(model.study, "attacking", len(plan.batches(model)) * START)
    threats = len({job.threat for job in jobs if job.threat})
    yield item(model, "attacking", lambda: PROBED * threats * seconds(PREFLIGHT, unit(net, data)))
    for job in jobs:
        runs = suite if job.protocol == "worst" else alone
        yield item(model, "attacking", partial(judging, job, net, data))
        for member, more, times in runs(job, data):
            yield item(model, "attacking", partial(run, member, more, times, data, net))


def features(plan: Plan, study: str, figure: str) -> Iterator[Item]:
    """Yield what the attacks behind the features of a figure take; t-SNE comes on top, seconds per thousand points."""
    yield Item(study, "attacking", START)
    for batch in build.features_job(plan, study, figure).nets:
        model = batch.subject.model
        data = _data(plan, model)
        for job in batch.attacks:
            for member, more, times in alone(job, data):
                yield item(model, "attacking", partial(run, member, more, times, data, batch.net))


def item(model: ModelId, part: Part, spend: Callable[[], float]) -> Item:
    """Return what something takes, or why nobody knows."""
    try:
        return Item(model.study, part, spend())
    except NotKnownError as why:
        return Item(model.study, part, None, str(why))


def fit(net: Net, objective: Objective, phases: tuple[Phase, ...], data: DatasetSpec, share: float = 0.0) -> float:
    """Return the seconds of a training of which a share of the images is held out."""
    spent = of_defense(objective.fn, objective.options, data)
    if spent is None:
        raise NotKnownError(f"objective {objective.fn}: which passes it takes is not said")
    images, _ = counts(data)
    rows = images * (1 - share)
    epoch = Count().plus(spent, rows).plus(Count(min(TRAIN_PROBE, rows) + images * share))
    return sum(phase.epochs for phase in phases) * seconds(epoch, unit(net, data))


Run = tuple[Member, Options, float]  # an attack, options in the place of its own, and images times radii that meet it


def suite(job: AttackJob, data: DatasetSpec) -> Iterator[Run]:
    """Yield the members of a suite, on what is left; at radius 0.5 the first of them leaves nothing."""
    assert job.threat is not None  # a worst case has one
    count, radii = population(job, data), len(job.threat.epsilons)
    for member in job.members:
        yield member, {}, LEFT * count * (radii if member.spec.kind == "fixed" else 1)
    if (job.threat.norm, job.threat.space) == ("linf", "pixel") and max(job.threat.epsilons) < FULL_RANGE:
        yield job.members[0], {}, min(count, PROBED)


def alone(job: AttackJob, data: DatasetSpec) -> Iterator[Run]:
    """Yield the runs of a published attack: for each choice of its grid, and on a few images with twice the steps."""
    (member,), count = job.members, population(job, data)
    radii = len(job.threat.epsilons) if job.threat and job.kind == "fixed" else 1
    grid = {} if job.chosen_by else member.grid
    for choice in product(*grid.values()):
        yield member, dict(zip(grid, choice, strict=True)), count * radii
    twice = twice_the_steps(member.spec, member.options, _steps) if job.kind == "fixed" else None
    if twice is not None:
        yield member, twice, min(count, PROBED) * radii


def _steps(spec: AttackSpec) -> int | None:
    """Return how many steps an attack takes by itself, as its source says; None without steps."""
    found = options(spec.fn).get("steps")
    return found.default if found else None


def run(member: Member, more: Options, times: float, data: DatasetSpec, net: Net) -> float:
    """Return the seconds of an attack on so many images and of judging its points; a transfer asks another net."""
    spent = of_attack(member.fn, {**member.options, **more}, data)
    if spent is None:
        raise NotKnownError(f"attack {member.options.get('target', member.fn)}: which passes it takes is not said")
    judged = unit(net, data)
    asked = unit(member.substitute.net, data) if member.substitute else judged
    return times * (member.spec.usual * seconds(spent, asked) + judged.forward + JUDGED)


def judging(job: AttackJob, net: Net, data: DatasetSpec) -> float:
    """Return the seconds for the images themselves, and for the random points beside a published attack."""
    count = population(job, data)
    noisy = job.protocol == "published" and job.kind == "fixed" and job.threat is not None
    radii = len(job.threat.epsilons) if job.threat and noisy else 0
    return (count + NOISE_DRAWS * radii * min(count, PROBED)) * (unit(net, data).forward + JUDGED)


def population(job: AttackJob, data: DatasetSpec) -> int:
    """Return how many images an attack gets."""
    _, test = data.images or (0, 0)
    return min(n for n in (test, job.population, job.samples) if n is not None)


def seconds(count: Count, each: Unit) -> float:
    """Return the CPU time of passes."""
    extra = count.backward * (each.gradient - each.forward) + count.weights * (each.step - each.forward)
    return count.forward * each.forward + extra


def unit(net: Net, data: DatasetSpec) -> Unit:
    """Return what an image costs in a pass through a net.

    Raises:
        NotKnownError: if the net was not measured at the shape of these images, or nobody knows how many there are.
    """
    counts(data)
    found = units().get(Key.of(net.fn, net.options, data.shape))
    if found is None:
        about = " ".join([net.fn, *(f"{k}={v}" for k, v in net.options.items())])
        raise NotKnownError(f"net {about} on {'x'.join(map(str, data.shape))}: not measured")
    return found


def counts(data: DatasetSpec) -> tuple[int, int]:
    """Return how many images there are to train and to test on.

    Raises:
        NotKnownError: if only the files know.
    """
    if data.images is None:
        raise NotKnownError(f"data by {data.fn}: how many images there are is not known before they are read")
    return data.images


def _data(plan: Plan, model: ModelId) -> DatasetSpec:
    return plan.dataset(plan.data(model.dataset))


# ---- disk


def disk(plan: Plan, model: ModelId) -> float:
    """Return the bytes of a net's weights, as far as it was measured."""
    net = build.net(plan, model)
    found = units().get(Key.of(net.fn, net.options, _data(plan, model).shape))
    return 4 * found.parameters if found else 0


def disk_of_attacks(plan: Plan, model: ModelId) -> float:
    """Return the bytes that the attacks on a model leave: records and examples, in their batch and beside it."""
    return COPIES * sum(kept(job, _data(plan, model)) for job in attack_jobs(plan, model))


def kept(job: AttackJob, data: DatasetSpec) -> float:
    """Return the bytes of an attack's records and examples."""
    radii = len(job.threat.epsilons) if job.threat else 1
    rows = population(job, data) * radii * (1 + LEFT * len(job.members) if job.protocol == "worst" else 1)
    return rows * ROW + radii * min(job.examples, population(job, data)) * prod(data.shape) * 4
