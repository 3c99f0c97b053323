"""Our attacks beside those of independent libraries, on one trained net and from one start.

Steps that are fully determined are compared value by value in float64; searches by success and median norm. What is
known to be wrong in a library is not asked for: torchattacks' CW, APGD and AutoAttack, adversarial-library's targeted
APGD, cleverhans' SPSA. The libraries come with the extra `bench`; without it these tests are skipped.
"""

import copy
import sys
import types
import warnings
from functools import cache
from typing import Any

import pytest
import torch
from digit_nets import held_out, trained
from torch import Tensor, nn

from touchstone.attacks.apgd import apgd
from touchstone.attacks.balls import in_ball
from touchstone.attacks.cw import cw
from touchstone.attacks.ddn import ddn
from touchstone.attacks.deepfool import deepfool
from touchstone.attacks.ead import ead
from touchstone.attacks.fab import fab
from touchstone.attacks.pgd import bim, fgsm, pgd
from touchstone.attacks.primal_dual import pdgd, pdpgd
from touchstone.attacks.sigma_zero import sigma_zero
from touchstone.attacks.square import square
from touchstone.losses import misclassified
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.rng import SampleRng
from touchstone.types import UNIT

COUNT = 20
P = {"linf": float("inf"), "l2": 2, "l1": 1}


