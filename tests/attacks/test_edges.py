"""Models that have broken other implementations: flat, NaN, all-negative, saturated, badly scaled.

Every attack of the table takes part in every test, with the options of its row in cases.py.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from attacks.cases import BITS, CASES, INSIDE, POINTS, SEVERAL, STILL
from box_oracle import Linear, case
from crossing import crossed
from torch import Tensor, nn

from touchstone.attacks import ATTACKS
from touchstone.losses import misclassified
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.registry import load

ROWS = {name: case for name, case in CASES.items() if name in ATTACKS and not isinstance(case.edges, str)}
BUDGETS = {"linf": 0.05, "l2": 0.5, "l1": 2.0, "l0": 3.0}
CELL = ("name", "norm")
CELLS = [(name, norm) for name in ROWS for norm in ATTACKS[name].norms]
EACH = pytest.mark.parametrize(CELL, CELLS)
FIRST_NORM = [(name, ATTACKS[name].norms[0]) for name in ROWS]
# a change of the model that every attack ought not to see: in the fast suite in its first norm
UNSEEN = pytest.mark.parametrize(
    CELL, [pytest.param(*cell, marks=[] if cell in FIRST_NORM else [pytest.mark.slow]) for cell in CELLS]
)


class Wrapped(nn.Module):
    """A model whose logits go through a function of (x, logits)."""

    def __init__(self, model: nn.Module, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.change = model, change

    @property
    def classifier(self) -> nn.Module:
        return self.model.classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.change(x, self.model(x))


def run(name: str, model: nn.Module | Query, x: Tensor, y: Tensor, norm: str, eps: Tensor, **more: Any) -> Tensor:
    budget = {} if ATTACKS[name].kind == "minimal" else {"eps": eps}
    if name == "transfer":
        more["substitute"] = model.model if isinstance(model, Query) else model
    out = load(ATTACKS[name].fn)(model, x, y, norm=norm, rng=0, **budget, **{**ROWS[name].edges, **more})
    return out.x_adv if ATTACKS[name].kind == "minimal" else out


def setting(norm: str, classes: int = 4, factor: float = 1.2) -> tuple[Linear, Tensor, Tensor, Tensor]:
    model, x, y, best = case((3, 4, 4), classes, norm, walls=False, count=6)
    return model, x, y, factor * best.amin(dim=1)


def broken(model: nn.Module, x_adv: Tensor, y: Tensor) -> list[bool]:
    return misclassified(model(x_adv), y).tolist()


def check_same(name: str, a: Tensor, b: Tensor) -> None:
    """Rounding of the logits may move a point, but no further than this; pyautoattack computes in float32."""
    torch.testing.assert_close(a, b, rtol=0, atol=1e-4 if name == "autoattack" else 1e-6)


def check_wins(name: str, model: nn.Module, x: Tensor, y: Tensor, norm: str, eps: Tensor, **options: Any) -> None:
    """All samples are broken, or for the weak attacks the points are at least in ball and box."""
    x_adv = run(name, model, x, y, norm, eps, **options)
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    if ROWS[name].weak:
        assert (distance(x_adv - x, norm) <= eps * (1 + 1e-6)).all()
    else:
        assert all(broken(model, x_adv, y))


@crossed(CELL, CELLS, offset=(-100.0, 100.0))
def test_a_shift_of_all_logits_changes_nothing(name: str, norm: str, offset: float) -> None:
    """An other-class maximum that starts from 0 instead of -inf fails for the negative ones."""
    model, x, y, eps = setting(norm, factor=3.0 if name == "square" and norm != "linf" else 1.2)
    moved = Wrapped(model, lambda _, z: z + offset)
    plain, shifted = run(name, model, x, y, norm, eps), run(name, moved, x, y, norm, eps)
    check_same(name, plain, shifted)
    assert broken(moved, shifted, y) == broken(model, plain, y)
    assert ROWS[name].weak or any(broken(model, plain, y))


@UNSEEN
def test_a_shift_for_each_sample_changes_nothing(name: str, norm: str) -> None:
    if name == "jsma":
        return  # by definition it adds up the gradients of all other classes, each with the slope of the shift
    model, x, y, eps = setting(norm)
    moved = Wrapped(model, lambda x, z: z + 20 * x.flatten(1).sum(dim=1, keepdim=True))
    plain, shifted = run(name, model, x, y, norm, eps), run(name, moved, x, y, norm, eps)
    check_same(name, plain, shifted)
    assert broken(moved, shifted, y) == broken(model, plain, y)


@UNSEEN
def test_renaming_the_classes_changes_nothing(name: str, norm: str) -> None:
    model, x, y, eps = setting(norm)
    order = torch.tensor([2, 0, 3, 1])
    renamed, z = Linear(model.weight.detach()[order], model.bias.detach()[order]), order.argsort()[y]
    plain, other = run(name, model, x, y, norm, eps), run(name, renamed, x, z, norm, eps)
    if not name.startswith("mta"):  # takes the wrong classes in the order of their numbers
        check_same(name, plain, other)
    assert broken(renamed, other, z) == broken(model, plain, y)


@crossed(
    ("name", "norm", "kind", "options"),
    [
        (name, norm, kind, options)
        for name, (kind, options) in [*((n, c.scaled) for n, c in ROWS.items()), ("apgd", (POINTS, {"loss": "dlr"}))]
        if kind in (BITS, POINTS)
        for norm in ATTACKS[name].norms
    ],
    label=lambda name, norm, _, options: "-".join([name, norm, *map(str, options.values())]),
    power=(-10, 10),
)
def test_scaling_the_logits_changes_nothing(
    name: str, norm: str, kind: str, options: dict[str, Any], power: int
) -> None:
    model, x, y, eps = setting(norm)
    scaled = Wrapped(model, lambda _, z: z * 2.0**power)
    plain, other = run(name, model, x, y, norm, eps, **options), run(name, scaled, x, y, norm, eps, **options)
    if kind == BITS or norm != "l1":  # how many values an l1 step changes jumps with the last bit of the loss
        torch.testing.assert_close(other, plain, rtol=0, atol=0 if kind == BITS else 1e-4)
    assert broken(scaled, other, y) == broken(model, plain, y)


@crossed(CELL, CELLS, classes=(2, 3))
def test_few_classes(name: str, norm: str, classes: int) -> None:
    model, x, y, eps = setting(norm, classes, factor=3.0)
    check_wins(name, model, x, y, norm, eps)


@EACH
def test_pixels_at_both_walls_move(name: str, norm: str) -> None:
    torch.manual_seed(3)
    model = Linear(torch.randn(2, 48).double(), torch.zeros(2).double())
    x = torch.rand(8, 3, 4, 4).round().double()
    y = model(x).argmax(dim=1)
    eps = torch.full((8,), {"linf": 0.5, "l2": 4.0, "l1": 24.0, "l0": 8.0}[norm])
    check_wins(name, model, x, y, norm, eps, **({"steps": 800} if name == "cw" else {}))


class Flat(nn.Module):
    """Logits that do not depend on x, but are part of its graph."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(8, 3, dtype=torch.float64)
        self.classifier.bias.data = torch.tensor([1.0, 0.0, 0.0]).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(0 * x.flatten(1))


