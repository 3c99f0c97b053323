"""Features of clean images and of what an attack made of them, on a net trained here."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from toy_jobs import model_id, say, trained, training

from touchstone import paths, records
from touchstone.data.prepare import load as load_dataset
from touchstone.data.prepare import to_float
from touchstone.files import read_sealed
from touchstone.findings import clusters
from touchstone.jobs import attack
from touchstone.jobs.common import load_weights, make_model
from touchstone.jobs.features import features
from touchstone.paths import Results
from touchstone.plan import build
from touchstone.plan.jobs import BatchJob, FeaturesJob
from touchstone.plan.plan import Plan
from touchstone.runs import read_run

NET = model_id().label


def of(plan: Plan, name: str, samples: int = 20) -> BatchJob:
    one = replace(build.attack_job(plan, model_id(), name), samples=samples, examples=samples)
    return replace(build.batch_job(plan, model_id(), "all"), attacks=(one,), preflights=())


def run(results: Results, *nets: BatchJob) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    job = FeaturesJob(code=nets[0].code, run="tiny", study="minmax", figure="figure9", nets=nets)
    features(job, results)
    files = results.features("minmax", "figure9")
    return load_file(files.points), read_sealed(files.measured, "features")["nets"]


@pytest.fixture
def std(plan: Plan, results: Results) -> None:
    trained(training(plan), results)


@pytest.mark.usefixtures("std")
def test_points_that_the_attack_breaks_lie_beside_the_clean_ones(plan: Plan, results: Results) -> None:
    batch = of(plan, "pgd40-linf")
    tensors, nets = run(results, batch)
    kept = {name.removeprefix(f"{NET}/"): values for name, values in tensors.items()}
    assert set(kept) == {"features", "label", "sample", "adversarial", "plane"}
    attack.run(replace(batch, batch="all"), results)
    ((_, frame),) = records.read(results.attack(model_id(), "all").records).attacks
    broken = frame[frame["success"] & (frame["clean_pred"] == frame["label"])]
    assert 0 < len(broken) < 20
    assert kept["sample"].tolist() == [*frame["sample"], *broken["sample"]]
    assert kept["label"].tolist() == [*frame["label"], *broken["label"]]
    assert kept["adversarial"].tolist() == [False] * 20 + [True] * len(broken)
    model = make_model(batch.net, "digits", seed=0).eval()
    load_weights(model, read_run(results.model(model_id()).run))
    x = to_float(load_dataset(paths.prepared("digits")).test.x[kept["sample"][:20]])
    with torch.no_grad():
        torch.testing.assert_close(kept["features"][:20], model.features(x))
        prediction = model.classifier(kept["features"][20:]).argmax(1)
    assert prediction.tolist() == broken["adv_pred"].tolist()
    assert kept["plane"].shape == (20 + len(broken), 2)
    assert (nets[NET]["clean"], nets[NET]["adversarial"]) == (20, len(broken))
    assert set(nets[NET]["silhouette"]) == {"clean", "all"}
    (kept_net,) = clusters.read(results.features("minmax", "figure9").measured)
    silhouette = nets[NET]["silhouette"]["clean"]
    assert kept_net == (model_id(), batch.subject.stand_in, 20, pytest.approx(silhouette), "")


@pytest.mark.usefixtures("std")
def test_the_clean_pass_makes_no_adversarial_point_and_a_failed_training_leaves_its_reason(
    plan: Plan, results: Results
) -> None:
    tensors, nets = run(results, of(plan, "clean"))
    assert not tensors[f"{NET}/adversarial"].any()
    assert nets[NET]["silhouette"]["clean"] == nets[NET]["silhouette"]["all"]
    say(results.model(model_id()).run, status="failed", reason="loss not finite in epoch 1")
    tensors, nets = run(results, of(plan, "clean"))
    assert tensors == {}
    failed = {"status": "failed", "reason": "loss not finite in epoch 1"}
    assert nets == {NET: {"cell": of(plan, "clean").subject.words(), **failed}}
    (kept,) = clusters.read(results.features("minmax", "figure9").measured)
    assert (kept.model, kept.points, kept.failed) == (model_id(), 0, failed["reason"])
