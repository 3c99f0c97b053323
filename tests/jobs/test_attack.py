"""Attacks: what a batch writes, what it keeps, what it starts from, and what a failure leaves."""

import logging
import multiprocessing
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from toy_jobs import flip, model_id, say, trained, training

from touchstone import paths, records
from touchstone.attacks.pgd import bim
from touchstone.data.prepare import load as load_dataset
from touchstone.data.prepare import spread, to_float
from touchstone.defenses.minmax import MinMax
from touchstone.evaluation import cascade, published
from touchstone.jobs import attack
from touchstone.jobs.common import load_weights, make_model, make_threat
from touchstone.losses import margin
from touchstone.paths import Results
from touchstone.plan import build
from touchstone.plan.jobs import AttackJob, BatchJob, Member, Net, Objective, Substitute
from touchstone.plan.plan import Plan
from touchstone.query import Query
from touchstone.records import Batch
from touchstone.runs import read_run
from touchstone.threat import in_space


def one(plan: Plan, name: str, defense: str = "std") -> AttackJob:
    return build.attack_job(plan, model_id(defense), name)


def batch(plan: Plan, *attacks: AttackJob, defense: str = "std") -> BatchJob:
    whole = build.batch_job(plan, model_id(defense), "all")
    asked = tuple(p for p in whole.preflights if p.threat in {attack.threat for attack in attacks})
    return replace(whole, attacks=attacks, preflights=asked)


def run(job: BatchJob, results: Results) -> Batch:
    attack.run(job, results)
    return records.read(results.attack(job.subject.model, "all").records)


@pytest.fixture
def std(plan: Plan, results: Results) -> dict[str, Any]:
    """The standard model, trained."""
    return trained(training(plan), results)