@EACH
def test_a_flat_model_is_not_fooled_and_nothing_is_nan(name: str, norm: str) -> None:
    x, y = torch.rand(3, 8, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    query = Query(Flat())
    x_adv = run(name, query, x, y, norm, torch.full((3,), 0.1))
    assert x_adv.isfinite().all()
    if STILL in ROWS[name].traits or ATTACKS[name].kind == "minimal":
        assert torch.equal(x_adv, x)
    if SEVERAL in ROWS[name].traits:
        assert ((query.zero_grads > 0) & (query.zero_grads < query.backwards)).all()
    elif query.backwards.any():
        assert torch.equal(query.zero_grads, query.backwards)


@UNSEEN
def test_a_model_without_a_gradient_is_a_flat_one(name: str, norm: str) -> None:
    """Input binarisation cuts the graph: what needs gradients finds none, and does not crash."""
    model, x, y, eps = setting(norm)
    binarised = Linear(model.weight.detach(), model.bias.detach()).requires_grad_(False)
    query = Query(Wrapped(binarised, lambda _, z: z.detach().round()))
    x_adv = run(name, query, x, y, norm, eps)
    assert x_adv.isfinite().all()
    if INSIDE not in ROWS[name].traits:  # features are in front of the cut
        assert torch.equal(query.zero_grads > 0, query.backwards > 0)


def test_ddn_looks_around_where_the_gradient_is_zero() -> None:
    seen = []
    spy = Wrapped(Flat(), lambda x, z: (seen.append(x.detach().clone()), z)[1])
    start = torch.Generator().manual_seed(0)  # others may end in a corner of the box, where there is nowhere to go
    x, y = torch.rand(3, 8, generator=start, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    run("ddn", spy, x, y, "l2", torch.ones(3))
    steps = torch.stack([points for points in seen if len(points) == 3])[2:]
    assert (steps[1:] != steps[:-1]).flatten(1).any(dim=1).all()


GENTLE = {  # with these no attack moves the mean of an image by 0.2
    "ddn": {"init_eps": 0.3, "gamma": 0.01},
    "ead": {"binary_steps": 2},
    "sigma-zero": {"lr": 0.1, "threshold": 0.05},
}


@crossed(CELL, CELLS, also_at_x=(True, False))
def test_nan_logits_fool_nobody_and_stay_in_their_row(name: str, norm: str, also_at_x: bool) -> None:
    """Bright images get NaN, dark ones do not."""
    torch.manual_seed(1)
    x = torch.rand(6, 3, 4, 4).double() * 0.2 + 0.1
    sick = torch.tensor([False, True, False, False, True, False])
    x[sick] += 0.6
    model = Linear(torch.randn(4, 48).double(), torch.zeros(4).double())
    y = model(x).argmax(dim=1)
    eps = torch.full((6,), BUDGETS[norm])

    def poison(z: Tensor, logits: Tensor) -> Tensor:
        rows = z.detach().flatten(1).mean(dim=1) > 0.5
        if not also_at_x:
            rows &= (z.detach()[:, None] != x).flatten(2).any(dim=2).all(dim=1)
        return torch.where(rows[:, None], torch.nan, logits)

    poisoned = Wrapped(model, poison)
    healthy, x_adv = (run(name, net, x, y, norm, eps, **GENTLE.get(name, {})) for net in (model, poisoned))
    if not ATTACKS[name].coupled:
        torch.testing.assert_close(x_adv[~sick], healthy[~sick])
    assert ROWS[name].weak or any(broken(model, healthy, y))
    assert not misclassified(poisoned(x_adv), y)[sick].any()
    assert x_adv.isfinite().all()


@EACH
def test_what_is_misclassified_already_needs_nothing(name: str, norm: str) -> None:
    model, x, y, eps = setting(norm)
    wrong = (y + 1) % 4
    if ATTACKS[name].kind == "minimal":
        options = ROWS[name].edges
        x_adv, dist, found = load(ATTACKS[name].fn)(model, x, wrong, norm=norm, rng=0, **options)
        assert found.all()
        assert not dist.any()
    elif STILL in ROWS[name].traits:
        x_adv = run(name, model, x, wrong, norm, eps, stop="first")
    else:  # starts at random, or asks for a point that is better than x
        assert all(broken(model, run(name, model, x, wrong, norm, 0 * eps, stop="first"), wrong))
        return
    assert torch.equal(x_adv, x)
