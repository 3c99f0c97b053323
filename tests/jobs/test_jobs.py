"""The jobs of the workflow, on embedded digits, without Snakemake: what they write, and what a failure leaves."""

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from touchstone import records
from touchstone.attacks.pgd import bim
from touchstone.data.prepare import load as load_dataset
from touchstone.data.prepare import prepare, spread, to_float
from touchstone.defenses.minmax import MinMax
from touchstone.jobs.attack import attack
from touchstone.jobs.common import load_weights, make_model, set_up, threat_of
from touchstone.jobs.select import select
from touchstone.jobs.tables import flags, selection, tables
from touchstone.jobs.train import train
from touchstone.losses import margin
from touchstone.plan.plan import Cell, Plan, make_plan
from touchstone.query import Query
from touchstone.threat import in_space
from touchstone.training import fit_redrawn


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "digits.safetensors"
    prepare("digits", out.parent, out)
    return out


@pytest.fixture(scope="module")
def plan(root: Path) -> Plan:
    return make_plan(root, root / "tests" / "config.yaml")


def cell(plan: Plan, defense: str) -> Cell:
    return next(c for c in plan.cells if c.defense == defense)


def identity(one: Cell) -> dict[str, Any]:
    keys = ("study", "original", "dataset", "model", "defense", "seed")
    return {"run": "tiny", **{k: getattr(one, k) for k in keys}}


Train = Callable[..., dict[str, Any]]


@pytest.fixture
def run_train(plan: Plan, prepared: Path) -> Train:
    def run(out: Path, slug: str = "std", init: Path | None = None, chosen: Path | None = None, **more: Any) -> dict:
        one = cell(plan, slug)
        params = plan.training(one) | {"code": "0"} | more
        train(params, identity(one), prepared, selection=chosen, init=init, out=out)
        return json.loads((out / "run.json").read_text())

    return run


def attack_params(plan: Plan, defense: str, name: str) -> dict[str, Any]:
    one = cell(plan, defense)
    job = plan.attack(one, name)
    return job | {"model": plan.training(one)["model"], "dataset": one.dataset, "code": "0"}


def test_training_writes_weights_history_and_what_made_them(tmp_path: Path, run_train: Train) -> None:
    run = run_train(tmp_path)
    assert run["status"] == "ok"
    assert (run["epochs"], run["cell"]["defense"], run["phases"][0]["lr"]) == (1, "std", 0.001)
    assert run["caps"] == ["std: epochs 1 of 10"]
    history = pd.read_csv(tmp_path / "history.csv")
    assert list(history["epoch"]) == [1]
    assert {"loss", "ce", "penalty", "train_accuracy", "lr", "seconds"} <= set(history)
    model = make_model({"fn": "lenet", "normalize": "dataset", "options": {}}, "digits", seed=0)
    assert load_weights(model, tmp_path / "model.safetensors") == run["model_sha256"]


def test_a_net_of_the_users_own_may_share_weights(tmp_path: Path, run_train: Train) -> None:
    definition = {"fn": "toy_nets:tied", "normalize": "none", "options": {}}
    run = run_train(tmp_path, model=definition)
    assert run["status"] == "ok"
    model = make_model(definition, "digits", seed=1)
    assert load_weights(model, tmp_path / "model.safetensors") == run["model_sha256"]


def test_training_twice_gives_the_same_bytes(tmp_path: Path, run_train: Train) -> None:
    a, b = run_train(tmp_path / "a"), run_train(tmp_path / "b")
    assert a["model_sha256"] == b["model_sha256"]


START = """
import json, sys
from pathlib import Path
from touchstone.jobs.train import train
params, cell, prepared, out = json.loads(sys.argv[1])
train(params, cell, Path(prepared), selection=None, init=None, out=Path(out), every={"epochs": 1})
"""


def longer(params: dict[str, Any], *phases: dict[str, Any]) -> dict[str, Any]:
    """Return params of a training in these phases, which otherwise are as their first one was."""
    return {"phases": [params["phases"][0] | phase for phase in phases], "code": "0"}


