"""The job that runs a batch of attacks on one model."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

import torch
from torch import Tensor, nn

from touchstone import provenance, records
from touchstone.cell import ModelId
from touchstone.data.prepare import Dataset, spread, to_float
from touchstone.evaluation import cascade, flags, published
from touchstone.evaluation.preflight import SAMPLES, preflight
from touchstone.evaluation.result import Member, Progress, Result, Shelf, failed
from touchstone.files import write_bytes
from touchstone.jobs.common import Trained, load_data, load_trained, make_defense, make_threat, set_up
from touchstone.jobs.parts import Blocks, Examples, Parts, to_bytes
from touchstone.log import progress
from touchstone.losses import Loss
from touchstone.paths import Results
from touchstone.plan.jobs import AttackJob, BatchJob, PreflightJob
from touchstone.records import Attacked, Choice, Header, Preflight
from touchstone.threat import in_space

log = logging.getLogger(__name__)

Grid = list[Choice]  # what was tried of options that a paper tuned
LIBRARIES = ("python", "torch", "torchvision", "timm", "numpy", "foolbox", "pyautoattack")  # other ones, other numbers


@dataclass(frozen=True)
class Scene:
    """What every attack of a batch works with."""

    job: BatchJob
    device: torch.device
    data: Dataset
    target: Trained
    substitutes: Mapping[ModelId, Trained]
    versions: Mapping[str, str]

    def key(self, part: AttackJob | PreflightJob) -> str:
        """Return what a part is kept under."""
        others = {s.model.label: self.substitutes[s.model].run.model_sha256 for s in part.substitutes}
        files = {"data": self.data.sha256, "model": self.target.run.model_sha256, **others}
        return self.job.key(part, **files, **{name: self.versions[name] for name in LIBRARIES})

    def images(self, population: int | None, count: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return images (n, *shape) in [0, 1], their classes and places in the test set.

        Args:
            population: they are of the first so many; None for all.
            count: how many, in an order of which every prefix stands for the whole; None for all.
        """
        index = spread(self.data.test.y[:population].cpu()).to(self.device)[:count]
        return to_float(self.data.test.x[index]), self.data.test.y[index], index


class About(TypedDict):
    """What both protocols are told; see `touchstone.evaluation.published.run`."""

    seed: int
    batch_size: int
    own_loss: Loss | None
    progress: Progress
    index: Tensor
    examples: int


def run(job: BatchJob, results: Results) -> None:
    """Run every attack of a batch that is not there yet; write its records and examples.

    An attack that fails does not stop the others: they are kept, and only the failed one runs again.

    Raises:
        ValueError: if a file cannot be used; names it and the rule that makes it.
        ExceptionGroup: with what went wrong in each part that failed.
    """
    scene, parts = make_scene(job, results), Parts(results, job.subject.model)
    done: list[tuple[Attacked, Examples]] = []
    preflights: list[Preflight] = []
    errors: list[Exception] = []
    grids: dict[str, Grid] = {}
    for one in sorted(job.attacks, key=lambda attack: attack.chosen_by is not None):
        with _kept_apart(f"attack {one.attack}", job, errors):
            done.append(_part(one, scene, parts, grids))
            grids[one.attack] = done[-1][0].header.grid
    for asked in job.preflights if scene.target.run.status == "ok" else ():
        with _kept_apart(f"preflight in {asked.threat.norm}", job, errors):
            preflights.append(_preflight(asked, scene, parts))
    if errors:
        every = len(job.attacks) + len(job.preflights)
        raise ExceptionGroup(f"{len(errors)} of {every} parts failed; the others are kept", errors)
    files = results.attack(job.subject.model, job.batch)
    records.write(files.records, [attacked for attacked, _ in done], preflights)
    shown = {f"{a.header.attack}/{name}": points for a, examples in done for name, points in examples.items()}
    write_bytes(files.examples, to_bytes(shown))