def test_a_batch_writes_records_examples_and_a_preflight_per_threat(
    plan: Plan, results: Results, std: dict[str, Any]
) -> None:
    names = ["clean", "pgd40-linf", "mim40-linf", "cw-l2", "worst-linf"]
    job = batch(plan, *(one(plan, name) for name in names))
    attacks, preflights = run(job, results)
    assert [a.header.attack for a in attacks] == names
    for (header, frame), asked in zip(attacks, job.attacks, strict=True):
        assert frame["sample"].nunique() == header.samples == 30
        assert (header.model, header.run, header.stand_in) == (model_id(), "tiny", "digits")
        assert header.threat == asked.threat
        assert header.made["model_sha256"] == std["model_sha256"]
        assert header.made["code"] == asked.code.digest
    assert [p.threat for p in preflights] == list(dict.fromkeys(a.threat for a in job.attacks if a.threat))
    examples = load_file(results.attack(model_id(), "all").examples)
    assert {name.partition("/")[0] for name in examples} == set(names)
    first = results.attack(model_id(), "all").records.read_bytes()
    run(job, results)
    assert results.attack(model_id(), "all").records.read_bytes() == first


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The attacks that really ran."""
    names: list[str] = []
    real = attack.attack
    monkeypatch.setattr(attack, "attack", lambda job, *rest: names.append(job.attack) or real(job, *rest))
    return names


@pytest.mark.usefixtures("std")
def test_only_what_is_new_runs_again(plan: Plan, results: Results, ran: list[str]) -> None:
    fgsm, pgd, bim = (one(plan, name) for name in ("fgsm-linf", "pgd40-linf", "linfbia"))
    before = run(batch(plan, fgsm, pgd), results).attacks
    assert ran == ["fgsm-linf", "pgd40-linf"]
    after = run(batch(plan, fgsm, bim, pgd), results).attacks
    assert ran[2:] == ["linfbia"]
    for old, new in ((before[0], after[0]), (before[1], after[2])):
        assert old.header == new.header
        pd.testing.assert_frame_equal(old.frame, new.frame)
    attack.run(replace(batch(plan, pgd), batch="pgd40-linf"), results)  # a job per attack, after one for all of them
    assert len(ran) == 3


def run_and_count(job: BatchJob, together: Any, count: Any) -> None:
    """Run a batch in a process of its own, beside another one; each measurement takes a while."""
    real = attack.preflight

    def slow(*args: Any, **more: Any) -> Any:
        with count.get_lock():
            count.value += 1
        time.sleep(1)
        return real(*args, **more)

    attack.preflight = slow
    together.wait(60)
    attack.run(job, Results.of(job.subject.run))


@pytest.mark.slow
@pytest.mark.usefixtures("std")
def test_batches_of_one_model_beside_each_other_measure_it_once(plan: Plan, results: Results) -> None:
    names, here = ("fgsm-linf", "linfbia"), multiprocessing.get_context("spawn")
    jobs = [replace(batch(plan, one(plan, name)), batch=name) for name in names]
    together, count = here.Barrier(2), here.Value("i", 0)
    processes = [here.Process(target=run_and_count, args=(job, together, count)) for job in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert count.value == 1
    first, second = (records.read(results.attack(model_id(), name).records).preflights for name in names)
    assert first == second


@pytest.mark.usefixtures("std")
def test_an_attack_takes_over_what_another_one_chose(plan: Plan, results: Results, ran: list[str]) -> None:
    tuned = replace(one(plan, "fgsm-linf"), attack="tuned")
    member = Member("tuned", "bim", {"steps": 2}, {"step_size": [0.0, 0.2]})
    tuned = replace(tuned, members=(member,))
    taker = replace(tuned, attack="taker", members=(Member("taker", "bim", {"steps": 3}),), chosen_by=tuned)
    first, second = run(batch(plan, taker, tuned), results).attacks
    assert ran == ["tuned", "taker"], "what chooses runs first"
    assert (first.header.attack, second.header.attack) == ("tuned", "taker")
    assert [row.options for row in second.header.grid] == [{"step_size": 0.2}]
    other = replace(tuned, members=(replace(member, grid={"step_size": [0.0]}),))
    run(batch(plan, other, replace(taker, chosen_by=other)), results)
    assert ran[2:] == ["tuned", "taker"], "another choice, other rows"
    with pytest.raises(ExceptionGroup) as caught:
        run(batch(plan, replace(taker, chosen_by=replace(tuned, attack="gone"))), results)
    assert "taker takes the choice of gone, which has not run" in str(caught.value.exceptions[0])


@pytest.mark.usefixtures("std")
def test_samples_are_drawn_from_the_population(plan: Plan, results: Results) -> None:
    part = replace(one(plan, "fgsm-linf"), population=40, samples=None)
    (whole,) = run(batch(plan, part), results).attacks
    assert sorted(whole.frame["sample"].unique()) == list(range(40))
    (some,) = run(batch(plan, replace(part, samples=15)), results).attacks
    assert some.frame["sample"].nunique() == 15
    assert set(some.frame["sample"]) < set(range(40))


@pytest.mark.parametrize("change", ["weights", "data", "options"])
@pytest.mark.usefixtures("std")
def test_what_decides_the_rows_runs_them_again(
    plan: Plan, results: Results, ran: list[str], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    pgd = one(plan, "pgd40-linf")
    run(batch(plan, pgd), results)
    if change == "weights":
        phase = replace(training(plan).phases[0], lr=0.002)
        trained(replace(training(plan), phases=(phase,)), results)
    if change == "data":
        real = attack.load_data
        monkeypatch.setattr(attack, "load_data", lambda *given: replace(real(*given), sha256="another"))
    if change == "options":
        pgd = replace(pgd, members=(replace(pgd.members[0], options={"steps": 3, "step_size": 0.1}),))
    run(batch(plan, pgd), results)
    assert ran == ["pgd40-linf"] * 2


@pytest.mark.usefixtures("std")
def test_one_failing_attack_stops_no_other(
    plan: Plan, results: Results, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = batch(plan, *(one(plan, name) for name in ("fgsm-linf", "pgd40-linf", "linfbia")))
    real = published.run

    def breaks(model: Any, x: Tensor, y: Tensor, member: Any, **more: Any) -> Any:
        if member.fn == "pgd":
            raise ZeroDivisionError("no step")
        return real(model, x, y, member, **more)

    with monkeypatch.context() as patch:
        patch.setattr(published, "run", breaks)
        with pytest.raises(ExceptionGroup, match="1 of 4 parts failed; the others are kept") as error:
            run(job, results)
    (cause,) = error.value.exceptions
    assert isinstance(cause, ZeroDivisionError)
    assert cause.__notes__ == ["in attack pgd40-linf on minmax/mnist/lenet/std/0"]
    assert not results.attack(model_id(), "all").records.exists()
    ran.clear()
    assert len(run(job, results).attacks) == 3
    assert ran == ["pgd40-linf"]


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images had the blocks that were attacked; a third one in a row is interrupted, the first time."""
    sizes: list[int] = []
    real = cascade._climb

    def climb(block: Any, *rest: Any) -> Any:
        if len(sizes) == 2:
            sizes.append(0)
            raise KeyboardInterrupt
        sizes.append(len(block))
        return real(block, *rest)

    monkeypatch.setattr(cascade, "BATCHES", 1)
    monkeypatch.setattr(cascade, "_climb", climb)
    return sizes


