"""The criterion for unstated constants, what is measured of each candidate, and the training that uses the choice."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from toy_jobs import flip, model_id, trained, training

from touchstone.data.prepare import Dataset, Split
from touchstone.files import DamagedError, read_sealed, write_sealed
from touchstone.findings.selection import candidates as candidates_table
from touchstone.jobs.select import Candidate, choose, select, try_out
from touchstone.jobs.sensitivity import sensitivity
from touchstone.paths import Results
from touchstone.plan import build
from touchstone.plan.jobs import Net, Objective
from touchstone.plan.plan import Plan

SHOWN = ("robust_accuracy", "fuzziness", "near_zero", "max_abs")


def candidates(*accuracies: float | None) -> list[Candidate]:
    return [Candidate({}, "failed" if a is None else "ok", "", True, a or 0.0, 1, []) for a in accuracies]


@pytest.mark.parametrize(
    ("found", "index"),
    [
        ((0.98, 0.975, 0.96), 1),
        ((0.98, 0.96, 0.975), 2),  # the last good one, not the last before the first bad one
        ((0.98, 0.97, None), 1),  # exactly at the tolerance still counts; a failed one never does
        ((0.9, None), None),
        ((), None),
    ],
)
def test_the_last_finite_candidate_within_the_tolerance(found: tuple[float | None, ...], index: int | None) -> None:
    assert choose(candidates(*found), 0.98, 0.01) == index


def test_weights_that_the_objective_drives_outwards_are_not_taken() -> None:
    good, again = candidates(0.98, 0.98)
    assert choose([good, replace(again, bounded=False)], 0.98, 0.01) == 0


def test_a_candidate_never_sees_the_validation_rows_or_the_test_set(plan: Plan) -> None:
    """The validation rows carry labels that contradict their look; a net that had trained on them would know."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 2
    x = torch.randint(0, 60, (60, 1, 28, 28), generator=generator, dtype=torch.uint8)
    x[y == 1, :, :, :14] = 250
    validation = torch.arange(40, 60)
    labels = y.clone()
    labels[validation] = 1 - labels[validation]
    empty = Split(x[:0], y[:0])
    data = Dataset("digits", Split(x, labels), empty, validation, "")
    job = build.select_job(plan, model_id("minmax-printed"))
    job = replace(job, phases=(replace(job.phases[0], epochs=15, batch_size=8),), redraws=0)
    found, _ = try_out(job, Objective("ce", {}), {}, data)
    assert (found.status, found.validation_accuracy, found.epochs) == ("ok", 0.0, 15)


def test_selection_and_the_training_that_uses_it(plan: Plan, results: Results) -> None:
    job = build.select_job(plan, model_id("minmax-printed"))
    job = replace(job, candidates=({"lam": 1e-4, "mu": 1e-4}, {"lam": 1e3, "mu": 0.0}), tolerance=0.05)
    select(job, results)
    files = results.selection(model_id("minmax-printed"))
    found = read_sealed(files.choice, "select")
    assert found["selected"] == 0
    assert found["selected_options"] == {"lam": 1e-4, "mu": 1e-4}
    assert found["candidates"][1]["validation_accuracy"] < found["reference_accuracy"] - 0.05
    assert (found["cell"]["dataset"], found["cell"]["stand_in"]) == ("mnist", "digits")
    run = trained(replace(training(plan, "minmax-printed"), selects=True), results)
    assert run["selected_options"] == {"lam": 1e-4, "mu": 1e-4}
    shows = build.sensitivity_job(plan, model_id("minmax-printed"))
    sensitivity(shows, results)
    shown = read_sealed(files.sensitivity, "sensitivity")
    for one in (shown["reference"], *shown["candidates"]):
        assert 0 <= one["near_zero"] <= 1
    # what is shown is that of the nets which were chosen from: a penalty on |w| (1 - |w|) drives weights to 0
    assert shown["candidates"][1]["max_abs"] < shown["candidates"][0]["max_abs"]
    assert [found["reference"], *found["candidates"]] == [
        {key: value for key, value in one.items() if key not in SHOWN}
        for one in (shown["reference"], *shown["candidates"])
    ]
    flip(files.weights)
    with pytest.raises(DamagedError, match=r"candidates\.safetensors cannot be used: .*\(rule select\)"):
        sensitivity(shows, results)


def test_nets_without_a_convolution_are_chosen_among_and_nothing_is_measured_of_one(
    plan: Plan, results: Results
) -> None:
    job, shows = build.select_job(plan, model_id("std+l2")), build.sensitivity_job(plan, model_id("std+l2"))
    mlp = Net("mlp", job.net.normalize, {"hidden": [8], "init": "glorot"})
    select(replace(job, net=mlp, candidates=({"l2": 1e-6},), tolerance=1.0), results)
    sensitivity(replace(shows, net=mlp, near_zero=None), results)
    files = results.selection(model_id("std+l2"))
    assert read_sealed(files.choice, "select")["selected"] == 0
    table = candidates_table([files.sensitivity])
    assert table["robust_accuracy"].notna().all()
    assert table[["fuzziness", "near_zero", "max_abs"]].isna().all(axis=None)


@pytest.mark.parametrize("damage", [flip, lambda file: file.write_text('{"selected_options": {')])
def test_a_broken_selection_is_named_with_its_rule(plan: Plan, results: Results, damage: Any) -> None:
    file = results.selection(model_id("minmax-printed")).choice
    write_sealed(file, {"selected_options": {"lam": 1e-4, "mu": 1e-4}})
    damage(file)
    with pytest.raises(DamagedError, match=r"selection\.json cannot be used: .*\(rule select\)"):
        trained(replace(training(plan, "minmax-printed"), selects=True), results)


def test_no_usable_candidate_is_a_failed_training(plan: Plan, results: Results) -> None:
    write_sealed(results.selection(model_id("minmax-printed")).choice, {"selected_options": None})
    run = trained(replace(training(plan, "minmax-printed"), selects=True), results)
    assert run["status"] == "failed"
    assert "no candidate met the selection criterion" in run["reason"]