CRITIC = {"variant": "coded", "lam": 0.1, "attack_steps": 2, "hidden": 20}
KILLED: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any]]] = {  # defense, phases, what else is different
    "plain": ("std", [{"epochs": 5}], {}),
    "adversarial": ("adv", [{"epochs": 5}], {}),
    "two-optimisers": (
        "std",
        [{"epochs": 5, "groups": {"critic": {"optimizer": "adam", "lr": 0.001}}}],
        {"defense": {"fn": "critic", "options": CRITIC}},
    ),
    "second-phase": ("std", [{"epochs": 1}, {"epochs": 4, "init": "continue", "optimizer": "sgd", "lr": 0.01}], {}),
}


def epochs_saved(checkpoint: Path) -> int:
    """Return how many epochs a checkpoint has behind it, 0 if there is none."""
    if not checkpoint.exists():
        return 0
    with safe_open(checkpoint, framework="pt") as file:
        return len(json.loads(file.metadata()["touchstone"])["facts"]["history"])


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] if case != "plain" else []) for case in KILLED]
)
def test_a_training_that_is_killed_goes_on_and_ends_with_the_same_bits(
    tmp_path: Path, plan: Plan, prepared: Path, run_train: Train, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    defense, phases, more = KILLED[case]
    params, out = plan.training(cell(plan, defense)), tmp_path / "killed"
    changes = longer(params, *phases) | more
    given = json.dumps([params | changes, identity(cell(plan, defense)), str(prepared), str(out)])
    job = subprocess.Popen([sys.executable, "-c", START, given])
    checkpoint = out / "unfinished.safetensors"
    while epochs_saved(checkpoint) < 2:
        assert job.poll() is None, "the training was over before it was killed"
        time.sleep(0.01)
    job.kill()
    assert job.wait() == -signal.SIGKILL
    assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == [checkpoint.name]
    # what is left of it belongs to other code, then to this
    kept = checkpoint.read_bytes()
    with caplog.at_level(logging.INFO):
        other = run_train(out, defense, **changes | {"code": "1"})
        assert "it was made with other code" in caplog.text
        assert "going on" not in caplog.text
        checkpoint.write_bytes(kept)
        resumed = run_train(out, defense, **changes)
        assert "going on after epoch" in caplog.text
    assert resumed["model_sha256"] == other["model_sha256"]  # which was never interrupted
    assert resumed["epochs"] == 5
    assert {path.name for path in out.iterdir()} == {"model.safetensors", "history.csv", "run.json"}


def test_a_compiled_net_has_kernels_for_one_batch_size_each(
    tmp_path: Path, run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels for any size, which PyTorch makes when the smaller last batch comes, are not there after a resume.

    A small net with batch norm ended with other bits then; every other net that was tried did not.
    """
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda _, **options: asked.append(options))
    assert run_train(tmp_path, compile=True)["compile"]
    assert asked == [{"dynamic": False}]


@pytest.mark.parametrize(("share", "keep"), [(0.0, "best_val"), (0.25, "best_val"), (0.25, "last")])
def test_the_rows_held_out_are_not_trained_on_and_may_choose_the_epoch(
    share: float,
    keep: str,
    tmp_path: Path,
    plan: Plan,
    prepared: Path,
    run_train: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def spy(*args: Any, **more: Any) -> Any:
        seen.append((args, more))
        return fit_redrawn(*args, **more)

    monkeypatch.setattr("touchstone.jobs.train.fit_redrawn", spy)
    changed = {"keep": keep, "epochs": 2, "validation_share": share}
    run = run_train(tmp_path, phases=[plan.training(cell(plan, "std"))["phases"][0] | changed])
    ((_, _, x, y, _), more), data = seen[0], load_dataset(prepared)
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
    history = pd.read_csv(tmp_path / "history.csv")["validation_accuracy"]
    assert len(history) == 2
    assert run["epochs_kept"] == [2 if keep == "last" else int(history.idxmax()) + 1]


def test_training_from_a_trained_start(tmp_path: Path, run_train: Train) -> None:
    run_train(tmp_path / "a")
    same = run_train(tmp_path / "b", init=tmp_path / "a" / "model.safetensors", phases=[])
    assert same["model_sha256"] == json.loads((tmp_path / "a" / "run.json").read_text())["model_sha256"]


def test_training_from_a_failed_start_fails_with_its_reason(tmp_path: Path, run_train: Train) -> None:
    run_train(tmp_path / "a")
    file = tmp_path / "a" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "failed", "reason": "loss not finite"}))
    run = run_train(tmp_path / "b", init=tmp_path / "a" / "model.safetensors")
    assert run["status"] == "failed"
    assert "the model it starts from failed: loss not finite" in run["reason"]
    assert (tmp_path / "b" / "model.safetensors").is_file()


def test_divergence_is_a_result(tmp_path: Path, run_train: Train, plan: Plan) -> None:
    phase = plan.training(cell(plan, "std"))["phases"][0] | {"optimizer": "sgd", "lr": 1e20}
    run = run_train(tmp_path, phases=[phase])
    assert (run["status"], run["epoch_failed"]) == ("failed", 1)
    assert "not finite in epoch 1" in run["reason"]


def test_selection_and_the_training_that_uses_it(tmp_path: Path, plan: Plan, prepared: Path, run_train: Train) -> None:
    params = plan.selection(cell(plan, "minmax-printed"))
    params["candidates"] = [{"lam": 1e-4, "mu": 1e-4}, {"lam": 1e3, "mu": 0.0}]
    params["tolerance"] = 0.05
    out = tmp_path / "digits" / "lenet" / "minmax-printed" / "selection.json"
    select(params, prepared, out)
    found = json.loads(out.read_text())
    assert found["selected"] == 0
    assert found["selected_options"] == {"lam": 1e-4, "mu": 1e-4}
    assert found["candidates"][1]["validation_accuracy"] < found["reference_accuracy"] - 0.05
    run = run_train(tmp_path / "model", "minmax-printed", chosen=out)
    assert run["selected_options"] == {"lam": 1e-4, "mu": 1e-4}
    table = selection([out])
    assert list(table["candidate"]) == ["reference", "lam = 0.0001, mu = 0.0001", "lam = 1000, mu = 0"]
    assert list(table["selected"]) == [False, True, False]
    assert set(table["dataset"]) == {"digits"}


def test_no_usable_candidate_is_a_failed_training(tmp_path: Path, run_train: Train) -> None:
    chosen = tmp_path / "selection.json"
    chosen.write_text(json.dumps({"selected_options": None}))
    run = run_train(tmp_path / "model", "minmax-printed", chosen=chosen)
    assert run["status"] == "failed"
    assert "no candidate met the selection criterion" in run["reason"]


@pytest.mark.parametrize("name", ["clean", "pgd40-linf", "cw-l2", "worst-linf"])
def test_attack_writes_records_and_examples(
    tmp_path: Path, plan: Plan, prepared: Path, run_train: Train, name: str
) -> None:
    run = run_train(tmp_path)
    params = attack_params(plan, "std", name)
    one = identity(cell(plan, "std")) | {"attack": name}
    out = tmp_path / name
    attack(params, one, prepared, tmp_path / "model.safetensors", out)
    frame, metadata = records.read(out / "records.parquet")
    assert frame["sample"].nunique() == 30
    assert metadata["model_sha256"] == run["model_sha256"]
    assert metadata["cell"] == one
    first = (out / "records.parquet").read_bytes()
    attack(params, one, prepared, tmp_path / "model.safetensors", out)
    assert (out / "records.parquet").read_bytes() == first


def test_attack_on_a_failed_model_leaves_empty_records_with_the_reason(
    tmp_path: Path, plan: Plan, prepared: Path, run_train: Train
) -> None:
    run_train(tmp_path)
    file = tmp_path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "failed", "reason": "loss not finite"}))
    one = identity(cell(plan, "std")) | {"attack": "clean"}
    attack(attack_params(plan, "std", "clean"), one, prepared, tmp_path / "model.safetensors", tmp_path / "clean")
    frame, metadata = records.read(tmp_path / "clean" / "records.parquet")
    assert frame.empty
    assert (metadata["status"], metadata["reason"]) == ("failed", "loss not finite")


def transfer_params(plan: Plan) -> dict[str, Any]:
    """A transfer from the std model of seed 1, in the normalised space of the study's threat."""
    definition = {
        "path": "digits/lenet/std/1",
        "model": {"fn": "lenet", "normalize": "dataset", "options": {}},
        "defense": "std",
        "seed": 1,
    }
    options = {"attack": "bim", "options": {"steps": 3, "step_size": 0.1}}
    return attack_params(plan, "std", "pgd40-linf") | {"fn": "transfer", "options": options, "substitute": definition}


def test_a_transfer_starts_from_the_substitute_in_the_space_of_the_threat(
    tmp_path: Path, plan: Plan, prepared: Path, run_train: Train
) -> None:
    models = tmp_path / "models"
    folders = [models / "digits/lenet/std" / str(seed) for seed in (0, 1)]
    runs = [run_train(folder, seed=seed) for seed, folder in enumerate(folders)]
    params, one = transfer_params(plan), identity(cell(plan, "std")) | {"attack": "transfer"}
    attack(params, one, prepared, folders[0] / "model.safetensors", tmp_path / "out", models)
    frame, metadata = records.read(tmp_path / "out/records.parquet")
    assert metadata["substitute"] == params["substitute"]
    assert metadata["substitute_sha256"] == {"digits/lenet/std/1": runs[1]["model_sha256"]}
    assert metadata["model_sha256"] == runs[0]["model_sha256"] != runs[1]["model_sha256"]
    assert frame[["forwards", "backwards"]].to_numpy().sum() == 0  # the target was never asked
    # the same points by hand: normalised twice, or not at all, they would be others
    substitute = make_model({"fn": "lenet", "normalize": "dataset", "options": {}}, "digits", seed=1).eval()
    load_weights(substitute, folders[1] / "model.safetensors")
    threat, data = threat_of(params["threat"]), load_dataset(prepared)
    index = spread(data.test.y)[:16]
    view = in_space(substitute, threat)
    x, query = view.from_pixels(to_float(data.test.x[index])), Query(view.model, bounds=view.bounds)
    points = bim(query, x, data.test.y[index], norm="linf", eps=0.3, rng=0, steps=3, step_size=0.1)
    (examples,) = load_file(tmp_path / "out/examples.safetensors").values()
    torch.testing.assert_close(examples, view.to_pixels(points), rtol=0, atol=1e-5)


def test_a_member_may_start_from_a_substitute(tmp_path: Path, plan: Plan, prepared: Path, run_train: Train) -> None:
    for seed in (0, 1):
        run_train(tmp_path / "digits/lenet/std" / str(seed), seed=seed)
    part = transfer_params(plan)
    member = {"slug": "blind", **{key: part[key] for key in ("fn", "options", "substitute")}}
    params = attack_params(plan, "std", "worst-linf") | {"options": {"members": [member]}}
    one = identity(cell(plan, "std")) | {"attack": "worst-linf"}
    attack(params, one, prepared, tmp_path / "digits/lenet/std/0/model.safetensors", tmp_path / "out", tmp_path)
    frame, metadata = records.read(tmp_path / "out/records.parquet")
    assert "blind" in set(frame["member"])
    assert metadata["options"]["members"] == [member]
    assert list(metadata["substitute_sha256"]) == ["digits/lenet/std/1"]


def test_a_failed_substitute_leaves_empty_records_with_the_reason(
    tmp_path: Path, plan: Plan, prepared: Path, run_train: Train
) -> None:
    for seed in (0, 1):
        run_train(tmp_path / "digits/lenet/std" / str(seed), seed=seed)
    file = tmp_path / "digits/lenet/std/1/run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "failed", "reason": "loss not finite"}))
    one, target = identity(cell(plan, "std")) | {"attack": "transfer"}, tmp_path / "digits/lenet/std/0"
    attack(transfer_params(plan), one, prepared, target / "model.safetensors", tmp_path / "out", tmp_path)
    frame, metadata = records.read(tmp_path / "out/records.parquet")
    assert frame.empty
    assert metadata["reason"] == "the substitute digits/lenet/std/1 failed: loss not finite"


def test_own_is_the_loss_of_the_defense_with_the_options_it_was_trained_with(
    tmp_path: Path, plan: Plan, prepared: Path, run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = tmp_path / "selection.json"
    chosen.write_text(json.dumps({"selected_options": {"lam": 0.5, "mu": 0.25}}))
    run_train(tmp_path, "minmax-printed", chosen=chosen)
    seen = []

    def loss(self: MinMax, logits: Tensor, y: Tensor) -> Tensor:
        seen.append((self.lam, self.mu))
        return margin(logits, y)

    monkeypatch.setattr(MinMax, "loss", loss)
    definition = plan.training(cell(plan, "minmax-printed"))["defense"]
    params = attack_params(plan, "minmax-printed", "pgd40-linf") | {"defense": definition}
    one = identity(cell(plan, "minmax-printed")) | {"attack": "pgd40-linf"}
    frames = {}
    for name in ("own", "margin", "ce"):
        given = params | {"options": params["options"] | {"loss": name}}
        attack(given, one, prepared, tmp_path / "model.safetensors", tmp_path / name)
        frames[name], metadata = records.read(tmp_path / name / "records.parquet")
        assert metadata["defense"] == definition
    assert set(seen) == {(0.5, 0.25)}
    pd.testing.assert_frame_equal(frames["own"], frames["margin"])
    assert not np.array_equal(frames["own"]["adv_margin"], frames["ce"]["adv_margin"])


def test_records_say_what_a_grid_chose(tmp_path: Path, plan: Plan, prepared: Path, run_train: Train) -> None:
    run_train(tmp_path)
    params = attack_params(plan, "std", "pgd40-linf") | {"grid": {"step_size": [0.001, 0.1]}}
    one = identity(cell(plan, "std")) | {"attack": "pgd40-linf"}
    attack(params, one, prepared, tmp_path / "model.safetensors", tmp_path / "out")
    frame, metadata = records.read(tmp_path / "out/records.parquet")
    assert [(row["epsilon"], row["options"]) for row in metadata["grid"]] == [
        (0.3, {"step_size": 0.001}),
        (0.3, {"step_size": 0.1}),
    ]
    (winner,) = [row for row in metadata["grid"] if row["chosen"]]
    assert winner["accuracy"] == pytest.approx(1 - frame["success"].mean())


def test_flags_of_trainings_reach_the_table(tmp_path: Path, run_train: Train) -> None:
    run_train(tmp_path)
    file = tmp_path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"flags": ["redrawn: twice"]}))
    table = flags([], [file])
    assert table[["attack", "flag", "detail"]].to_numpy().tolist() == [["training", "redrawn", "redrawn: twice"]]


