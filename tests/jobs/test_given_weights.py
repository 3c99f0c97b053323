"""Weights that a study gives: in place of a training, or as what one begins with."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from small_study import NEEDED
from toy_jobs import trained

from touchstone import records
from touchstone.cell import ModelId
from touchstone.files import sum_of_file
from touchstone.jobs import attack
from touchstone.jobs.common import load_weights, make_model
from touchstone.models.given import WeightsError
from touchstone.paths import Results
from touchstone.plan import build
from touchstone.plan.plan import Plan, make_plan
from touchstone.runs import read_run
from touchstone.study.config import ConfigError

GIVEN = ModelId("small", "mnist", "net", "theirs", 0)
CONFIG = {
    **{"run": "tiny", "studies": ["small"], "device": "cpu", "threads": 1, "jobs": "per_model", "batch_size": 64},
    **{"data": {"digits": {"source": "embedded"}}, "stand_in": {"mnist": "digits"}, "caps": [{"samples": 20}]},
}


@pytest.fixture
def planned(project: Path) -> Callable[..., Plan]:
    """A plan of a study whose net has `count` files of weights, with changes to the study."""

    def make(count: int = 1, **changes: Any) -> Plan:
        folder = project / "studies" / "small"
        folder.mkdir(exist_ok=True)
        entry = {"dataset": "mnist", "model": "net", "defense": "theirs", "files": []}
        for seed in range(count):
            torch.manual_seed(seed)
            net = make_model(build.Net("toy_nets:foreign", "none", {}), "digits", seed).net
            state = {"first.weight": net.body.first.weight, "first.bias": net.body.first.bias}
            state |= {"last.weight": net.fc1.weight, "last.bias": net.fc1.bias}
            torch.save({"state_dict": {f"module.{k}": v.detach() for k, v in state.items()}}, folder / f"{seed}.pt")
            total = hashlib.sha256((folder / f"{seed}.pt").read_bytes()).hexdigest()
            entry["files"].append({"file": f"{seed}.pt", "sha256": total})
        cells = [{"datasets": ["mnist"], "models": ["net"], "defenses": ["theirs"], "attacks": ["pgd2"]}]
        study = NEEDED | {"models": {"net": {"fn": "toy_nets:foreign", "normalize": "none"}}, "cells": cells}
        study |= {"defenses": {"theirs": {"fn": "ce"}}, "weights": [entry] if count else []} | changes
        (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
        (project / "config.yaml").write_text(yaml.safe_dump(CONFIG))
        return make_plan(project, project / "config.yaml")

    return make


def file_of(plan: Plan, model: ModelId) -> Path:
    found = plan.weights_files(model)[0]
    assert found is not None
    return found


def test_given_weights_stand_in_place_of_a_training(planned: Callable[..., Plan], results: Results) -> None:
    plan = planned(2, seeds=5)
    assert plan.models == [GIVEN, GIVEN._replace(seed=1)]  # as many as there are files
    job = build.train_job(plan, GIVEN)
    assert job.phases == ()
    run = trained(job, results, given_file=file_of(plan, GIVEN))
    assert (run["status"], run["epochs"], run["flags"][0]["flag"]) == ("ok", 0, "given_weights")
    assert run["weights"] == {"file": "0.pt", "sha256": job.weights.sha256, "form": "torch", "key": ""}
    assert pd.read_csv(results.model(GIVEN).history).empty
    model = make_model(job.net, "digits", seed=7)
    load_weights(model, read_run(results.model(GIVEN).run))
    wanted = torch.load(file_of(plan, GIVEN), weights_only=True)["state_dict"]
    assert torch.equal(model.net.body.first.weight, wanted["module.first.weight"])
    attack.run(build.batch_job(plan, GIVEN, "all"), results)
    attacked = records.read(results.attack(GIVEN, "all").records).attacks
    assert [(one.header.attack, one.header.status) for one in attacked] == [("clean", "ok"), ("pgd2", "ok")]


def test_the_statistics_of_a_batch_norm_are_those_of_the_file(
    planned: Callable[..., Plan], project: Path, results: Results
) -> None:
    """A training with steps of no length would move them, and so measure another net."""
    net = make_model(build.Net("mlp-1000-bn", "dataset", {}), "digits", seed=0).net
    means = [value.fill_(0.3) for name, value in net.named_buffers() if name.endswith("running_mean")]
    assert means
    file = project / "studies" / "small" / "bn.safetensors"
    file.parent.mkdir()
    save_file(net.state_dict(), file)
    given = [ENTRY | {"files": [{"file": file.name, "sha256": sum_of_file(file)}]}]
    plan = planned(models={"net": {"fn": "mlp-1000-bn"}}, weights=given)
    trained(build.train_job(plan, GIVEN), results, given_file=file)
    attack.run(build.batch_job(plan, GIVEN, "all"), results)
    kept = load_file(results.model(GIVEN).weights)
    for name, value in net.state_dict().items():
        assert torch.equal(kept[f"net.{name}"], value), name


def test_a_training_begins_with_given_weights(planned: Callable[..., Plan], results: Results) -> None:
    plan = planned(seeds=2, defenses={"theirs": {"fn": "ce", "phases": [{"init": "weights"}]}})
    assert len(plan.models) == 2
    one, other = (build.train_job(plan, GIVEN._replace(seed=seed)) for seed in range(2))
    assert one.weights == other.weights
    assert len(one.phases) == 1
    run = trained(one, results, given_file=file_of(plan, GIVEN))
    assert (run["epochs"], run["flags"]) == (1, [])
    model = make_model(one.net, "digits", seed=0)
    load_weights(model, read_run(results.model(GIVEN).run))
    theirs = torch.load(file_of(plan, GIVEN), weights_only=True)["state_dict"]["module.first.weight"]
    ours = make_model(one.net, "digits", seed=0).net.body.first.weight
    moved = (model.net.body.first.weight - theirs).abs().max()
    assert 0 < moved < 0.5 * (model.net.body.first.weight - ours).abs().max() or torch.equal(theirs, ours)


def test_their_sum_is_held_to_and_decides_the_job(planned: Callable[..., Plan], results: Results) -> None:
    plan = planned()
    job, file = build.train_job(plan, GIVEN), file_of(plan, GIVEN)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"0\.pt \(\d+ bytes\): expected sha256"):
        trained(job, results, given_file=file)
    assert not results.model(GIVEN).weights.exists()
    params = job.to_params()
    assert params["weights"]["sha256"] == job.weights.sha256
    assert str(file) not in str(params)  # where it lies decides nothing
    with pytest.raises(ConfigError, match=r"files\.0\.sha256: .*0\.pt is not the file that .*: expected sha256"):
        make_plan(plan.root, plan.root / "config.yaml")  # or results of the file before it would stand unquestioned


ENTRY = {"dataset": "mnist", "model": "net", "defense": "theirs"}
FILE = {"file": "0.pt", "sha256": "0" * 64}
BEGINS = {"theirs": {"fn": "ce", "phases": [{"init": "weights"}]}}
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("absent", {"weights": [ENTRY | {"files": [FILE | {"file": "x.pt"}]}]}, r"weights\.0\.files\.0\.file: there is no"),
    ("sum", {"weights": [ENTRY | {"files": [FILE | {"sha256": "0"}]}]}, r"weights\.0\.files\.0\.sha256: "),
    ("defense", {"weights": [ENTRY | {"defense": "their", "files": [FILE]}]}, "did you mean 'theirs'"),
    ("twice", {"weights": [ENTRY | {"files": [FILE]}] * 2}, r"weights\.1: mnist/net/theirs stands above already"),
    ("none", {"weights": [], "defenses": BEGINS}, r"phases\.0\.init: `weights` of the study has no file for 'theirs'"),
    ("several", {"weights": [ENTRY | {"files": [FILE] * 2}], "defenses": BEGINS}, "begins every seed with one file"),
    ("reserved", {"defenses": {"theirs": {"fn": "ce"}, "weights": {"fn": "ce"}}}, "'weights' is reserved"),
]


@pytest.mark.parametrize(("changes", "said"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_is_wrong_with_them_is_said_before_a_job(
    planned: Callable[..., Plan], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        planned(**changes)


def test_a_substitute_is_one_of_the_given(planned: Callable[..., Plan]) -> None:
    transfer = {"fn": "transfer", "threat": "linf", "substitute": "net/theirs"}
    attacks = NEEDED["attacks"] | {"transfer": transfer}
    cells = [{"datasets": ["mnist"], "models": ["net"], "defenses": ["theirs"], "attacks": ["transfer"]}]
    for count in (1, 2):
        plan = planned(count, attacks=attacks, cells=cells)
        assert plan.trained == plan.models
