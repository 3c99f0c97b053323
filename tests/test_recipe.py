"""Recipes as values: merging, what is read, shortening; and without torch or pydantic."""

import json
import subprocess
import sys
from dataclasses import asdict, fields

import pytest
from pydantic import TypeAdapter

from touchstone.recipe import OPTIMIZERS, SCHEDULES, OptimizerSettings, Phase, merge
from touchstone.training import optimizers

RECIPE = {"optimizer": "adam", "lr": 0.01, "batch_size": 64, "epochs": 90, "weight_decay": 1e-4}


def test_a_phase_comes_before_its_recipe_and_a_group_before_both() -> None:
    recipe = RECIPE | {"groups": {"critic": {"betas": [0.5, 0.999], "lr": 0.2}}}
    made = merge(recipe, {"lr": 0.1, "epochs": 5, "groups": {"critic": {"schedule": "linear"}}})
    assert (made.lr, made.epochs, made.betas, made.schedule) == (0.1, 5, (0.9, 0.999), "constant")
    assert made.groups == {
        "critic": OptimizerSettings(lr=0.2, betas=(0.5, 0.999), schedule="linear", weight_decay=1e-4)
    }


def test_what_an_optimiser_or_a_schedule_does_not_read_stays_as_it_is() -> None:
    recipe = RECIPE | {"schedule": "multistep", "milestones": [30], "gamma": 0.1, "betas": [0.5, 0.9]}
    assert merge(recipe).milestones == (30,)
    made = merge(recipe, {"optimizer": "sgd", "momentum": 0.9, "schedule": "constant"})
    usual = Phase(1, 1, lr=1.0)
    assert made.momentum == 0.9
    assert (made.betas, made.milestones, made.gamma) == (usual.betas, usual.milestones, usual.gamma)


def test_schedules_shrink_with_the_epochs() -> None:
    group = {"schedule": "multistep", "milestones": [30, 60], "gamma": 0.5}
    full = merge(RECIPE, {"schedule": "exponential", "gamma": 0.99, "groups": {"critic": group}})
    short = full.shrunk(9)
    assert short.epochs == 9
    assert short.gamma**9 == pytest.approx(0.99**90)
    assert (short.groups["critic"].milestones, short.groups["critic"].gamma) == ((3, 6), 0.5)
    assert (full.epochs, full.gamma, full.groups["critic"].milestones) == (90, 0.99, (30, 60))
    plain = merge(RECIPE)
    assert plain.shrunk(9) == Phase(**{**asdict(plain), "epochs": 9})


def test_every_rate_keeps_its_share_of_the_epochs() -> None:
    full = Phase(90, 64, lr=1.0, schedule="multistep", milestones=(30, 60), gamma=0.1)
    short = full.shrunk(9)
    assert [short.rate(done, 9) for done in range(9)] == [full.rate(10 * done, 90) for done in range(9)]


def test_a_phase_is_plain_data_and_comes_back() -> None:
    phase = merge(RECIPE, {"augment": {"crop": 4}, "groups": {"critic": {"lr": 0.2}}, "init": "std"})
    kind = TypeAdapter(Phase)
    plain = kind.dump_python(phase, mode="json")
    assert plain == json.loads(json.dumps(plain))
    assert kind.validate_python(plain) == phase


def test_tables_name_the_same_things() -> None:
    assert OPTIMIZERS.keys() == optimizers.OPTIMIZERS.keys()
    known = {f.name for f in fields(OptimizerSettings)}
    assert {name for reads in OPTIMIZERS.values() for name in reads} <= known
    assert {name for schedule in SCHEDULES.values() for name in schedule.reads} <= known


def test_nothing_but_the_standard_library_is_needed() -> None:
    code = "import sys, touchstone.recipe; sys.exit(bool({'torch', 'pydantic', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