@contextmanager
def _kept_apart(part: str, job: BatchJob, errors: list[Exception]) -> Iterator[None]:
    """Collect what goes wrong in a part, for whoever raises it when the others have run."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in {part} on {job.subject.model.label}")
        log.exception("%s failed; the rest of the batch goes on", part)
        errors.append(error)


def make_scene(job: BatchJob, results: Results) -> Scene:
    """Read what the attacks of a batch work with, and fix what could make two runs differ."""
    device = set_up(job.device, job.threads)
    data = load_data(job.subject.data, device)
    target = load_trained(results, job.subject.model, job.net, data.name, device)
    others = {s.model: load_trained(results, s.model, s.net, data.name, device) for s in job.substitutes}
    return Scene(job, device, data, target, others, provenance.versions())


def _part(job: AttackJob, scene: Scene, parts: Parts, grids: Mapping[str, Grid]) -> tuple[Attacked, Examples]:
    """Return an attack that was kept, or run it and keep it; `grids`: what attacks before it tried."""
    key = scene.key(job)
    blocks = Blocks(parts, key, partial(_header, job, scene))
    found = parts.load(key)
    if found is not None:
        log.info("%s is there already", job.attack)
    else:
        found = attack(job, scene, grids, blocks)
        parts.keep(key, *found)
    blocks.clear()
    return found


def attack(
    job: AttackJob, scene: Scene, grids: Mapping[str, Grid], shelf: Shelf | None = None
) -> tuple[Attacked, Examples]:
    """Run one attack over all its radii; a model or substitute whose training failed gives no rows, and the reason.

    Args:
        job: the attack.
        scene: what it works with.
        grids: what attacks before it tried.
        shelf: where blocks of images of a worst case are kept.

    Raises:
        ValueError: if the attack on whose grid its options are chosen is not among `grids`.
    """
    x, y, index = scene.images(job.population, job.samples)
    reason = _failure(job, scene)
    found = failed(reason) if reason else attacked(job, scene, x, y, index, grids, shelf)
    examples = {records.SAMPLE: index[: job.examples].cpu(), **found.examples} if found.examples else {}
    return Attacked(_header(job, scene, len(index), found), found.records), examples


def _header(job: AttackJob, scene: Scene, samples: int, found: Result) -> Header:
    """Return what stands over the rows of an attack."""
    subject = scene.job.subject
    return Header(
        run=subject.run,
        model=subject.model,
        stand_in=subject.stand_in,
        attack=job.attack,
        protocol=job.protocol,
        kind=job.kind,
        members={m.slug: {"fn": m.fn, "options": m.options} for m in job.members},
        threat=job.threat,
        samples=samples,
        suite=job.suite,
        budget_rule=job.members[0].budget_rule if job.kind == "minimal" else "ball",
        status=found.status,
        reason=found.reason,
        flags=list(found.flags),
        grid=list(found.grid),
        doubled_steps_gain=found.doubled_steps_gain,
        made={
            "code": job.code.digest,
            "seed": job.seed,
            "batch_size": scene.job.batch_size,
            "device": scene.job.device,
            "threads": scene.job.threads,
            "versions": dict(scene.versions),
            "dataset_sha256": scene.data.sha256,
            "model_sha256": scene.target.run.model_sha256,
            "substitutes": {s.model.label: scene.substitutes[s.model].run.model_sha256 for s in job.substitutes},
        },
    )


def _failure(job: AttackJob, scene: Scene) -> str:
    """Say why there is nothing to attack, or nothing to start from; empty if there is."""
    if scene.target.run.status != "ok":
        return scene.target.run.reason
    runs = [scene.substitutes[s.model].run for s in job.substitutes]
    return "; ".join(f"the substitute {r.model.label} failed: {r.reason}" for r in runs if r.status != "ok")


def _choice(job: AttackJob, grids: Mapping[str, Grid]) -> Grid | None:
    """Return what was tried for the attack whose choice this one takes, None if it takes none."""
    if job.chosen_by is None:
        return None
    if job.chosen_by.attack not in grids:
        raise ValueError(f"{job.attack} takes the choice of {job.chosen_by.attack}, which has not run")
    return grids[job.chosen_by.attack]


def attacked(
    job: AttackJob,
    scene: Scene,
    x: Tensor,
    y: Tensor,
    index: Tensor,
    grids: Mapping[str, Grid],
    shelf: Shelf | None = None,
) -> Result:
    """Run one attack on a model whose training did not fail.

    Args:
        job: the attack.
        scene: what it works with.
        x: (n, *shape), images.
        y: (n,), their classes.
        index: (n,), their places in the test set.
        grids: what attacks before it tried.
        shelf: where blocks of images of a worst case are kept.

    Raises:
        ValueError: if the attack on whose grid its options are chosen is not among `grids`.
    """
    threat = make_threat(job.threat) if job.threat else None
    selected = scene.target.run.selected_options
    about = About(
        seed=job.seed,
        batch_size=scene.job.batch_size,
        own_loss=make_defense(job.objective, selected).loss if job.objective else None,
        progress=progress(job.attack),
        index=index,
        examples=job.examples,
    )

    def start(model: ModelId) -> nn.Module:
        trained = scene.substitutes[model].model
        return in_space(trained, threat).model if threat else trained

    members = [
        Member(m.slug, m.fn, {**m.options, **({"substitute": start(m.substitute.model)} if m.substitute else {})})
        for m in job.members
    ]
    model = scene.target.model.eval()
    if job.protocol == "worst":
        if threat is None:
            raise ValueError(f"{job.attack} is a worst case without a threat")
        return cascade.run(model, x, y, members, threat=threat, shelf=shelf, **about)
    (only,) = job.members
    rule = None if only.budget_rule == "ball" else only.budget_rule
    chosen = _choice(job, grids)
    return published.run(
        model,
        x,
        y,
        members[0],
        threat=threat,
        grid=only.grid,
        budget_rule=rule,
        chosen=chosen,
        **about,
    )


def _preflight(job: PreflightJob, scene: Scene, parts: Parts) -> Preflight:
    """Return what was measured of the model under a threat; only the first batch that asks measures."""
    key = scene.key(job)
    with parts.alone(key):
        found = parts.load_preflight(key)
        if found is None:
            x, y, _ = scene.images(None, SAMPLES)
            model, threat = scene.target.model.eval(), make_threat(job.threat)
            measured = preflight(model, x, y, threat=threat, seed=job.seed, batch_size=scene.job.batch_size)
            found = Preflight(job.threat, measured, flags.preflight(measured))
            parts.keep_preflight(key, found)
    return found
