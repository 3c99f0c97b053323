"""Training: what it writes, where it starts, what a failure leaves, and that a kill changes no bit."""

import hashlib
import json
import logging
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from toy_jobs import flip, model_id, say, trained, training

from touchstone import paths
from touchstone.data.prepare import load as load_dataset
from touchstone.jobs.common import load_weights, make_model
from touchstone.models.whitening import Whiten
from touchstone.paths import Results
from touchstone.plan.jobs import Code, Net, Objective, TrainJob
from touchstone.plan.plan import Plan
from touchstone.recipe import OptimizerSettings, Phase
from touchstone.runs import read_run
from touchstone.training import fit_redrawn


def test_training_writes_weights_history_and_what_made_them(plan: Plan, results: Results) -> None:
    job = training(plan)
    run = trained(job, results)
    files = results.model(model_id())
    assert run["status"] == "ok"
    assert (run["epochs"], run["phases"][0]["lr"]) == (1, 0.001)
    assert run["cell"] == {
        **{"run": "tiny", "study": "minmax", "dataset": "mnist", "stand_in": "digits"},
        **{"model": "lenet", "defense": "std", "seed": 0},
    }
    history = pd.read_csv(files.history)
    assert list(history["epoch"]) == [1]
    assert {"loss", "ce", "penalty", "train_accuracy", "lr", "seconds"} <= set(history)
    assert hashlib.sha256(files.history.read_bytes()).hexdigest() == run["history_sha256"]
    model = make_model(job.net, "digits", seed=0)
    load_weights(model, read_run(files.run))


def test_a_net_of_the_users_own_may_share_weights(plan: Plan, results: Results) -> None:
    net = Net("toy_nets:tied", "none", {})
    run = trained(replace(training(plan), net=net), results)
    assert run["status"] == "ok"
    load_weights(make_model(net, "digits", seed=1), read_run(results.model(model_id()).run))


def test_whitening_is_fitted_on_the_rows_trained_on_and_saved_with_the_weights(plan: Plan, results: Results) -> None:
    job = training(plan)
    job = replace(
        job, net=replace(job.net, normalize="whitened"), phases=(replace(job.phases[0], validation_share=0.2),)
    )
    run = trained(job, results)
    assert run["status"] == "ok"
    model = make_model(job.net, "digits", seed=0)
    load_weights(model, read_run(results.model(model_id()).run))
    rows, _ = load_dataset(paths.prepared("digits")).held_out(0.2)
    expected = Whiten((1, 28, 28))
    expected.fit(rows.x)
    torch.testing.assert_close(model.normalize.matrix, expected.matrix, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.normalize.mean, expected.mean)
    # who starts from its weights has its whitening too
    start = replace(training(plan, seed=1), net=job.net, start=model_id(), phases=job.phases)
    again = trained(start, results)
    assert again["status"] == "ok"
    other = make_model(job.net, "digits", seed=0)
    load_weights(other, read_run(results.model(start.subject.model).run))
    assert torch.equal(other.normalize.matrix, model.normalize.matrix)


def test_training_twice_gives_the_same_bytes(plan: Plan, results: Results) -> None:
    assert trained(training(plan), results)["model_sha256"] == trained(training(plan), results)["model_sha256"]


@pytest.mark.parametrize(("mu", "flags"), [(1e-4, []), (1.0, ["unbounded"])])
def test_a_net_whose_weights_run_away_says_so(plan: Plan, results: Results, mu: float, flags: list[str]) -> None:
    """Equation 5 holds a weight up to lam / (2 mu), and pushes it outwards beyond."""
    objective = Objective("minmax", {"variant": "printed", "lam": 1e-3, "mu": mu})
    run = trained(replace(training(plan), objective=objective), results)
    assert run["status"] == "ok"
    assert [flag["flag"] for flag in run["flags"]] == flags


START = """
import json, sys
from touchstone.jobs.train import train
from touchstone.paths import Results
from touchstone.plan.jobs import TrainJob
train(TrainJob.from_params(json.loads(sys.argv[1])), Results.of("tiny"), every={"epochs": 1})
"""
CRITIC = Objective("critic", {"variant": "coded", "lam": 0.1, "attack_steps": 2, "hidden": 20})


def in_phases(job: TrainJob, *changes: dict[str, Any]) -> TrainJob:
    """Return a training in these phases, which otherwise are as its first one."""
    return replace(job, phases=tuple(replace(job.phases[0], **change) for change in changes))


def adversarial(plan: Plan) -> TrainJob:
    return in_phases(training(plan, "adv"), {"epochs": 5})


def with_two_optimisers(plan: Plan) -> TrainJob:
    return in_phases(
        replace(training(plan), objective=CRITIC), {"epochs": 5, "groups": {"critic": OptimizerSettings(lr=0.001)}}
    )


def in_its_second_phase(plan: Plan) -> TrainJob:
    second = {"epochs": 4, "init": "continue", "optimizer": "sgd", "lr": 0.01}
    return in_phases(training(plan), {"epochs": 1}, second)


