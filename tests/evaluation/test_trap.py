"""The trap: a net trained by cross-entropy until float32 loses 1 - p_y looks robust, and is not."""

from typing import Any

import pytest
from digit_nets import held_out, saturated, trained

from touchstone.evaluation import loop
from touchstone.losses import margin
from touchstone.models.net import Net
from touchstone.threat import Threat

COUNT = 150
PGD = {"steps": 40, "step_size": 0.01}
LINF = Threat("linf", (0.2,))
SUITE = [
    {"slug": "pgd-ce", "fn": "pgd", "options": {**PGD, "loss": "ce"}},
    {"slug": "pgd-ce64", "fn": "pgd", "options": {**PGD, "loss": "ce64"}},
    {"slug": "pgd-margin", "fn": "pgd", "options": {**PGD, "loss": "margin"}},
    {"slug": "apgd-dlr", "fn": "apgd", "options": {"steps": 40, "loss": "dlr"}},
    {"slug": "square", "fn": "square", "options": {"queries": 100}},
]


def attack(model: Net, fn: str, options: dict[str, Any], **more: Any) -> loop.Result:
    x, y = held_out(COUNT)
    values = {"protocol": "published", "seed": 0, "batch_size": 512, "checks": False, **more}
    return loop.run(model, x, y, spec_name=fn, options=options, threat=LINF, **values)


def kept(model: Net, fn: str, options: dict[str, Any], **more: Any) -> float:
    """Return the accuracy under an attack or a suite."""
    table = attack(model, fn, options, **more)[0]
    return 1 - float(table.groupby("sample")["success"].any().mean())


@pytest.fixture(scope="module")
def fooled() -> loop.Result:
    """PGD on float32 cross-entropy, which leaves a sound net nothing, on the saturated net."""
    return attack(saturated(), "pgd", {**PGD, "loss": "ce"}, checks=True)


@pytest.fixture(scope="module")
def masked(fooled: loop.Result) -> float:
    """Accuracy that it reports."""
    return 1 - float(fooled[0]["success"].mean())


def test_the_net_is_a_good_one_whose_softmax_is_one() -> None:
    x, y = held_out(COUNT)
    logits = saturated()(x)
    gap = -margin(logits, y)
    assert (gap > 0).float().mean() > 0.85
    assert (gap > 17).float().mean() > 0.6
    gone = 1 - logits.softmax(1).gather(1, y[:, None]).squeeze(1) == 0
    assert gone.float().mean() > 0.6
    assert kept(trained(), "clean", {}) > 0.85


def test_it_looks_robust_where_a_sound_net_does_not(masked: float) -> None:
    assert masked > 0.08
    assert kept(trained(), "pgd", {**PGD, "loss": "ce"}) < 0.04


@pytest.mark.parametrize("member", SUITE[1:4], ids=lambda member: member["slug"])
def test_a_loss_that_does_not_vanish_sees_through_it(member: dict, masked: float) -> None:
    """With DLR the last iterate of plain sign steps proves little (it keeps up to a fifth): there it takes APGD."""
    assert kept(saturated(), member["fn"], member["options"]) < min(0.06, masked / 2)


def test_the_worst_case_suite_is_not_misled() -> None:
    assert kept(saturated(), "cascade", {"members": SUITE}, protocol="worst") < 0.03


def test_the_check_before_and_the_flags_say_so(fooled: loop.Result) -> None:
    _, _, info = fooled
    measured, flagged = info["preflight"], {flag["flag"] for flag in info["flags"]}
    assert measured["saturated_x"] > 0.5
    assert measured["tiny_gradient_ce_x"] > 0.15
    assert measured["sign_disagreement_ce_x"] > 0.05
    assert measured["sign_disagreement_margin_x"] < 0.01
    assert {"saturated", "tiny_gradient_ce", "sign_disagreement_ce"} <= flagged
    assert not {name for name in flagged if name.endswith("_margin")}
    _, _, sound = attack(trained(), "pgd", {**PGD, "loss": "ce"}, checks=True)
    assert not {flag["flag"] for flag in sound["flags"]} & {"saturated", "tiny_gradient_ce", "sign_disagreement_ce"}
