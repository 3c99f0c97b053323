"""Every attack against exact optima: linear models with random weights, several classes, and an active box.

Random weights tell the norms apart; uniform ones would not.
"""

import pytest
import torch
from box_oracle import SHAPES, case, optimum, reach
from scipy.optimize import linprog, minimize

from touchstone.attacks.cw import cw
from touchstone.attacks.ddn import ddn
from touchstone.attacks.deepfool import deepfool
from touchstone.attacks.mim import mim
from touchstone.attacks.pgd import bim, fgsm, pgd
from touchstone.attacks.square import square
from touchstone.norms import distance

LOWEST = 1 - 1e-4


def test_oracle_agrees_with_a_linear_and_a_quadratic_program() -> None:
    torch.manual_seed(5)
    for _ in range(5):
        w, room, gap = torch.randn(6).double(), torch.rand(6).double(), 0.7
        walls = [(0, r) if v > 0 else (-r, 0) for v, r in zip(w.tolist(), room.tolist(), strict=True)]
        # linf: minimise t subject to <w, d> >= gap, |d_i| <= t, d in the box
        rows = [[*(-w).tolist(), 0.0]]
        for i in range(6):
            unit = [0.0] * 6
            unit[i] = 1.0
            rows += [[*unit, -1.0], [*(-v for v in unit), -1.0]]
        linear = linprog([0] * 6 + [1], rows, [-gap] + [0] * 12, bounds=[*walls, (0, None)])
        if linear.status == 2:
            assert reach(w, room, gap, "linf") == float("inf")
            continue
        assert reach(w, room, gap, "linf") == pytest.approx(linear.fun, rel=1e-6)
        quadratic = minimize(
            lambda d: d @ d,
            [b if v > 0 else a for (a, b), v in zip(walls, w.tolist(), strict=True)],
            jac=lambda d: 2 * d,
            bounds=walls,
            constraints={"type": "ineq", "fun": lambda d, w=w.numpy(): w @ d - gap},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert reach(w, room, gap, "l2") == pytest.approx(quadratic.fun**0.5, rel=1e-4)


# The classes-wise optimum is what C&W and DDN can be held to: their losses pick a class by logit, not by distance.
MINIMAL = [
    pytest.param(cw, "l2", {"steps": 400, "lr": 0.02, "abort_early": False}, 1.05, id="cw-l2"),
    pytest.param(ddn, "l2", {"steps": 300, "init_eps": 0.3}, 1.05, id="ddn-l2"),
]


@pytest.mark.parametrize("walls", [True, False], ids=["walls", "free"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(("attack", "norm", "options", "bound"), MINIMAL)
def test_minimal(attack, norm, options, bound, classes, shape, walls) -> None:
    model, x, y, best = case(shape, classes, norm, walls=walls)
    x_adv, dist, found = attack(model, x, y, norm=norm, rng=0, **options)
    possible = best.amin(dim=1).isfinite()
    print(found, possible)
    ratio_all = dist / best.amin(dim=1)
    reached = model(x_adv).argmax(dim=1)
    ratio = dist / best[torch.arange(len(x)), reached]
    print("overall", ratio_all.tolist(), "\nclass", ratio.tolist())
    assert (ratio_all[possible] >= LOWEST).all()
    assert (ratio[possible] <= bound).all()


@pytest.mark.parametrize("walls", [True, False], ids=["walls", "free"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("classes", [2, 4])
def test_deepfool(norm, classes, shape, walls) -> None:
    model, x, y, best = case(shape, classes, norm, walls=walls)
    x_adv, dist, found = deepfool(model, x, y, norm=norm, rng=0)
    ratio = dist / best.amin(dim=1)
    print(ratio)
    assert (ratio >= LOWEST).all()
    assert (ratio <= (1.6 if walls else 1.03)).all()
