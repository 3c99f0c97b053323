"""Every model trains with every defense that a study names beside it, and is open to the attacks meant for it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from touchstone.attacks import ATTACKS
from touchstone.data import DATASETS
from touchstone.jobs.common import make_defense, make_model, make_phases
from touchstone.plan.plan import Cell, make_plan
from touchstone.query import Query
from touchstone.registry import load
from touchstone.training import fit

ROOT = Path(__file__).resolve().parents[1]
PLAN = make_plan(ROOT, ROOT / "configs" / "paper.yaml")


def case(cell: Cell) -> object:
    marks = [pytest.mark.slow] if cell.model.startswith("wrn") else []
    return pytest.param(cell, id=f"{cell.study}-{cell.original}-{cell.model}-{cell.defense}", marks=marks)


def test_every_study_is_planned() -> None:
    assert set(PLAN.studies) == {path.parent.name for path in ROOT.glob("studies/*/study.yaml")}
    assert {cell.study for cell in PLAN.trained} == set(PLAN.studies)


@pytest.mark.parametrize("cell", [case(c) for c in PLAN.trained if c.seed == 0])
def test_a_named_model_and_a_named_defense_train_together(cell: Cell) -> None:
    job = PLAN.training(cell)
    candidates = PLAN.studies[cell.study].defenses[cell.defense].select
    model, defense = make_model(job["model"], cell.dataset, 0), make_defense(job["defense"], **dict(*candidates[:1]))
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (8, *DATASETS[cell.dataset].shape), dtype=torch.uint8, generator=generator)
    # a second optimiser may wait for its first epoch: the critic's does
    phases = [replace(phase, epochs=2 if phase.groups else 1) for phase in make_phases(job["phases"])]
    history = fit(model, defense, x, torch.arange(8), phases, seed=0).history
    assert len(history) == sum(phase.epochs for phase in phases), "a loss or a weight was not finite"
    still = [name for name, p in model.named_parameters() if p.requires_grad and p.equal(before[name])]
    assert not still


def own_attacks() -> list[object]:
    """Return an example of every adaptive attack beside every model that it is run on."""
    found = {}
    for cell in (c for c in PLAN.cells if c.seed == 0):
        own = PLAN.studies[cell.study].defenses[cell.defense].adaptive
        for name in PLAN.studies[cell.study].worst if own else ():
            job = PLAN.attack(cell, name)
            for member in job["options"]["members"]:
                if member["slug"] in own:
                    slug = f"{cell.study}-{cell.original}-{cell.model}-{member['slug']}-{job['threat']['norm']}"
                    found[slug] = (cell, member, job["threat"]["norm"])
    return [
        pytest.param(*given, id=slug, marks=[pytest.mark.slow] if given[0].model.startswith("wrn") else [])
        for slug, given in found.items()
    ]


@pytest.mark.parametrize(("cell", "member", "norm"), own_attacks())
def test_the_attacks_meant_for_a_defense_run_on_the_models_beside_it(cell: Cell, member: dict, norm: str) -> None:
    job = PLAN.training(cell)
    model = make_model(job["model"], cell.dataset, 0)
    query = Query(model, own_loss=make_defense(job["defense"]).loss)
    x = torch.rand(1, *DATASETS[cell.dataset].shape, generator=torch.Generator().manual_seed(0))
    known = {**member["options"], "steps": 1}
    found = load(ATTACKS[member["fn"]].fn)(query, x, torch.zeros(1).long(), norm=norm, eps=0.1, rng=0, **known)
    assert found.shape == x.shape
    assert query.forwards.sum() > 0