def epochs_saved(checkpoint: Path) -> int:
    """Return how many epochs a checkpoint has behind it, 0 if there is none."""
    if not checkpoint.exists():
        return 0
    with safe_open(checkpoint, framework="pt") as file:
        return len(json.loads(file.metadata()["touchstone"])["facts"]["history"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [lambda plan: in_phases(training(plan), {"epochs": 5}), adversarial, with_two_optimisers, in_its_second_phase],
)
def test_a_training_that_is_killed_goes_on_and_ends_with_the_same_bits(
    plan: Plan, results: Results, caplog: pytest.LogCaptureFixture, make: Any
) -> None:
    job: TrainJob = make(plan)
    out = results.model(job.subject.model).weights.parent
    process = subprocess.Popen([sys.executable, "-c", START, json.dumps(job.to_params())])
    checkpoint = results.unfinished(job.subject.model)
    while epochs_saved(checkpoint) < 2:
        assert process.poll() is None, "the training was over before it was killed"
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == [checkpoint.name]
    # what is left of it belongs to other code, then to this
    kept = checkpoint.read_bytes()
    with caplog.at_level(logging.INFO):
        other = trained(replace(job, code=Code(job.code.targets, "0" * 16)), results)
        assert "it was made with other code" in caplog.text
        assert "going on" not in caplog.text
        checkpoint.write_bytes(kept)
        resumed = trained(job, results)
        assert "going on after epoch" in caplog.text
    assert resumed["model_sha256"] == other["model_sha256"]  # which was never interrupted
    assert resumed["epochs"] == 5
    assert {path.name for path in out.iterdir()} == {"model.safetensors", "history.csv", "run.json", checkpoint.name}


def test_a_compiled_net_has_kernels_for_one_batch_size_each(
    plan: Plan, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels for any size, which PyTorch makes when the smaller last batch comes, are not there after a resume.

    A small net with batch norm ended with other bits then; every other net that was tried did not.
    """
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda _, **options: asked.append(options))
    assert trained(replace(training(plan), compile=True), results)["compile"]
    assert asked == [{"dynamic": False}]


@pytest.mark.parametrize(("share", "keep"), [(0.0, "best_val"), (0.25, "best_val"), (0.25, "last")])
def test_the_rows_held_out_are_not_trained_on_and_may_choose_the_epoch(
    share: float, keep: str, plan: Plan, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def spy(*args: Any, **more: Any) -> Any:
        seen.append((args, more))
        return fit_redrawn(*args, **more)

    monkeypatch.setattr("touchstone.jobs.train.fit_redrawn", spy)
    run = trained(in_phases(training(plan), {"keep": keep, "epochs": 2, "validation_share": share}), results)
    ((_, _, x, y, _), more), data = seen[0], load_dataset(paths.prepared("digits"))
    held, total = more["validation"], len(data.train.x)
    if share:
        assert len(held.x) == round(share * total)
        parts = held.y.bincount() / data.train.y.bincount()
        assert parts.sub(share).abs().max() < 0.02  # the classes in proportion
    else:
        assert torch.equal(held.x, data.train.x[data.validation])
        assert torch.equal(held.y, data.train.y[data.validation])
    assert len(x) == len(y) == total - len(held.x)
    both = torch.cat([x, held.x]).flatten(1), data.train.x.flatten(1)
    assert torch.equal(*(rows.float().sum(dim=1).sort().values for rows in both))  # no row twice, none lost
    history = pd.read_csv(results.model(model_id()).history)["validation_accuracy"]
    assert len(history) == 2
    assert run["epochs_kept"] == [2 if keep == "last" else int(history.idxmax()) + 1]


def from_std(plan: Plan, *phases: Phase) -> TrainJob:
    """A training of another model that starts from the standard one."""
    return replace(training(plan, seed=1), start=model_id(), phases=phases)


def test_training_from_a_trained_start(plan: Plan, results: Results) -> None:
    first = trained(training(plan), results)
    assert trained(from_std(plan), results)["model_sha256"] == first["model_sha256"]


def test_training_from_a_failed_start_fails_with_its_reason(plan: Plan, results: Results) -> None:
    trained(training(plan), results)
    say(results.model(model_id()).run, status="failed", reason="loss not finite")
    run = trained(from_std(plan, *training(plan).phases), results)
    assert run["status"] == "failed"
    assert "the model it starts from failed: loss not finite" in run["reason"]
    assert results.model(model_id(seed=1)).weights.is_file()


def test_a_start_with_a_flipped_bit_is_not_used(plan: Plan, results: Results) -> None:
    trained(training(plan), results)
    flip(results.model(model_id()).weights)
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be used: expected sha256 .*rule train"):
        trained(from_std(plan), results)


def test_divergence_is_a_result(plan: Plan, results: Results) -> None:
    run = trained(in_phases(training(plan), {"optimizer": "sgd", "lr": 1e20}), results)
    assert (run["status"], run["epoch_failed"]) == ("failed", 1)
    assert "not finite in epoch 1" in run["reason"]
