"""Every attack against exact optima: linear models with random weights, several classes, and an active box.

Random weights tell the norms apart; uniform ones would not.
"""

from collections.abc import Callable

import pytest
import torch
from attacks.cases import ANY, ANY_IN_BOX, CASES, Optimum
from box_oracle import SHAPES, Linear, case, reach
from crossing import crossed
from scipy.optimize import LinearConstraint, linprog, minimize

from touchstone.attacks import ATTACKS
from touchstone.attacks.cw import cw
from touchstone.attacks.ddn import ddn
from touchstone.attacks.deepfool import deepfool
from touchstone.attacks.pgd import fgsm
from touchstone.losses import misclassified
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.registry import load
from touchstone.types import Bounds

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
            assert reach(w, room, gap, "linf") == reach(w, room, gap, "l1") == float("inf")
            continue
        assert reach(w, room, gap, "linf") == pytest.approx(linear.fun, rel=1e-6)
        # l1: d = up - down, minimise their sum
        room_up, room_down = [b for _, b in walls], [-a for a, _ in walls]
        parts = [(0, r) for r in room_up + room_down]
        linear = linprog([1] * 12, [[*(-w).tolist(), *w.tolist()]], [-gap], bounds=parts)
        assert reach(w, room, gap, "l1") == pytest.approx(linear.fun, rel=1e-6)
        quadratic = minimize(
            lambda d: d @ d,
            [b if v > 0 else a for (a, b), v in zip(walls, w.tolist(), strict=True)],
            jac=lambda d: 2 * d,
            bounds=walls,
            constraints=LinearConstraint(w.numpy(), lb=gap),
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert reach(w, room, gap, "l2") == pytest.approx(quadratic.fun**0.5, rel=1e-4)


def label(attack: Callable, row: Optimum) -> str:
    chosen = (str(row.options[key]) for key in ("loss", "variant") if key in row.options)
    return "-".join([attack.__name__, row.norm, *chosen])


HELD = [(name, optimum) for name, case in CASES.items() if not isinstance(case.optima, str) for optimum in case.optima]
MINIMAL = [(name, optimum) for name, optimum in HELD if name in ATTACKS and ATTACKS[name].kind == "minimal"]
FIXED = [(name, optimum) for name, optimum in HELD if name in ATTACKS and ATTACKS[name].kind == "fixed"]

SEARCH = (cw,)  # takes seconds: a search over a search


def each(rows: list[tuple[str, Optimum]]) -> pytest.MarkDecorator:
    """Run a test with the function of each row's attack."""
    cases = [(load(ATTACKS[name].fn), optimum) for name, optimum in rows]
    return crossed(
        ("attack", "row"),
        cases,
        label=label,
        slow=lambda attack, _: attack in SEARCH,
        shape=SHAPES,
        walls=(True, False),
    )


@each(MINIMAL)
def test_minimal_attack_is_near_the_exact_optimum_in_the_box(
    attack: Callable, row: Optimum, shape: tuple[int, ...], walls: bool
) -> None:
    model, x, y, best = case(shape, row.classes, row.norm, walls=walls)
    x_adv, dist, found = attack(model, x, y, norm=row.norm, rng=0, **row.options)
    assert found.all()
    torch.testing.assert_close(dist, distance(x_adv - x, row.norm), rtol=1e-6, atol=0)
    reached = model(x_adv).argmax(dim=1)
    assert (reached != y).all()
    overall = best.amin(dim=1)
    assert (dist >= LOWEST * overall).all()
    free = row.nearest == ANY_IN_BOX or (row.nearest == ANY and not walls)
    assert (dist <= row.bound * (overall if free else best[torch.arange(len(x)), reached])).all()


@each(FIXED)
def test_fixed_attack_succeeds_just_above_the_exact_optimum_and_never_below(
    attack: Callable, row: Optimum, shape: tuple[int, ...], walls: bool
) -> None:
    model, x, y, best = case(shape, row.classes, row.norm, walls=walls)
    optima = best.amin(dim=1)
    eps, x, y = torch.cat([0.95 * optima, row.bound * optima]), torch.cat([x, x]), torch.cat([y, y])
    x_adv = attack(model, x, y, norm=row.norm, eps=eps, rng=0, **row.options)
    below, above = misclassified(model(x_adv), y).chunk(2)
    assert not below.any()
    if walls and (attack, row.norm) == (fgsm, "l2"):  # its direction cannot make up for what the box cuts off
        assert not above.all()
    else:
        assert above.all()


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if n in ATTACKS and not isinstance(case.optima, str)])
def test_an_attack_is_held_to_an_optimum_in_every_norm(name: str) -> None:
    norms = {optimum.norm for optimum in CASES[name].optima}
    assert norms == set(ATTACKS[name].norms), "each norm of an attack needs an Optimum in its row of cases.py"


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_walls_make_the_optimum_larger(norm: str) -> None:
    """The cases above would not notice an attack that ignored the box if the box were never in the way."""
    model, x, _, best = case((3, 4, 4), 2, norm, walls=True)
    w = (model.weight[0] - model.weight[1]).detach()
    steepness = {"linf": w.abs().sum(), "l2": w.norm(), "l1": w.abs().max()}[norm]
    free = (model(x)[:, 0] - model(x)[:, 1]).abs() / steepness
    longer = best.amin(dim=1) > 1.02 * free
    assert longer.all() if norm != "l1" else longer.sum() >= 5  # in l1 only the steepest coordinates are in the way


@pytest.mark.parametrize(("attack", "norm"), [(cw, "l2"), (ddn, "l2"), (deepfool, "l2"), (deepfool, "linf")])
def test_what_the_box_puts_out_of_reach_is_not_found(attack: Callable, norm: str) -> None:
    model = Linear(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).double(), torch.tensor([4.0, -4.0]).double())
    x, y = torch.tensor([[0.5, 0.5]]).double(), torch.tensor([0])
    options = {"steps": 150, "lr": 0.05, "init_const": 2.0, "binary_steps": 4} if attack is cw else {"steps": 200}
    x_adv, dist, found = attack(model, x, y, norm=norm, rng=0, **options)
    assert (found.tolist(), dist.tolist()) == ([False], [torch.inf])
    assert torch.equal(x_adv, x)
    # without a box it is within reach
    query = Query(model, bounds=Bounds(-torch.inf, torch.inf))
    free = attack(query, x, y, norm=norm, rng=0, **options)
    exact = 10 / 4 if norm == "linf" else 10 / 4 * 2**0.5
    assert exact * LOWEST < free.dist.item() < exact * 1.05
