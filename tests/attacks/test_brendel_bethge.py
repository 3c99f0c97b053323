"""Brendel & Bethge: what the wrapper adds to Foolbox, and what Foolbox makes of it. See conftest.py on numba."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from box_oracle import Linear, case
from torch import Tensor, nn
from torch.nn.functional import dropout

from touchstone.attacks.brendel_bethge import Sight, Solver, brendel_bethge, starting_points
from touchstone.attacks.contract import prepare
from touchstone.losses import misclassified
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.rng import SampleRng

NORMS = ("linf", "l2", "l1", "l0")


@pytest.mark.parametrize(("norm", "bound"), [("l2", 1.05), ("linf", 1.3)])
def test_it_comes_near_the_exact_optimum_of_the_box(norm: str, bound: float) -> None:
    model, x, y, best = case((8,), 2, norm, walls=True)
    x_adv, dist, found = brendel_bethge(model, x, y, norm=norm, rng=0, steps=60, lr=0.05)
    assert found.all()
    assert misclassified(model(x_adv), y).all()
    optimum = best.amin(dim=1)
    assert (dist >= (1 - 1e-4) * optimum).all()
    assert (dist <= bound * optimum).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_walk_only_improves_on_its_start(norm: str) -> None:
    model, x, y, _ = case((8,), 3, "l2", walls=True)
    short, long = (brendel_bethge(model, x, y, norm=norm, rng=0, steps=n, lr=0.05) for n in (1, 10))
    assert (long.dist <= short.dist + 1e-6).all()
    assert (long.dist < short.dist).any()
    torch.testing.assert_close(long.dist, distance(long.x_adv - x, norm))


def test_a_walk_does_not_depend_on_how_many_others_there_are() -> None:
    """Foolbox alone would give 8 rows a region 8 times as large as it gives one."""
    model, x, y, _ = case((8,), 3, "l2", walls=True)
    options = {"norm": "l2", "steps": 10, "lr": 0.01}
    whole = brendel_bethge(model, x, y, rng=SampleRng(0, torch.arange(8)), **options)
    for row in (0, 5):
        alone = brendel_bethge(
            model, x[row : row + 1], y[row : row + 1], rng=SampleRng(0, torch.tensor([row])), **options
        )
        torch.testing.assert_close(alone.x_adv[0], whole.x_adv[row], rtol=0, atol=1e-5)


def test_passes_are_those_that_foolbox_asks_for() -> None:
    model, x, y, _ = case((8,), 3, "l2", walls=True)
    y = y.clone()
    y[0] = (y[0] + 1) % 3  # misclassified already
    query = Query(model)
    found = brendel_bethge(query, x, y, norm="l2", rng=0, steps=7)
    assert found.dist[0] == 0
    assert query.backwards.tolist() == [0] + [7] * 7
    tries = starts_needed(model, x, y)
    # x, the random images, Foolbox' look at the start, 10 bisections, the steps, and the two candidates
    assert query.forwards.tolist() == [1] + [1 + tries[row] + 1 + 10 + 7 + 2 for row in range(1, 8)]


def starts_needed(model: nn.Module, x: Tensor, y: Tensor) -> list[int]:
    rng = SampleRng(0, torch.arange(len(x)))
    broken = [misclassified(model(rng.uniform((8,), restart=n, dtype=x.dtype)), y) for n in range(100)]
    return (torch.stack(broken).double().argmax(dim=0) + 1).tolist()


class Bright(nn.Module):
    """Class 0, 1 or 2 by the mean: random images, whose mean is near 0.5, are all of class 1."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(1).mean(dim=1)
        return torch.stack([0.2 - mean, 0.2 - (mean - 0.5).abs(), mean - 0.8], dim=1)


def images(*means: float) -> Tensor:
    return torch.stack([torch.full((1, 6, 6), mean, dtype=torch.float64) for mean in means])


def test_starts_are_random_images_else_the_nearest_sample_of_another_class() -> None:
    x, y = images(0.5, 0.1, 0.45, 0.9, 0.95), torch.tensor([1, 0, 1, 2, 2])
    query = Query(Bright())
    task = prepare(query, x, y, norm="l2", norms=("l2",), rng=0)
    logits = query.logits(x)
    assert logits.argmax(dim=1).tolist() == y.tolist()
    rows, points = starting_points(task, torch.arange(5), logits, 10)
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(points[0], x[1])  # 0.1 is as near as 0.9 is not
    assert torch.equal(points[2], x[1])
    assert all(points[row].std() > 0.1 for row in (1, 3, 4))  # noise
    assert query.forwards.tolist() == [1 + 10, 1 + 1, 1 + 10, 1 + 1, 1 + 1]


def test_without_a_start_nothing_is_found() -> None:
    x, y = images(0.5, 0.45), torch.tensor([1, 1])
    x_adv, dist, found = brendel_bethge(Bright(), x, y, norm="l2", rng=0, steps=3, starts=5)
    assert torch.equal(x_adv, x)
    assert dist.tolist() == [torch.inf, torch.inf]
    assert not found.any()


