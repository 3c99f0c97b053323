"""What is set beside a published attack: noise, and twice the steps."""

import json
from typing import Any

import pytest
import torch
from evaluating import PGD, SIZES, STRAIGHT, attack, watch
from tiny_nets import conv, samples

from touchstone.evaluation import probes
from touchstone.evaluation.block import make_block
from touchstone.evaluation.noise import in_ball
from touchstone.rng import SampleRng
from touchstone.threat import Threat


def test_the_probe_doubles_the_steps_of_the_chosen_values(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, threat = watch(monkeypatch), Threat("linf", (0.03, 0.2))
    _, _, info = attack(conv(), threat=threat, options=STRAIGHT, grid={"step_size": SIZES}, probes=True)
    chosen = [row.options["step_size"] for row in info["grid"] if row.chosen]
    assert [options["step_size"] for options in asked[-2:]] == chosen
    assert [options["steps"] for options in asked[-2:]] == [6, 6]


# ---- what is said beside the numbers


def test_what_is_said_beside_the_records_is_plain_data() -> None:
    _, _, info = attack(conv(), threat=Threat("linf", (0.03,)), options=PGD, probes=True)
    assert json.loads(json.dumps(info)) == info
    assert info["flags"] == []


def test_doubled_steps_are_tried_only_when_asked() -> None:
    short = {"steps": 1, "step_size": 0.02, "random_start": False}
    _, _, info = attack(conv(), options=short, threat=Threat("linf", (0.1,)), probes=True)
    assert info["doubled_steps_gain"] > 0.1
    assert [flag["flag"] for flag in info["flags"]] == ["doubled_steps_gain"]
    _, _, info = attack(conv(), options=short)
    assert "doubled_steps_gain" not in info
    _, _, info = attack(conv(), "fgsm", probes=True)
    assert "doubled_steps_gain" not in info


def test_the_probe_doubles_the_default_steps_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = watch(monkeypatch)
    attack(conv(), "bim", threat=Threat("linf", (0.1,)), probes=True)
    assert asked == [{}, {"steps": 20}]
    attack(conv(), "bim", threat=Threat("linf", (0.1,)), probes=True, options={"steps": 3, "step_size": 0.02})
    assert asked[2:] == [{"steps": 3, "step_size": 0.02}, {"steps": 6, "step_size": 0.02}]


def test_the_probe_doubles_the_steps_of_a_wrapped_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, other, threat = watch(monkeypatch), conv(seed=7), Threat("linf", (0.1,))
    attack(conv(), "transfer", threat, probes=True, options={"substitute": other})
    assert asked == [{"substitute": other}, {"substitute": other, "options": {"steps": 80}}]
    options = {"substitute": other, "attack": "bim", "options": {"steps": 3, "step_size": 0.02}}
    attack(conv(), "transfer", threat, probes=True, options=options)
    assert asked[-1] == {**options, "options": {"steps": 6, "step_size": 0.02}}
    del asked[:]
    attack(conv(), "transfer", threat, probes=True, options={"substitute": other, "attack": "fgsm"})
    assert len(asked) == 1


def test_noise_that_beats_the_attack_is_flagged(plant: Any) -> None:
    idle = plant("idle", fn="touchstone.attacks.clean:clean", kind="fixed")
    _, _, info = attack(conv(), idle, Threat("linf", (0.4,)), probes=True)
    assert "noise_stronger" in [flag["flag"] for flag in info["flags"]]


def test_a_sample_that_any_random_point_breaks_counts_as_broken_by_noise() -> None:
    model = conv()
    x, y = samples(model)
    block = make_block(model, x, y, Threat("linf", (0.3,)), 0, 512, None)
    rng, ball = SampleRng(0, torch.arange(40)), {"norm": "linf", "eps": 0.3, "bounds": block.view.bounds}
    with torch.no_grad():
        answers = [model(in_ball(x, rng=rng, draw=draw, **ball)).argmax(1) for draw in range(probes.NOISE_DRAWS)]
    broken = (torch.stack(answers) != y).any(0)
    assert 4 < broken.sum() < 40
    assert torch.equal(probes.noise_columns(block, 0.3)["success"], broken)


def test_accuracy_above_chance_at_half_the_range_is_flagged(plant: Any) -> None:
    idle = plant("idle", fn="touchstone.attacks.clean:clean", kind="fixed")
    _, _, info = attack(conv(), idle, Threat("linf", (0.5,)), probes=True)
    assert "above_chance" in [flag["flag"] for flag in info["flags"]]
