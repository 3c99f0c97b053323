"""Protocol worst: what any member breaks stays broken, and nothing is attacked twice."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from evaluating import EPSILONS, L0, LINF, MEMBERS, ONE_PIXEL, PGD, at, attack, confident, suite, watch
from tiny_nets import CLASSES, conv, linear, samples

from touchstone import records
from touchstone.cell import ModelId, ThreatSpec
from touchstone.evaluation import cascade, flags
from touchstone.evaluation.preflight import preflight
from touchstone.records import Attacked, Header
from touchstone.threat import Threat


@pytest.mark.parametrize(("liar", "epsilon"), [("outside_ball", 0.2), ("outside_box", 0.45), ("not_a_number", 0.1)])
def test_a_member_that_leaves_the_threat_breaks_nothing(plant: Any, liar: str, epsilon: float) -> None:
    members = [{"slug": liar, "fn": plant(liar, kind="fixed"), "options": {}}]
    table, _, _ = suite(conv(), members, Threat("linf", (epsilon - 0.01, epsilon)))
    assert table[table["member"] == liar]["rejected"].all()
    assert set(table[table["success"]]["member"]) == {"clean"}


def test_under_the_worst_protocol_every_misclassified_point_counts(plant: Any) -> None:
    name = plant("modest", kind="minimal", norms=("l2",), criterion="confidence", budget_rule="unbounded")
    table, _, _ = attack(linear(scale=3), name, Threat("l2", (6.0,)), protocol="worst")
    assert table["success"].all()
    asked = table[table["member"] == "modest"]
    assert not confident(asked, asked["clean_conf"]).all()


def test_an_l0_cascade_takes_each_members_points() -> None:
    members = [
        {"slug": "noise", "fn": "noise", "options": {}},
        {"slug": "onepixel", "fn": "onepixel", "options": ONE_PIXEL},
        {"slug": "jsma", "fn": "jsma", "options": {"targets": 3}},
    ]
    table, _, _ = suite(conv(), members, L0, probes=True)
    won = table[table["success"]]
    assert (won["dist_l0"] <= won["epsilon"]).all()
    alone = [attack(conv(), m["fn"], L0, options=m["options"], protocol="worst")[0] for m in members]
    for epsilon in L0.epsilons:
        assert all((at(table, epsilon) >= at(one, epsilon)).all() for one in alone)
    assert {"onepixel", "jsma"} <= set(won["member"])


def test_records_are_identical_on_a_second_run(tmp_path: Path) -> None:
    header = Header(
        **{"run": "r", "model": ModelId("s", "d", "m", "f", 0), "stand_in": "", "attack": "worst-linf", "members": {}},
        **{"protocol": "worst", "kind": "fixed", "threat": ThreatSpec("linf"), "samples": 40},
    )
    for name in ("a", "b"):
        table, _, info = suite(conv(), probes=True)
        records.write(tmp_path / name, [Attacked(replace(header, flags=info["flags"]), table)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# ---- worst


def test_the_cascade_breaks_what_any_member_breaks() -> None:
    table, _, _ = suite(conv())
    for member in MEMBERS:
        alone, _, _ = attack(conv(), member["fn"], options=member["options"])
        for epsilon in EPSILONS:
            assert (at(table, epsilon) >= flags.broken(alone, epsilon)).all(), (member["slug"], epsilon)


def test_more_epsilon_never_saves_a_sample() -> None:
    table, _, _ = suite(conv())
    broken = [at(table, epsilon) for epsilon in EPSILONS]
    assert broken[0].sum() < broken[1].sum() < broken[2].sum()
    assert (broken[0] <= broken[1]).all()
    assert (broken[1] <= broken[2]).all()


def test_broken_samples_are_carried_and_cost_nothing_more() -> None:
    table, _, _ = suite(conv())
    before = at(table, EPSILONS[0])
    later = table[table["epsilon"] == EPSILONS[1]].set_index("sample")
    gone = before.index[before]
    assert later.loc[gone, "carried"].all()
    assert later.loc[gone].index.is_unique  # nobody tries them again
    assert (later.loc[gone, ["forwards", "backwards"]] == 0).all(axis=None)
    assert not later.loc[before.index[~before], "carried"].any()
    first = table[(table["epsilon"] == EPSILONS[0]) & table["success"]].set_index("sample")
    columns = ["member", "adv_pred", "dist_linf", "adv_margin"]
    pd.testing.assert_frame_equal(later.loc[first.index, columns], first[columns])
    assert not table[table["epsilon"] == EPSILONS[0]]["carried"].any()


def test_the_rows_say_which_restart_a_point_comes_from() -> None:
    model = conv()
    x, y = samples(model)
    options, given = {**PGD, "steps": 1, "restarts": 4}, {"protocol": "worst", "x": x, "y": y}
    table, _, _ = attack(model, options=options, threat=Threat("linf", (0.03, 0.06)), **given)
    fresh = table[~table["carried"] & (table["member"] != "clean")]
    broken = fresh[fresh["success"]]
    assert set(fresh.loc[~fresh["success"], "restart"]) == {3}, "what is left has seen every restart"
    assert broken["restart"].nunique() > 1
    for restart in broken["restart"].unique():
        nested = {**options, "restarts": restart + 1}
        fewer, _, _ = attack(model, options=nested, threat=Threat("linf", (0.03,)), **given)
        within = broken[(broken["epsilon"] == 0.03) & (broken["restart"] <= restart)]
        assert set(fewer.loc[fewer["success"] & (fewer["member"] != "clean"), "sample"]) == set(within["sample"])
    carried = table[table["carried"] & (table["member"] != "clean")].set_index("sample")["restart"]
    first = broken[broken["epsilon"] == 0.03].set_index("sample")["restart"]
    assert carried.to_dict() == first.to_dict()


def test_samples_that_are_wrong_by_themselves_are_not_attacked() -> None:
    table, _, _ = suite(conv())
    wrong = table[table["sample"] < 4]
    assert set(wrong["member"]) == {"clean"}
    assert wrong["success"].all()
    assert wrong["dist_linf"].max() == 0
    assert wrong["forwards"].sum() == 0


def test_every_row_knows_its_own_sample() -> None:
    model = conv()
    x, y = samples(model)
    table, _, _ = suite(model)
    with torch.no_grad():
        answers = model(x).argmax(1)
    assert (table["label"] == y.numpy()[table["sample"]]).all()
    assert (table["clean_pred"] == answers.numpy()[table["sample"]]).all()
    assert np.allclose(table["x_l2"], x.flatten(1).norm(dim=1).numpy()[table["sample"]])


def test_members_run_in_order_on_what_is_left() -> None:
    table, _, _ = suite(conv())
    order = [member["slug"] for member in MEMBERS]
    first = table[table["epsilon"] == EPSILONS[0]]
    left = set(range(4, 40))
    for slug in order:
        rows = first[first["member"] == slug]
        assert set(rows["sample"]) == left, slug
        left -= set(rows[rows["success"]]["sample"])


def test_a_minimal_norm_member_runs_once_and_is_read_at_every_epsilon(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = watch(monkeypatch)
    table, _, _ = suite(conv(), [MEMBERS[3], MEMBERS[2]])  # gradient-free first
    assert asked.count(MEMBERS[2]["options"]) == 1
    rows = table[(table["member"] == "deepfool") & ~table["carried"]]
    assert rows[rows["epsilon"] > EPSILONS[0]]["forwards"].sum() == 0
    assert (rows[rows["epsilon"] == EPSILONS[0]]["forwards"] > 0).all()
    assert ((rows["dist_linf"] <= rows["epsilon"] + 1e-6) == rows["success"]).all()
    assert not rows["rejected"].any()  # too far for this epsilon is no fault
    for epsilon in EPSILONS[1:]:  # what is known already is read before anything is asked
        tried = set(table[(table["epsilon"] == epsilon) & (table["member"] == "square")]["sample"])
        assert tried.isdisjoint(rows[(rows["epsilon"] == epsilon) & rows["success"]]["sample"])


def test_a_single_attack_can_run_under_the_worst_protocol() -> None:
    table, _, _ = attack(conv(), protocol="worst", options=PGD, slug="pgd10")
    assert set(table["member"]) == {"clean", "pgd10"}
    assert table["carried"].any()
    stopped = table[(table["member"] == "pgd10") & table["success"] & ~table["carried"]]
    assert stopped["backwards"].min() < 10  # stop="first"


def test_members_whose_rows_may_not_leave_run_all_steps(plant: Any) -> None:
    name = plant("stubborn", fn="touchstone.attacks.pgd:pgd", kind="fixed", droppable=False)
    table, _, _ = attack(conv(), name, protocol="worst", options=PGD)
    tried = table[(table["member"] == "stubborn") & ~table["carried"]]
    assert set(tried["backwards"]) == {10}


def test_examples_are_the_points_that_broke_the_samples() -> None:
    model = conv()
    x, y = samples(model)
    table, shown, _ = suite(model, examples=40)
    for epsilon in EPSILONS:
        points = shown[f"epsilon-{epsilon:g}"]
        assert ((points - x).abs().amax((1, 2, 3)) <= epsilon + 1e-6).all()
        with torch.no_grad():
            assert (model(points).argmax(1) != y).tolist() == at(table, epsilon).tolist()


def test_everything_broken_early_is_carried_to_the_end() -> None:
    model = linear()
    x, y = samples(model)
    table, _, _ = suite(model, x=x, y=(y + (torch.arange(40) >= 4)) % CLASSES)
    assert len(table) == 40 * len(EPSILONS)
    assert table["success"].all()


def test_a_cross_entropy_that_vanishes_looks_robust_and_the_cascade_sees_through_it() -> None:
    model = linear(scale=1000)  # one weight matrix: robust it is not
    x, y = samples(model, wrong=0)
    options = {"steps": 20, "step_size": 0.02, "loss": "ce", "random_start": False}
    masked, _, _ = attack(model, options=options, x=x, y=y, probes=True)
    honest, _, _ = attack(linear(), options=options, x=x, y=y)
    members = [{"slug": loss, "fn": "pgd", "options": {**options, "loss": loss}} for loss in ("ce", "margin")]
    table, _, _ = suite(model, members, x=x, y=y)
    assert at(masked, 0.1).mean() < 0.4
    assert at(honest, 0.1).mean() > 0.8
    assert (at(table, 0.1) >= at(honest, 0.1)).all()
    measured = preflight(model, x, y, threat=LINF, seed=0, batch_size=512)
    assert {"zero_gradient_ce", "saturated"} <= {flag["flag"] for flag in flags.preflight(measured)}


def test_a_cascade_is_asked_whether_it_breaks_a_model_at_half_the_range(plant: Any) -> None:
    """A suite that leaves samples at linf 0.5 is too weak, also for the radii that it was run at."""
    idle = plant("idle", fn="touchstone.attacks.clean:clean", kind="fixed")
    for fn, wanted in ((idle, True), ("fgsm", False)):
        members = [{"slug": fn, "fn": fn, "options": {}}]
        table, _, info = suite(linear(), members, Threat("linf", (0.1,)), probes=True)
        assert ("above_chance" in [flag["flag"] for flag in info["flags"]]) == wanted
        assert set(table["epsilon"]) == {0.1}


def test_progress_is_told_stage_by_stage() -> None:
    said: list[tuple[int, int, str]] = []
    attack(conv(), options=PGD, progress=lambda *line: said.append(line))
    assert [(done, total) for done, total, _ in said] == [(1, 3), (2, 3), (3, 3)]
    assert said[0][2].startswith("epsilon 0.01, pgd: ")
    assert said[0][2].endswith(" s left")
    assert said[2][2].endswith("samples/s")
    said.clear()
    suite(conv(), progress=lambda *line: said.append(line))
    assert [(done, total) for done, total, _ in said] == [(n + 1, 12) for n in range(12)]
    assert "epsilon 0.01, pgd-ce: " in said[0][2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"members": []}, r"needs members and epsilons, got 0 and 3"),
        ({"threat": Threat("linf")}, r"got 4 and 0"),
        ({"members": MEMBERS[:1] * 2}, r"slugs of their own.*\['pgd-ce', 'pgd-ce'\]"),
        ({"members": [{**MEMBERS[0], "slug": "clean"}]}, r"'clean' is taken"),
        ({"members": [{"slug": "idle", "fn": "clean"}]}, r"member 'idle': expected an attack, got 'clean'"),
        ({"members": [{"slug": "ddn", "fn": "ddn"}]}, r"'ddn' in norm 'linf': allowed: l2"),
    ],
)
def test_a_suite_that_means_nothing_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        suite(conv(), **wrong)


# ---- blocks of images


class Kept(dict[int, Any]):
    """A shelf in memory."""

    load = dict.get
    keep = dict.__setitem__


FEW = {"batch_size": 3, "examples": 15}  # blocks of 12


def test_images_are_attacked_in_blocks_and_find_what_they_find_together() -> None:
    whole, shown, _ = suite(conv(), examples=15)
    kept = Kept()
    table, same, _ = suite(conv(), **FEW, shelf=kept)
    assert sorted(kept) == [*range(math.ceil(len(samples(conv())[0]) / 12))]
    assert table["epsilon"].is_monotonic_increasing
    columns = ["epsilon", "sample", "member", "success", "carried", "forwards", "restart"]
    order = ["epsilon", "sample", "carried", "forwards"]
    pd.testing.assert_frame_equal(
        *(one[columns].sort_values([*order, "member"], ignore_index=True) for one in (whole, table))
    )
    assert {name: points.shape for name, points in same.items()} == {n: p.shape for n, p in shown.items()}
    for name, points in same.items():
        torch.testing.assert_close(points, shown[name], rtol=0, atol=1e-5)


def test_a_block_that_was_kept_is_not_attacked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    whole = suite(conv(), **FEW, shelf=kept)
    missing = {number: kept.pop(number) for number in (1, 2)}
    asked, lines = watch(monkeypatch), []
    again = suite(conv(), **FEW, shelf=kept, progress=lambda *line: lines.append(line))
    pd.testing.assert_frame_equal(again[0], whole[0])
    assert again[2] == whole[2]
    assert sorted(kept) == sorted({*kept} | {*missing})
    stages = len(EPSILONS) * len(MEMBERS)
    assert len(asked) <= stages * len(missing)
    assert lines[-1][:2] == (stages * len(missing),) * 2, "the stages that are left, and all of them"
    assert {words.partition(", ")[0] for _, _, words in lines} == {"block 2 of 4", "block 3 of 4"}


def test_what_global_generators_draw_does_not_depend_on_the_blocks_that_were_kept(plant: Any) -> None:
    members = [{"slug": "drawn", "fn": plant("random_point", kind="fixed"), "options": {}}]
    kept, threat = Kept(), Threat("linf", (0.2, 0.3))
    whole = suite(conv(), members, threat, **FEW, shelf=kept, probes=True)
    first, second = (kept[number].records["dist_l2"].max() for number in (1, 2))
    assert first != second, "one block does not draw what another draws"
    del kept[1]
    again = suite(conv(), members, threat, **FEW, shelf=kept, probes=True)
    pd.testing.assert_frame_equal(again[0], whole[0])
    assert again[2] == whole[2]


@pytest.mark.parametrize("gone", [0, 1])
def test_what_an_attack_says_of_a_block_is_said_of_the_whole(plant: Any, gone: int) -> None:
    members = [{"slug": "silent", "fn": plant("complains", kind="fixed"), "options": {}}]
    kept = Kept()
    suite(conv(), members, **FEW, shelf=kept)
    assert [bool(kept[number].flags) for number in sorted(kept)] == [False, True, False, False]
    del kept[gone]
    _, _, info = suite(conv(), members, **FEW, shelf=kept)
    assert "solver_failed" in [flag["flag"] for flag in info["flags"]]


@pytest.mark.parametrize(("samples", "batch_size", "blocks"), [(1000, 256, 1), (10_000, 256, 8), (10_000, 2048, 2)])
def test_blocks_are_few_and_no_smaller_than_some_batches(samples: int, batch_size: int, blocks: int) -> None:
    assert math.ceil(samples / cascade._size(samples, batch_size)) == blocks


def test_what_fits_into_one_block_needs_no_shelf() -> None:
    kept = Kept()
    suite(conv(), shelf=kept)
    assert not kept