def test_tables_of_a_study_with_cells_alone(tmp_path: Path, project: Path, prepared: Path) -> None:
    """No claims, no statements, no reference defense, and a net without a convolution to measure."""
    config = project / "config.yaml"
    text = config.read_text().replace("studies: [minmax]", "studies: [margin]")
    text = text.replace("where: {defense: adv}", "where: {dataset: mnist}").replace("cw-l2", "fgsm-linf")
    config.write_text(text + "\nonly: {datasets: [mnist], models: [mlp-1000], defenses: [std], attacks: [clean]}\n")
    folder = project / "studies" / "margin"
    (folder / "claims.csv").unlink()
    plan = make_plan(project, config)
    (one,) = plan.cells
    model, job = tmp_path / "model", plan.attack(one, "clean")
    training = plan.training(one) | {"code": "0"}
    train(training, identity(one), prepared, selection=None, init=None, out=model)
    params = job | {"model": training["model"], "dataset": one.dataset, "code": "0"}
    attack(params, identity(one) | {"attack": "clean"}, prepared, model / "model.safetensors", tmp_path / "clean")
    tables(
        plan.evaluation("margin"),
        folder / "study.yaml",
        [tmp_path / "clean" / "records.parquet"],
        runs=[model / "run.json"],
        selections=[],
        prepared=[prepared.with_suffix(".json")],
        out=tmp_path / "tables",
    )
    cells = pd.read_csv(tmp_path / "tables" / "cells.csv")
    assert cells[["model", "attack", "metric"]].to_numpy().tolist() == [["mlp-1000", "clean", "accuracy"]]
    for name in ("claims", "qualitative", "paper/table3-1a"):
        assert pd.read_csv(tmp_path / "tables" / f"{name}.csv").empty


@pytest.mark.parametrize("content", [None, b"", b"half a checkpoint"])
def test_a_broken_checkpoint_is_named_with_its_rule(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    model = make_model({"fn": "lenet", "normalize": "dataset", "options": {}}, "digits", seed=0)
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be used .*rule train"):
        load_weights(model, path)


def test_cuda_without_a_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="set `device: cpu`"):
        set_up("cuda", 1)
