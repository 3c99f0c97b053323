"""Every model trains with every defense that a study names beside it, and is open to the attacks meant for it.

Pairs that differ by numbers alone are one case of the fast suite, and each a case of the slow one.
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from shipped import planned

from touchstone.cell import ModelId
from touchstone.data import DATASETS
from touchstone.jobs.common import make_defense, make_fresh
from touchstone.models.classifier import Classifier
from touchstone.models.whitening import BIAS, Whiten, contrast_normalized
from touchstone.plan import build
from touchstone.plan.jobs import Member, TrainJob
from touchstone.query import Query
from touchstone.registry import load
from touchstone.study.suites import worst_slug
from touchstone.training import fit

ROOT = Path(__file__).resolve().parents[1]
PLAN = planned("configs/paper.yaml")
FRESH: dict[str, Classifier] = {}


def images(named: ModelId, count: int) -> torch.Tensor:
    """Random images (count, C, H, W) uint8 of a model's dataset."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, *DATASETS[named.dataset].shape), dtype=torch.uint8, generator=generator)


def fresh(named: ModelId, job: TrainJob) -> Classifier:
    """Make a net as its training begins with it, but for a whitening, which takes ten seconds to fit.

    Its W is diagonal here; tests/models/test_whitening.py has the fit.
    """
    key = f"{named.dataset} {job.net}"
    if key not in FRESH:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Whiten, "fit", by_variances)
            FRESH[key] = make_fresh(job.net, named.dataset, 0, images(named, 8))
    return deepcopy(FRESH[key])


def by_variances(layer: Whiten, x: torch.Tensor) -> None:
    """Fit a whitening as if no two values went together."""
    g = contrast_normalized(x.double() / 255)[0].flatten(1)
    roots = (g.var(0, correction=0) + BIAS).sqrt()
    layer.mean.copy_(g.mean(0))
    layer.matrix.copy_((1 / roots).diag())
    layer.inverse_matrix.copy_(roots.diag())


def shape(named: ModelId) -> str:
    """Everything of a training but its numbers."""
    job = build.train_job(PLAN, named)
    options = {key: type(value) if isinstance(value, float) else value for key, value in job.objective.options.items()}
    phases = [(p.optimizer, p.schedule, p.init, [*p.groups], p.augment, p.validation_share > 0) for p in job.phases]
    return repr((named.study, named.dataset, job.net, job.objective.fn, options, phases))


def cases(named: Iterable[ModelId]) -> list[object]:
    """Return a case for each model, slow for large nets and for what trains as one before it does."""
    seen, out = set(), []
    for model in named:
        slow = model.model.startswith(("wrn", "vgg")) or shape(model) in seen
        seen.add(shape(model))
        out.append(pytest.param(model, id="-".join(model[:-1]), marks=[pytest.mark.slow] if slow else []))
    return out


def test_every_study_is_planned() -> None:
    assert set(PLAN.studies) == {path.parent.name for path in ROOT.glob("studies/*/study.yaml")}
    assert {model.study for model in PLAN.trained} == set(PLAN.studies)


@pytest.mark.parametrize("named", cases(m for m in PLAN.trained if m.seed == 0))
def test_a_named_model_and_a_named_defense_train_together(named: ModelId) -> None:
    job = build.train_job(PLAN, named)
    candidates = PLAN.studies[named.study].defenses[named.defense].select
    x = images(named, 8)
    model = fresh(named, job)
    defense = make_defense(job.objective, dict(*candidates[:1]))
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    # a second optimiser may wait for its first epoch: the critic's does
    phases = [replace(phase, epochs=2 if phase.groups else 1) for phase in job.phases]
    history = fit(model, defense, x, torch.arange(8), phases, seed=0).history
    assert len(history) == sum(phase.epochs for phase in phases), "a loss or a weight was not finite"
    still = [name for name, p in model.named_parameters() if p.requires_grad and p.equal(before[name])]
    assert not still


def own_attacks() -> list[object]:
    """Return an example of every adaptive attack beside every model that it is run on."""
    found = {}
    for named in (m for m in PLAN.models if m.seed == 0):
        study = PLAN.studies[named.study]
        own = study.defenses[named.defense].adaptive
        for norm in study.worst if own else ():
            for member in build.attack_job(PLAN, named, worst_slug(norm)).members:
                if member.slug in own:
                    found[f"{named.study}-{named.dataset}-{named.model}-{member.slug}-{norm}"] = (named, member, norm)
    assert found
    return [
        pytest.param(*given, id=slug, marks=[pytest.mark.slow] if given[0].model.startswith(("wrn", "vgg")) else [])
        for slug, given in found.items()
    ]


@pytest.mark.parametrize(("named", "member", "norm"), own_attacks())
def test_the_attacks_meant_for_a_defense_run_on_the_models_beside_it(named: ModelId, member: Member, norm: str) -> None:
    job = build.train_job(PLAN, named)
    query = Query(fresh(named, job), own_loss=make_defense(job.objective).loss)
    x = torch.rand(1, *DATASETS[named.dataset].shape, generator=torch.Generator().manual_seed(0))
    known = {**member.options, "steps": 1} | ({"eps": 0.1} if member.spec.kind == "fixed" else {})
    found = load(member.spec.fn)(query, x, torch.zeros(1).long(), norm=norm, rng=0, **known)
    assert (found if member.spec.kind == "fixed" else found.x_adv).shape == x.shape
    assert query.forwards.sum() > 0