def peer(name: str) -> Any:
    """Import a library, or skip: some of them warn on import, and one wants a plotting package it does not use."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        if "visdom" not in sys.modules:
            patch.setitem(sys.modules, "visdom", types.ModuleType("visdom"))
        return pytest.importorskip(name, reason=f"needs {name} of the extra 'bench'")


@cache
def setting() -> tuple[nn.Module, Tensor, Tensor]:
    """A float64 copy of the net, and images that it gets right."""
    model = copy.deepcopy(trained()).double()
    x, y = held_out(2 * COUNT)
    x = x.double()
    right = ~misclassified(model(x), y)
    return model, x[right][:COUNT], y[right][:COUNT]


def grey() -> tuple[nn.Module, Tensor, Tensor]:
    """Images half-way to grey, where no step meets a wall, with noise: even areas leave a max-pool a choice."""
    model, x, _ = setting()
    x = 0.3 + 0.4 * x + SampleRng(0, torch.arange(len(x))).uniform((1, 28, 28), dtype=x.dtype) / 100
    return model, x, model(x).argmax(dim=1)


def foolbox_run(attack: Any, model: nn.Module, x: Tensor, y: Tensor, eps: float | None) -> Tensor:
    foolbox = peer("foolbox")
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return attack.run(wrapped, x, y) if eps is None else attack.run(wrapped, x, y, epsilon=eps)


@pytest.mark.parametrize(("norm", "eps", "theirs"), [("linf", 0.1, "LinfFast"), ("l2", 1.0, "L2Fast")])
def test_fgsm_is_foolboxs_to_the_last_value(norm: str, eps: float, theirs: str) -> None:
    model, x, y = setting()
    attack = getattr(peer("foolbox").attacks, f"{theirs}GradientAttack")()
    other = foolbox_run(attack, model, x, y, eps)
    torch.testing.assert_close(fgsm(model, x, y, norm=norm, eps=eps, rng=0), other, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("norm", "eps", "step"), [("linf", 0.1, 0.02), ("l2", 0.25, 0.05)])
def test_bim_is_foolboxs_to_the_last_value(norm: str, eps: float, step: float) -> None:
    """For l2 Foolbox goes to the ball before the box and we after; away from the walls that is the same."""
    model, x, y = setting() if norm == "linf" else grey()
    name = {"linf": "Linf", "l2": "L2"}[norm]
    attack = getattr(peer("foolbox").attacks, f"{name}BasicIterativeAttack")(abs_stepsize=step, steps=12)
    other = foolbox_run(attack, model, x, y, eps)
    ours = bim(model, x, y, norm=norm, eps=eps, rng=0, steps=12, step_size=step)
    check_equal(ours, other)


@pytest.mark.parametrize(("norm", "eps", "step"), [("linf", 0.1, 0.01), ("l2", 0.25, 0.05)])
def test_pgd_from_the_same_start_is_foolboxs_to_the_last_value(norm: str, eps: float, step: float) -> None:
    model, x, y = setting() if norm == "linf" else grey()
    rng = SampleRng(3, torch.arange(len(x)))
    start = in_ball(x, norm=norm, eps=eps, bounds=UNIT, rng=rng)
    name = {"linf": "Linf", "l2": "L2"}[norm]
    attack = getattr(peer("foolbox").attacks, f"{name}ProjectedGradientDescentAttack")(abs_stepsize=step, steps=15)
    attack.get_random_start = lambda x0, _: type(x0)(start.clone())
    other = foolbox_run(attack, model, x, y, eps)
    ours = pgd(model, x, y, norm=norm, eps=eps, rng=rng, steps=15, step_size=step)
    check_equal(ours, other)
    assert (ours - start).abs().amax() > 0.01


def test_bim_is_that_of_two_more_libraries() -> None:
    model, x, y = setting()
    ours = bim(model, x, y, norm="linf", eps=0.1, rng=0, steps=10, step_size=0.02)
    theirs = peer("torchattacks").PGD(model, eps=0.1, alpha=0.02, steps=10, random_start=False)(x, y)
    check_equal(ours, theirs)
    # adversarial-library keeps the first misclassified iterate, and x where there is none
    first = bim(model, x, y, norm="linf", eps=0.1, rng=0, steps=10, step_size=0.02, stop="first")
    library = peer("adv_lib.attacks")
    kept = library.pgd_linf(model, x, y, 0.1, steps=10, random_init=False, absolute_step_size=0.02)
    broken = misclassified(model(kept), y)
    assert broken.sum() > 0
    assert torch.equal(misclassified(model(first), y), broken)


def check_equal(a: Tensor, b: Tensor) -> None:
    """Equal to the last value, except where rounding decides the sign of a vanishing gradient: one value in 2000."""
    assert ((a - b).abs() > 1e-9).double().mean() < 1 / 2000


def advlib(name: str, **options: Any) -> Tensor:
    model, x, y = single() if name == "fab" else setting()  # its FAB mixes in float32 whatever it gets
    return getattr(peer("adv_lib.attacks"), name)(model, x, y, **options)


def foolbox_ead(_: None, **options: Any) -> Tensor:
    attack = peer("foolbox").attacks.EADAttack(**options)
    return foolbox_run(attack, *setting(), None)


CW = {"steps": 60, "lr": 0.05, "binary_steps": 3, "init_const": 1.0}
CW_PEER = {"max_iterations": 60, "learning_rate": 0.05, "binary_search_steps": 3, "initial_const": 1.0}
EAD = {"steps": 60, "lr": 0.02, "binary_steps": 3, "init_const": 1.0, "beta": 0.01}
EAD_PEER = {
    "steps": 60,
    "initial_stepsize": 0.02,
    "binary_search_steps": 3,
    "initial_const": 1.0,
    "regularization": 0.01,
    "decision_rule": "L1",
    "abort_early": False,
}
# ours, norm, options, theirs, options, how far the median norms may lie apart: (ours at most, theirs at most).
# FAB ends nearer, since its last search goes on where theirs stops.
SEARCHES = [
    (deepfool, "linf", {}, advlib, "df", {"norm": float("inf")}, (1.01, 1.01)),
    (deepfool, "l2", {}, advlib, "df", {"norm": 2}, (1.01, 1.01)),
    (cw, "l2", CW, advlib, "carlini_wagner_l2", CW_PEER, (1.01, 1.01)),
    (ddn, "l2", {"steps": 100}, advlib, "ddn", {"steps": 100, "levels": None}, (1.01, 1.01)),
    (fab, "linf", {"steps": 20}, advlib, "fab", {"norm": float("inf"), "n_iter": 20}, (1.01, 1.02)),
    (fab, "l2", {"steps": 20}, advlib, "fab", {"norm": 2, "n_iter": 20}, (1.01, 1.02)),
    (fab, "l1", {"steps": 20}, advlib, "fab", {"norm": 1, "n_iter": 20}, (1.01, 1.02)),
    pytest.param(
        (ead, "l1", {**EAD, "abort_early": False}, foolbox_ead, None, EAD_PEER, (1.01, 1.01)),
        marks=pytest.mark.slow,
        id="ead-l1",
    ),
]


def name_of(row: tuple) -> str:
    return f"{row[0].__name__}-{row[1]}"


@pytest.mark.slow
@pytest.mark.parametrize("row", SEARCHES, ids=name_of)
def test_norms_are_those_of_an_independent_library(row: tuple) -> None:
    attack, norm, options, theirs, name, more, (most, least) = row
    model, x, y = single() if attack is fab else setting()
    other = theirs(name, **more)
    found = attack(Query(model), x, y, norm=norm, rng=0, **options)
    reached = misclassified(model(other.detach()), y)
    assert found.found.sum() >= reached.sum()
    both = found.found & reached
    assert both.sum() > 0.8 * len(x)
    ratio = (found.dist[both].median() / distance(other[both] - x[both], norm).median()).item()
    assert 1 / least <= ratio <= most


@pytest.mark.slow
@pytest.mark.parametrize("norm", list(P))
def test_fab_ends_no_farther_than_the_authors_on_any_sample(norm: str) -> None:
    """It once walked to the boundary itself, where what counted as misclassified lay a little beyond."""
    model, x, y = single()
    found = fab(Query(model), x, y, norm=norm, rng=0, steps=20)
    theirs = advlib("fab", norm=P[norm], n_iter=20)
    assert found.found.all()
    assert (found.dist / distance(theirs - x, norm)).max() < 1.003  # 1.0005 to 1.0012, by the CPU


def single() -> tuple[nn.Module, Tensor, Tensor]:
    """The same in float32, which is all that the authors' code takes."""
    _, x, y = setting()
    return trained(), x.float(), y


