"""Protocol published: every epsilon on its own, the attack's own criterion, and what a paper tuned."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from evaluating import EPSILONS, L0, LINF, ONE_PIXEL, PGD, SIZES, STRAIGHT, at, attack, confident, suite
from tiny_nets import CLASSES, conv, linear, samples, whitened
from torch import nn

from touchstone import records
from touchstone.evaluation import flags
from touchstone.evaluation.block import make_block
from touchstone.evaluation.preflight import preflight
from touchstone.evaluation.result import failed
from touchstone.losses import margin
from touchstone.threat import Threat
from touchstone.types import Bounds

# ---- published


def test_clean_records_are_the_model_alone() -> None:
    table, shown, info = attack(conv(), "clean", None)
    assert list(table) == list(records.COLUMNS)
    assert table["success"].tolist() == [True] * 4 + [False] * 36
    assert table["epsilon"].isna().all()
    assert set(table["norm"]) == {"none"}
    assert set(table["member"]) == {"clean"}
    assert table[["dist_l2", "forwards", "backwards"]].to_numpy().sum() == 0
    assert shown["clean"].shape == (16, 3, 4, 4)
    assert info == {"flags": []}


def test_every_epsilon_is_run_on_its_own() -> None:
    table, shown, _ = attack(conv(), options=PGD)
    for epsilon in EPSILONS:
        alone, one, _ = attack(conv(), threat=Threat("linf", (epsilon,)), options=PGD)
        pd.testing.assert_frame_equal(table[table["epsilon"] == epsilon].reset_index(drop=True), alone)
        assert torch.equal(one[f"epsilon-{epsilon:g}"], shown[f"epsilon-{epsilon:g}"])
    assert not table["carried"].any()
    assert len(table) == 40 * len(EPSILONS)
    assert set(table["backwards"]) == {10}  # all steps for every sample, also for those that are wrong already


def test_the_rows_say_which_sample_and_which_attack() -> None:
    index = torch.arange(100, 140)
    table, _, _ = attack(conv(), options=PGD, slug="pgd10-linf", index=index)
    assert table["sample"].tolist() == index.tolist() * 3
    assert table["label"].tolist() == samples(conv())[1].tolist() * 3
    assert set(table["member"]) == {"pgd10-linf"}
    assert set(table["norm"]) == {"linf"}


def test_draws_belong_to_the_sample_and_the_seed() -> None:
    model = conv()
    x, y = samples(model)
    part = torch.tensor([3, 17, 30])
    whole, _, _ = attack(model, options=PGD)
    few, _, _ = attack(model, options=PGD, x=x[part], y=y[part], index=part)
    same = whole[whole["sample"].isin(part.tolist())].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, same, rtol=1e-5)
    other, _, _ = attack(model, options=PGD, seed=1)
    assert not np.allclose(other["adv_margin"], whole["adv_margin"])


def test_a_minimal_norm_attack_has_one_row_per_sample() -> None:
    table, shown, _ = attack(conv(), "deepfool")
    assert len(table) == 40
    assert table["epsilon"].isna().all()
    assert table["success"].all()
    assert (table["dist_linf"][:4] == 0).all()
    assert (table["dist_linf"][4:] > 0).all()
    assert set(shown) == {"minimal"}


def test_the_rule_shrink_and_retest_adds_the_points_of_each_ball(plant: Any) -> None:
    name = plant("shrunk", fn="touchstone.attacks.deepfool:deepfool", kind="minimal", budget_rule="shrink_and_retest")
    table, _, _ = attack(conv(), name, Threat("l2", (0.05, 0.5)))
    raw, shrunk = table[table["epsilon"].isna()], table[table["epsilon"].notna()]
    assert len(raw) == 40
    assert shrunk["epsilon"].tolist() == [0.05] * 40 + [0.5] * 40
    assert (shrunk["dist_l2"] <= shrunk["epsilon"] + 1e-6).all()
    assert shrunk["forwards"].sum() == 0
    near = raw["dist_l2"].to_numpy() <= 0.05
    assert (shrunk["success"][:40].to_numpy() == near).all()


@pytest.mark.parametrize(("norm", "epsilon"), [("l1", 20.0), ("l2", 2.0), ("linf", 0.1)])
def test_points_shrunk_onto_a_ball_lie_in_it_also_of_large_images(plant: Any, norm: str, epsilon: float) -> None:
    facts = {"kind": "minimal", "norms": (norm,), "budget_rule": "shrink_and_retest"}
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, CLASSES)), torch.rand(40, 3, 64, 64)
    y = torch.zeros(40, dtype=torch.int64)
    table, _, _ = attack(model, plant("inverse", **facts), Threat(norm, (epsilon,)), x=x, y=y)
    assert not table["rejected"].any()


def test_a_study_gives_an_attack_another_budget_rule() -> None:
    usual, _, _ = attack(conv(), "deepfool", Threat("l2", (0.05, 0.5)))
    table, _, _ = attack(conv(), "deepfool", Threat("l2", (0.05, 0.5)), budget_rule="shrink_and_retest")
    assert usual["epsilon"].isna().all()
    assert table["epsilon"].dropna().tolist() == [0.05] * 40 + [0.5] * 40
    pd.testing.assert_frame_equal(table[table["epsilon"].isna()], usual)


@pytest.mark.parametrize(("liar", "epsilon"), [("outside_ball", 0.2), ("outside_box", 0.45), ("not_a_number", 0.1)])
def test_an_attack_that_leaves_the_threat_breaks_nothing_and_is_flagged(plant: Any, liar: str, epsilon: float) -> None:
    table, _, info = attack(conv(), plant(liar, kind="fixed"), Threat("linf", (epsilon,)))
    assert table["rejected"].all()
    assert not table["success"].any()
    assert [flag["flag"] for flag in info["flags"]] == ["rejected_points"]


def test_what_an_attack_says_about_itself_is_kept_apart(plant: Any) -> None:
    table, _, _ = attack(conv(), plant("boastful", kind="minimal"))
    assert table["found"].all()
    assert table["success"].sum() == 4  # the samples that are wrong anyway


def test_normalized_epsilons_are_measured_in_normalized_units() -> None:
    threat = Threat("linf", (0.1,), space="normalized", bounds=None)
    table, shown, _ = attack(conv(), threat=threat, options=PGD)
    assert not table["rejected"].any()
    assert table["success"].sum() > 4
    assert table["dist_linf"].max() == pytest.approx(0.1 * 0.4, abs=1e-5)  # pixels, widest channel
    x, _ = samples(conv())
    assert (shown["epsilon-0.1"] - x[:16]).abs().max().item() == pytest.approx(0.04, abs=1e-5)


def test_rows_that_influence_one_another_get_fixed_batches(plant: Any) -> None:
    table, _, _ = attack(conv(), plant("crowd", kind="fixed", coupled=True), batch_size=16)
    first = table[table["epsilon"] == 0.03]["dist_linf"]
    assert first.iloc[0] == pytest.approx(0.016, abs=1e-6)
    assert first.iloc[39] == pytest.approx(0.008, abs=1e-6)  # 40 = 16 + 16 + 8
    table, _, _ = attack(conv(), plant("crowd", kind="fixed"), batch_size=16)
    assert table[table["epsilon"] == 0.1]["dist_linf"].max() == pytest.approx(0.04, abs=1e-6)  # any other gets all


# ---- criterion: confidence


@pytest.mark.parametrize("goal", [None, 0.3, 0.6])
def test_an_attack_that_aims_at_a_confidence_is_judged_by_it(goal: float | None) -> None:
    options = {} if goal is None else {"target_confidence": goal}
    table, _, _ = attack(conv(), "high-confidence", Threat("l2"), options=options)
    assert (table["success"] == confident(table, table["clean_conf"] if goal is None else goal)).all()
    assert (table["success"] == table["found"]).all()
    assert table["success"].sum() > 30
    assert (table["dist_l2"][:4] == 0).all() == (goal is None or (table["clean_conf"][:4] >= goal).all())


@pytest.mark.parametrize("goal", [None, 0.7])
def test_a_point_that_is_misclassified_without_the_confidence_is_no_success(plant: Any, goal: float | None) -> None:
    name = plant("modest", kind="minimal", norms=("l2",), criterion="confidence", budget_rule="unbounded")
    options = {} if goal is None else {"target_confidence": goal}
    table, _, _ = attack(linear(scale=3), name, Threat("l2"), options=options)
    aim = table["clean_conf"] if goal is None else goal
    assert (table["adv_pred"] != table["label"]).all()
    assert (table["success"] == confident(table, aim)).all()
    assert 0 < table["success"].sum() < 30
    loose = plant("loose", fn="tiny_nets:modest", kind="minimal", norms=("l2",))
    anyhow, _, _ = attack(linear(scale=3), loose, Threat("l2"), options=options)
    assert anyhow["success"].all()


def test_points_shrunk_onto_a_ball_must_keep_the_confidence(plant: Any) -> None:
    facts = {"kind": "minimal", "norms": ("l2",), "budget_rule": "shrink_and_retest"}
    name = plant("high", fn="touchstone.attacks.high_confidence:high_confidence", criterion="confidence", **facts)
    table, _, _ = attack(conv(), name, Threat("l2", (0.4,)))
    shrunk = table[table["epsilon"].notna()]
    wrong = shrunk["adv_pred"] != shrunk["label"]
    assert (shrunk["success"] == confident(shrunk, shrunk["clean_conf"])).all()
    assert shrunk["success"].sum() < wrong.sum()


def test_a_goal_belongs_to_its_sample() -> None:
    x, y = samples(conv())
    block = replace(make_block(conv(), x, y, LINF, 0, 512, None), goal=torch.arange(40.0))
    assert block.at(torch.tensor([30, 2])).goal.tolist() == [30, 2]


# ---- a grid, of which one choice is kept for all samples


def test_a_grid_keeps_at_each_epsilon_the_values_that_break_most() -> None:
    threat, model = Threat("linf", (0.03, 0.2)), conv()
    table, shown, info = attack(model, threat=threat, options=STRAIGHT, grid={"step_size": SIZES})
    alone = {size: attack(model, threat=threat, options={**STRAIGHT, "step_size": size}) for size in SIZES}
    assert [row.epsilon for row in info["grid"]] == [0.03] * 3 + [0.2] * 3
    for row in info["grid"]:
        broken = at(alone[row.options["step_size"]][0], row.epsilon)
        assert row.measures["accuracy"] == pytest.approx(1 - broken.mean())
    winners = {row.epsilon: row for row in info["grid"] if row.chosen}
    assert winners[0.03].options != winners[0.2].options  # chosen anew at each epsilon
    for epsilon, winner in winners.items():
        accuracies = [row.measures["accuracy"] for row in info["grid"] if row.epsilon == epsilon]
        assert winner.measures["accuracy"] == min(accuracies) < max(accuracies)
        theirs, images, _ = alone[winner.options["step_size"]]
        mine = table[table["epsilon"] == epsilon].reset_index(drop=True)
        costs = ["forwards", "backwards", "zero_grad_steps"]
        theirs = theirs[theirs["epsilon"] == epsilon].reset_index(drop=True).drop(columns=costs)
        pd.testing.assert_frame_equal(mine.drop(columns=costs), theirs)
        assert torch.equal(shown[f"epsilon-{epsilon:g}"], images[f"epsilon-{epsilon:g}"])
    assert set(table["backwards"]) == {3 * 3}  # what was not chosen was paid for too


def test_a_choice_is_taken_over_from_another_run() -> None:
    model, threat = conv(), Threat("linf", (0.03, 0.2))
    _, _, first = attack(model, threat=threat, options=STRAIGHT, grid={"step_size": SIZES})
    chosen = {row.epsilon: row.options for row in first["grid"] if row.chosen}
    assert len({size["step_size"] for size in chosen.values()}) == 2
    table, _, info = attack(model, threat=threat, options=STRAIGHT | {"steps": 4}, chosen=first["grid"])
    assert {row.epsilon: row.options for row in info["grid"]} == chosen
    for epsilon, options in chosen.items():
        alone, _, _ = attack(model, threat=threat, options=STRAIGHT | {"steps": 4} | options)
        assert (at(alone, epsilon) == at(table, epsilon)).all()
    assert set(table["backwards"]) == {4}, "nothing else is tried"


def test_a_choice_without_a_budget_is_taken_over_too() -> None:
    model = conv()
    _, _, first = attack(model, "ddn", Threat("l2"), options={"steps": 6}, grid={"init_eps": [0.1, 1.0]})
    _, _, info = attack(model, "ddn", Threat("l2"), options={"steps": 8}, chosen=first["grid"])
    (kept,) = [row for row in first["grid"] if row.chosen]
    assert [(row.options, row.chosen) for row in info["grid"]] == [(kept.options, True)]


def test_a_grid_is_chosen_by_its_mean_and_not_sample_by_sample() -> None:
    model, threat, sizes = conv(), Threat("linf", (0.1,)), [0.05, 0.2]
    chosen, _, _ = attack(model, threat=threat, options={"steps": 3}, grid={"step_size": sizes})
    union, _, _ = attack(model, threat=threat, options={"steps": 3, "step_sizes": sizes})
    assert (at(union, 0.1) >= at(chosen, 0.1)).all()
    assert at(union, 0.1).sum() > at(chosen, 0.1).sum()


def test_of_equal_values_the_first_is_kept_and_every_combination_is_tried() -> None:
    grid = {"loss": ["margin", "ce"], "step_size": [0.0, 0.0]}
    table, _, info = attack(conv(), threat=Threat("linf", (0.1,)), options=STRAIGHT, grid=grid)
    assert [tuple(row.options.values()) for row in info["grid"]] == [("margin", 0.0)] * 2 + [("ce", 0.0)] * 2
    assert [row.chosen for row in info["grid"]] == [True, False, False, False]
    assert table["success"].sum() == 4


def test_without_epsilons_the_grid_keeps_the_smallest_distances(plant: Any) -> None:
    name = plant("ddn", fn="touchstone.attacks.ddn:ddn", kind="minimal", norms=("l2",))
    model, starts = conv(), [0.05, 0.35, 0.3]
    table, _, info = attack(model, name, Threat("l2"), options={"steps": 6}, grid={"init_eps": starts})
    alone = [attack(model, name, Threat("l2"), options={"steps": 6, "init_eps": start})[0] for start in starts]
    right = alone[0]["clean_pred"] == alone[0]["label"]
    assert not right.all()  # else nothing would say whose distances count
    medians = [float(a["dist_l2"].where(a["success"], np.inf)[right].median()) for a in alone]
    means = [a.loc[a["success"] & right, "dist_l2"].mean() for a in alone]
    assert np.isinf(medians[0])  # fails on most,
    assert means[0] == min(means)  # and its few small distances win all the same
    assert [row.measures["median_norm"] for row in info["grid"]] == [None, *(pytest.approx(m) for m in medians[1:])]
    assert [row.measures["mean_norm"] for row in info["grid"]] == [pytest.approx(m) for m in means]
    assert [row.chosen for row in info["grid"]] == [True, False, False]
    assert [row.epsilon for row in info["grid"]] == [None] * 3
    pd.testing.assert_series_equal(table["dist_l2"], alone[0]["dist_l2"])
    assert table["backwards"].tolist() == sum(a["backwards"] for a in alone).tolist()


def test_a_grid_on_a_net_that_is_always_wrong_keeps_the_first(plant: Any) -> None:
    name = plant("ddn", fn="touchstone.attacks.ddn:ddn", kind="minimal", norms=("l2",))
    model = conv()
    x, y = samples(model, 6, wrong=6)
    grid = {"init_eps": [0.1, 0.2]}
    _, _, info = attack(model, name, Threat("l2"), options={"steps": 3}, grid=grid, x=x, y=y)
    assert [row.measures for row in info["grid"]] == [{"mean_norm": None, "median_norm": None}] * 2
    assert [row.chosen for row in info["grid"]] == [True, False]


def test_no_grid_leaves_no_trace() -> None:
    _, _, info = attack(conv(), options=PGD, grid={})
    assert "grid" not in info


# ---- the loss that the model was trained with


@pytest.mark.parametrize("protocol", ["published", "worst"])
def test_the_models_own_loss_reaches_the_attack(protocol: str) -> None:
    given = {"protocol": protocol, "slug": "pgd"}
    own, _, _ = attack(conv(), options={**PGD, "loss": "own"}, own_loss=margin, **given)
    same, _, _ = attack(conv(), options={**PGD, "loss": "margin"}, **given)
    pd.testing.assert_frame_equal(own, same)
    with pytest.raises(ValueError, match="'own' is the one that the model was trained with"):
        attack(conv(), options={**PGD, "loss": "own"}, **given)


# ---- l0, where the radius counts pixels


def test_a_fixed_l0_attack_is_judged_by_the_pixels_it_changed() -> None:
    table, _, info = attack(conv(), "onepixel", L0, options=ONE_PIXEL, probes=True)
    assert not table["rejected"].any()
    assert (table["dist_l0"] <= table["epsilon"]).all()
    broken = [at(table, epsilon).sum() for epsilon in L0.epsilons]
    assert broken[0] == 4
    assert broken[0] < broken[1] <= broken[2]
    assert info["flags"] == []
    assert info["doubled_steps_gain"] >= 0


@pytest.mark.parametrize(
    ("fn", "options"),
    [("pdpgd", {"steps": 30}), ("sparsefool", {}), ("jsma", {"targets": 3})],
)
def test_minimal_l0_attacks_are_judged_at_every_radius(fn: str, options: dict) -> None:
    table, _, _ = attack(conv(), fn, L0, options=options, probes=True)
    assert table["success"].sum() > 4
    worst, _, _ = attack(conv(), fn, L0, options=options, probes=True, protocol="worst")
    for epsilon in L0.epsilons:
        near = table["success"] & (table["dist_l0"] <= epsilon)
        assert at(worst, epsilon).sum() == near.sum()


def test_points_shrunk_onto_an_l0_ball_keep_that_many_pixels(plant: Any) -> None:
    facts = {"kind": "minimal", "norms": ("l0",), "budget_rule": "shrink_and_retest"}
    table, _, _ = attack(conv(), plant("shrunk", fn="touchstone.attacks.sparsefool:sparsefool", **facts), L0)
    shrunk = table[table["epsilon"].notna()]
    assert not shrunk["rejected"].any()
    assert (shrunk["dist_l0"] <= shrunk["epsilon"]).all()
    assert (shrunk[shrunk["epsilon"] == 3]["dist_l0"] > 1).any()


# ---- the same again


@pytest.mark.parametrize("batch_size", [7, 64])
def test_the_batch_size_changes_at_most_the_last_bits(batch_size: int) -> None:
    whole, _, _ = suite(conv())
    parts, _, _ = suite(conv(), batch_size=batch_size)
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-4, atol=1e-5)


def test_a_model_that_draws_is_repeatable_and_the_generator_is_left_alone() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = conv()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x) + 0.1 * torch.randn(len(x), CLASSES)

    model = Noisy()
    x, y = samples(model.net)
    before = torch.random.get_rng_state()
    first, _, _ = attack(model, options=PGD, x=x, y=y, probes=True)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(1)
    second, _, _ = attack(model, options=PGD, x=x, y=y, probes=True)
    pd.testing.assert_frame_equal(first, second)
    measured = preflight(model, x, y, threat=LINF, seed=0, batch_size=512)
    assert "randomised" in [flag["flag"] for flag in flags.preflight(measured)]


def test_model_and_inputs_are_left_as_they_were() -> None:
    model = conv().train()
    x, y = samples(model)
    kept = x.clone(), y.clone(), {name: value.clone() for name, value in model.state_dict().items()}
    suite(model, x=x, y=y, probes=True)
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1])
    assert model.training
    assert all(torch.equal(kept[2][name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_a_failed_model_has_no_rows_and_a_reason() -> None:
    result = failed("loss is nan")
    assert result.records.empty
    assert list(result.records) == list(records.COLUMNS)
    assert result.examples == {}
    assert (result.status, result.reason) == ("failed", "loss is nan")


# ---- what is refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fn": "squares"}, r"unknown attack 'squares'; allowed: .*; did you mean 'square'\?"),
        ({"threat": None}, r"'pgd' needs a threat"),
        ({"threat": Threat("l0", (1.0,))}, r"'pgd' in norm 'l0': allowed: l1, l2, linf"),
        ({"threat": Threat("linf")}, r"'pgd' has a fixed budget: expected epsilons"),
        ({"fn": "clean", "grid": {"step_size": [0.1]}}, r"a grid is for an attack, got 'clean'"),
        ({"budget_rule": "distance"}, r"a budget rule is for a minimal-norm attack, got 'pgd'"),
    ],
)
def test_what_means_nothing_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attack(conv(), **wrong)


def test_bounds_of_the_threat_reach_the_attack() -> None:
    table, _, _ = attack(conv(), threat=Threat("linf", (0.1,), bounds=Bounds(-5.0, 5.0)), options=PGD)
    assert table["dist_linf"].min() == pytest.approx(0.1, abs=1e-6)  # nothing is clipped


@pytest.mark.parametrize(("name", "norm"), [("fgsm", "linf"), ("deepfool", "l2")])
def test_an_attack_in_whitened_space_is_recorded_there_and_in_pixels(name: str, norm: str) -> None:
    model = whitened()
    threat = Threat(norm, (0.05,) if name == "fgsm" else (), space="whitened", bounds=None)
    table, shown, _ = attack(model, name, threat)
    x, _ = samples(model)
    right = table[(table["clean_pred"] == table["label"]) & table["success"]]
    assert len(right) > 1
    if name == "fgsm":
        assert right["dist"].to_numpy() == pytest.approx(0.05, abs=1e-5)
    assert (right["dist_l2"] < right["dist"] * np.sqrt(48)).all()
    (points,) = shown.values()
    rows = table.head(len(points))
    measured = (points - x[torch.tensor(rows["sample"].tolist())]).flatten(1)
    expected = measured.abs().amax(1) if norm == "linf" else measured.norm(dim=1)
    np.testing.assert_allclose(expected, rows[f"dist_{norm}"], atol=1e-5)