@pytest.mark.usefixtures("std")
def test_a_worst_case_that_was_interrupted_goes_on_after_the_blocks_that_it_was_done_with(
    plan: Plan, results: Results, blocks: list[int]
) -> None:
    job = replace(batch(plan, one(plan, "worst-linf")), batch_size=8)  # 30 images: four blocks, and all at radius 0.5
    files = results.attack(model_id(), "all")
    with pytest.raises(KeyboardInterrupt):
        attack.run(job, results)
    attack.run(job, results)
    assert blocks == [8, 8, 0, 8, 6, 30]
    resumed, kept = (files.records.read_bytes(), files.examples.read_bytes()), results.kept(model_id(), "*")
    assert not [path for path in kept if "-" in path.stem], "no block is left beside the whole"
    for path in kept:
        path.unlink()
    attack.run(job, results)
    assert blocks[6:] == [8, 8, 8, 6, 30]
    assert (files.records.read_bytes(), files.examples.read_bytes()) == resumed
    assert results.kept(model_id(), "*") == kept


@pytest.mark.parametrize("change", ["options", "damage"])
@pytest.mark.usefixtures("std")
def test_a_block_of_another_attack_or_a_damaged_one_is_not_used(
    plan: Plan, results: Results, blocks: list[int], change: str
) -> None:
    job = replace(batch(plan, one(plan, "worst-linf")), batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        attack.run(job, results)
    if change == "options":
        (only,) = job.attacks
        job = replace(job, attacks=(replace(only, seed=only.seed + 1),))
    else:
        flip(next(path for path in results.kept(model_id(), "*") if path.name.endswith("-1.parquet")))
    attack.run(job, results)
    assert blocks[3:] == {"options": [8, 8, 8, 6, 30], "damage": [8, 8, 6, 30]}[change]


@pytest.mark.parametrize("kind", [".parquet", ".safetensors", ".json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
@pytest.mark.usefixtures("std")
def test_a_damaged_part_is_not_used(
    plan: Plan, results: Results, ran: list[str], caplog: pytest.LogCaptureFixture, kind: str, damage: str
) -> None:
    job = batch(plan, one(plan, "clean"))
    before = run(job, results).attacks[0]
    (part,) = results.part(model_id(), "*").records.parent.glob(f"*{kind}")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes({"flip": content, "cut": content[: len(content) // 2], "remove": b""}[damage])
    if damage == "remove":
        part.unlink()
    with caplog.at_level(logging.WARNING):
        after = run(job, results).attacks[0]
    assert ran == ["clean", "clean"]
    assert ("is not what was kept there" in caplog.text) == ((kind, damage) != (".json", "remove"))
    pd.testing.assert_frame_equal(before.frame, after.frame)


def test_an_attack_on_a_failed_model_leaves_no_rows_and_the_reason(
    plan: Plan, results: Results, std: dict[str, Any]
) -> None:
    assert std["status"] == "ok"
    say(results.model(model_id()).run, status="failed", reason="loss not finite")
    (only,), preflights = run(batch(plan, one(plan, "pgd40-linf")), results)
    assert only.frame.empty
    assert (only.header.status, only.header.reason) == ("failed", "loss not finite")
    assert preflights == []


@pytest.mark.usefixtures("std")
def test_weights_with_a_flipped_bit_are_not_attacked(plan: Plan, results: Results) -> None:
    flip(results.model(model_id()).weights)
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be used: expected sha256 .*rule train"):
        run(batch(plan, one(plan, "clean")), results)


SUBSTITUTE = Substitute(model_id(seed=1), Net("lenet", "dataset", {}))
BIM = {"attack": "bim", "options": {"steps": 3, "step_size": 0.1}}


def transfer(plan: Plan) -> AttackJob:
    """A transfer from the std model of seed 1, in the normalised space of the study's threat."""
    return replace(one(plan, "pgd40-linf"), members=(Member("pgd40-linf", "transfer", BIM, substitute=SUBSTITUTE),))


@pytest.fixture
def two(plan: Plan, results: Results, std: dict[str, Any]) -> list[dict[str, Any]]:
    """The standard model, and another one of it."""
    return [std, trained(training(plan, seed=1), results)]


def test_a_transfer_starts_from_the_substitute_in_the_space_of_the_threat(
    plan: Plan, results: Results, two: list[dict[str, Any]]
) -> None:
    ((header, frame),), _ = run(batch(plan, transfer(plan)), results)
    assert header.made["substitutes"] == {"minmax/mnist/lenet/std/1": two[1]["model_sha256"]}
    assert header.made["model_sha256"] == two[0]["model_sha256"] != two[1]["model_sha256"]
    assert frame[["forwards", "backwards"]].to_numpy().sum() == 0  # the target was never asked
    # the same points by hand: normalised twice, or not at all, they would be others
    substitute = make_model(SUBSTITUTE.net, "digits", seed=1).eval()
    load_weights(substitute, read_run(results.model(SUBSTITUTE.model).run))
    threat, data = make_threat(header.threat), load_dataset(paths.prepared("digits"))
    index = spread(data.test.y)[:16]
    view = in_space(substitute, threat)
    x, query = view.from_pixels(to_float(data.test.x[index])), Query(view.model, bounds=view.bounds)
    points = bim(query, x, data.test.y[index], norm="linf", eps=0.3, rng=0, steps=3, step_size=0.1)
    examples = load_file(results.attack(model_id(), "all").examples)
    torch.testing.assert_close(examples["pgd40-linf/epsilon-0.3"], view.to_pixels(points), rtol=0, atol=1e-5)
    assert examples["pgd40-linf/sample"].tolist() == index.tolist(), "whose points they are"


@pytest.mark.usefixtures("two")
def test_a_member_may_start_from_a_substitute(plan: Plan, results: Results) -> None:
    members = (Member("blind", "transfer", BIM, substitute=SUBSTITUTE),)
    ((header, frame),), _ = run(batch(plan, replace(one(plan, "worst-linf"), members=members)), results)
    assert header.suite == "quick"
    assert "blind" in set(frame["member"])
    assert header.members == {"blind": {"fn": "transfer", "options": BIM}}
    assert list(header.made["substitutes"]) == ["minmax/mnist/lenet/std/1"]


@pytest.mark.usefixtures("two")
def test_a_failed_substitute_leaves_no_rows_and_the_reason(plan: Plan, results: Results) -> None:
    say(results.model(SUBSTITUTE.model).run, status="failed", reason="loss not finite")
    ((header, frame),), _ = run(batch(plan, transfer(plan)), results)
    assert frame.empty
    assert header.reason == "the substitute minmax/mnist/lenet/std/1 failed: loss not finite"


def test_own_is_the_loss_of_the_defense_with_the_options_it_was_trained_with(
    plan: Plan, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    whose = "minmax-printed"
    constants = {"lam": 1e-4, "mu": 1e-4}
    job = training(plan, whose)
    trained(replace(job, objective=Objective("minmax", job.objective.options | constants)), results)
    say(results.model(model_id(whose)).run, selected_options={"lam": 0.5, "mu": 0.25})
    seen = []

    def loss(self: MinMax, logits: Tensor, y: Tensor) -> Tensor:
        seen.append((self.lam, self.mu))
        return margin(logits, y)

    monkeypatch.setattr(MinMax, "loss", loss)
    pgd, frames = one(plan, "pgd40-linf", whose), {}
    for name in ("own", "margin", "ce"):
        member = replace(pgd.members[0], options=pgd.members[0].options | {"loss": name})
        given = replace(pgd, members=(member,), objective=job.objective)
        frames[name] = run(batch(plan, given, defense=whose), results).attacks[0].frame
    assert set(seen) == {(0.5, 0.25)}
    pd.testing.assert_frame_equal(frames["own"], frames["margin"])
    assert not np.array_equal(frames["own"]["adv_margin"], frames["ce"]["adv_margin"])


@pytest.mark.usefixtures("std")
def test_records_say_what_a_grid_chose(plan: Plan, results: Results) -> None:
    pgd = one(plan, "pgd40-linf")
    member = replace(pgd.members[0], grid={"step_size": [0.001, 0.1]}, options={"steps": 4})
    ((header, frame),), _ = run(batch(plan, replace(pgd, members=(member,))), results)
    assert [(row.epsilon, row.options) for row in header.grid] == [
        (0.3, {"step_size": 0.001}),
        (0.3, {"step_size": 0.1}),
    ]
    (winner,) = [row for row in header.grid if row.chosen]
    assert winner.measures["accuracy"] == pytest.approx(1 - frame["success"].mean())