def kept(model: nn.Module, points: Tensor, y: Tensor) -> float:
    return 1 - misclassified(model(points), y).double().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.06), ("l2", 1.0), ("l1", 8.0)])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_apgd_leaves_what_the_authors_code_leaves(norm: str, eps: float, loss: str) -> None:
    model, x, y = single()
    base = peer("pyautoattack.autopgd_base")
    options = {"n_iter": 50, "norm": norm.capitalize(), "n_restarts": 1, "eps": eps, "seed": 0, "loss": loss}
    theirs = base.APGDAttack(model, eot_iter=1, rho=0.75, device="cpu", **options).perturb(x, y)
    ours = apgd(model, x, y, norm=norm, eps=eps, rng=0, steps=50, loss=loss)
    assert abs(kept(model, ours, y) - kept(model, theirs, y)) <= 3.5 / COUNT


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 2.0), ("l1", 24.0)])
def test_square_leaves_what_the_authors_code_leaves(norm: str, eps: float) -> None:
    model, x, y = single()
    attack = peer("pyautoattack.square").SquareAttack
    theirs = attack(model, norm=norm.capitalize(), eps=eps, n_queries=300, seed=0, device="cpu").perturb(x, y)
    ours = square(model, x, y, norm=norm, eps=eps, rng=0, queries=300)
    assert abs(kept(model, ours, y) - kept(model, theirs, y)) <= 4.5 / COUNT


@pytest.mark.slow
def test_sigma_zero_finds_what_the_library_finds() -> None:
    """Which tests no last iterate; with one channel a pixel is a value."""
    model, x, y = setting()
    theirs = distance(advlib("sigma_zero", num_steps=100) - x, "l0")
    ours = sigma_zero(model, x, y, norm="l0", rng=0, steps=100)
    assert ours.found.all()
    assert (ours.dist <= theirs).all()
    assert (ours.dist == theirs).double().mean() > 0.8


GAMES = [
    (pdgd, "l2", {}, "pdgd", {"num_steps": 200}),
    (pdpgd, "linf", {}, "pdpgd", {"num_steps": 200, "norm": float("inf")}),
    (pdpgd, "l1", {}, "pdpgd", {"num_steps": 200, "norm": 1}),
    (pdpgd, "l0", {}, "pdpgd", {"num_steps": 200, "norm": 0}),
]


@pytest.mark.slow
@pytest.mark.parametrize("row", GAMES, ids=name_of)
def test_primal_dual_attacks_are_no_worse_at_equal_passes(row: tuple) -> None:
    """Without fine-tuning, which the library has not."""
    attack, norm, options, name, more = row
    model, x, y = setting()
    theirs = distance(advlib(name, **more) - x, norm)
    ours = attack(model, x, y, norm=norm, rng=0, steps=200, finetune=False, **options)
    assert ours.found.all()
    assert ours.dist.median() <= 1.1 * theirs.median()