class Poisoned(nn.Module):
    """NaN, in logits and gradients, for dark images of the linear model."""

    def __init__(self, model: Linear, edge: float) -> None:
        super().__init__()
        self.model, self.edge = model, edge

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) + 0 * (x.flatten(1).mean(dim=1, keepdim=True) - self.edge).sqrt()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_nan_on_the_way_stops_nothing(norm: str) -> None:
    model, x, y, _ = case((8,), 3, "l2", walls=False)
    sick = Poisoned(model, float(x.mean()))
    x_adv, _, found = brendel_bethge(sick, x, y, norm=norm, rng=0, steps=15, lr=0.05)
    assert x_adv.isfinite().all()
    assert found.any()
    assert torch.equal(misclassified(sick(x_adv), y), found)


def test_foolbox_sees_float32_without_nan_and_gradients_that_are_finite() -> None:
    model, x, _, _ = case((8,), 3, "l2", walls=False)
    query = Query(Poisoned(model, float(x.mean())), samples=8)
    inputs = x.float().requires_grad_()
    logits = Sight(query, torch.arange(8), x.dtype)(inputs)
    sick = x.mean(dim=1) < x.mean()
    assert 0 < sick.sum() < 8
    assert logits.dtype == torch.float32
    assert not logits[sick].any()
    torch.testing.assert_close(logits[~sick], model(x)[~sick].float())
    logits[:, 0].sum().backward()
    assert inputs.grad.isfinite().all()
    torch.testing.assert_close(inputs.grad[~sick], model.weight[0].float().expand(int((~sick).sum()), -1))
    assert query.backwards.tolist() == [1] * 8


class Stub:
    """A solver that fails in every way there is, one after another."""

    def __init__(self) -> None:
        self.radii: list[float] = []

    def solve(self, _: np.ndarray, x: np.ndarray, *problem: Any) -> np.ndarray:
        self.radii.append(problem[-1])
        number = len(self.radii)
        if number == 1:
            raise np.linalg.LinAlgError("singular")
        if number == 2:
            raise ZeroDivisionError
        return np.full_like(x, np.nan if number == 3 else 1.0)


def test_a_step_without_a_solution_is_left_out() -> None:
    stub, x = Stub(), np.zeros(4)
    solver = Solver(stub, rows=5)
    steps = [solver.solve(x, x, x, 0.0, 1.0, 0.3, 10.0).tolist() for _ in range(4)]
    assert steps == [[0.0] * 4] * 3 + [[1.0] * 4]
    assert solver.failed == 3
    assert stub.radii == [2.0] * 4


def test_a_failing_solver_is_said_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y, _ = case((8,), 3, "l2", walls=True)
    whole, failing = Query(model), Query(model)
    brendel_bethge(whole, x, y, norm="l2", rng=0, steps=3)
    assert whole.flags == set()
    import foolbox.attacks

    def refuse(*_: object) -> None:
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr(foolbox.attacks.brendel_bethge.L2Optimizer, "solve", refuse)
    found = brendel_bethge(failing, x, y, norm="l2", rng=0, steps=3)
    assert failing.flags == {"solver_failed"}
    assert found.found.all()


class Dropped(nn.Module):
    """A net with dropout also in eval mode: it answers anew each time."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(dropout(x.flatten(1), 0.8, training=True))


def test_a_randomised_net_is_said_to_be_one() -> None:
    torch.manual_seed(0)
    query, x = Query(Dropped()), torch.rand(40, 1, 4, 4)
    found = brendel_bethge(query, x, torch.zeros(40, dtype=torch.int64), norm="l2", rng=0, steps=2)
    assert found.x_adv.isfinite().all()
    assert query.flags == {"randomised"}


def test_values_that_came_back_are_those_of_x() -> None:
    model, x, y, _ = case((3, 4, 4), 2, "l0", walls=True)
    x_adv, dist, _ = brendel_bethge(model, x, y, norm="l0", rng=0, steps=10, lr=0.2)
    moved = (x_adv - x).abs()
    assert (moved[moved > 0] > 1e-6).all()
    assert (moved == 0).any()
    assert dist.min() < 16


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y, _ = case((8,), 3, "l2", walls=True)
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(ModuleNotFoundError, match=r"foolbox.*pip install 'touchstone-robustness\[wrapped\]'"):
        brendel_bethge(model, x, y, norm="l2", rng=0)


COMPILED = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from box_oracle import case
from touchstone.attacks.brendel_bethge import brendel_bethge
model, x, y, _ = case((8,), 3, "l2", walls=True)
dist = [brendel_bethge(model, x, y, norm=n, rng=0, steps=20, lr=0.05).dist.tolist() for n in sys.argv[2:]]
print(dist)
"""


@pytest.mark.slow
def test_compiled_solvers_walk_as_the_plain_ones_do(request: pytest.FixtureRequest) -> None:
    arguments = [sys.executable, "-c", COMPILED, str(request.path.parent), *NORMS]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    model, x, y, _ = case((8,), 3, "l2", walls=True)
    for norm, dist in zip(NORMS, json.loads(done.stdout), strict=True):
        ours = brendel_bethge(model, x, y, norm=norm, rng=0, steps=20, lr=0.05).dist
        torch.testing.assert_close(torch.tensor(dist, dtype=torch.float64), ours, rtol=0.05, atol=1e-3)
