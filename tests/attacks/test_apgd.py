"""APGD against the published algorithm one image at a time."""

import pytest
import torch
from torch import Tensor, nn

from touchstone.attacks.apgd import Climb, apgd, apgd_t, checkpoints, halved, sparse_direction
from touchstone.attacks.balls import in_unit_ball
from touchstone.losses import misclassified, pick
from touchstone.query import Query
from touchstone.rng import SampleRng
from touchstone.types import Bounds


def setting(count: int = 12, classes: int = 5) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, classes)).double()
    model[1].weight.data *= 3
    x = torch.rand(count, 3, 2, 2, dtype=torch.float64)
    x[:, 0] = x[:, 0].round()
    model[3].bias.data -= model(x).mean(dim=0)
    return model, x, model(x).argmax(dim=1)


def inside(z: Tensor, x: Tensor, eps: float, norm: str) -> Tensor:
    delta = z.clamp(0, 1) - x
    if norm == "linf":
        return x + delta.clamp(-eps, eps)
    return x + delta * min(1.0, eps / max(float(delta.norm()), 1e-30))


def plain_apgd(model: nn.Module, x: Tensor, y: int, start: Tensor, *, norm: str, eps: float, loss: str, steps: int):  # noqa: ANN201
    """Croce and Hein (2020), alg. 1, on one image; returns every iterate with its loss."""

    def look(z: Tensor) -> tuple[float, Tensor]:
        z = z.clone().requires_grad_()
        value = pick(loss)(model(z[None]), torch.tensor([y]))
        return float(value.detach()), torch.autograd.grad(value.sum(), z)[0]

    def ahead(z: Tensor, grad: Tensor, eta: float) -> Tensor:
        return inside(z + eta * (grad.sign() if norm == "linf" else grad / grad.norm()), x, eps, norm)

    share, width, marks = 0.22, 0.22, [0]
    while share <= 1 + 1e-9:
        marks.append(int(-(-round(share * steps, 6) // 1)))
        width = max(width - 0.03, 0.06)
        share += width
    eta, previous, z = 2 * eps, None, start
    path, values = [], []
    best_value, best, best_grad, at_mark, kept = -torch.inf, start, None, None, True
    for k in range(steps + 1):
        value, grad = look(z)
        path.append(z)
        values.append(value)
        if value > best_value:
            best_value, best, best_grad = value, z, grad
        if k in marks[1:]:
            before = marks[marks.index(k) - 1]
            rises = sum(values[i + 1] > values[i] for i in range(before, k))
            halve = rises < 0.75 * (k - before) or (kept and at_mark == best_value)
            kept, at_mark = not halve, best_value
            if halve:
                eta, z, grad = eta / 2, best, best_grad
        step = ahead(z, grad, eta)
        if previous is not None:
            step = inside(z + 0.75 * (step - z) + 0.25 * (z - previous), x, eps, norm)
        previous, z = z, step
    return path, values


def test_checkpoints_are_those_of_the_paper() -> None:
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(checkpoints(100).values()) == [0, 22, 41, 57, 70, 80, 87, 93]
    assert list(checkpoints(20)) == [5, 9, 12, 14, 16, 18, 19, 20]
    assert list(checkpoints(1)) == [1]


def test_a_step_is_halved_where_the_loss_oscillates_or_is_stuck_at_an_unchanged_step() -> None:
    empty = torch.zeros(5, 0)
    now = Climb(*[empty] * len(Climb._fields))._replace(
        rises=torch.tensor([14, 15, 20, 20, 20]),  # of 20 steps
        top=torch.tensor([2.0, 2.0, 2.0, 2.0, 3.0]),
        then=torch.tensor([1.0, 1.0, 2.0, 2.0, 2.0]),
        kept=torch.tensor([True, True, True, False, True]),
        step=torch.ones(5),
    )
    assert halved(now, 20).tolist() == [True, False, True, False, False]
    assert now.step.tolist() == [0.5, 1.0, 0.5, 1.0, 1.0]
    assert now.kept.tolist() == [False, True, False, True, True]
    assert torch.equal(now.then, now.top)
    assert not now.rises.any()


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.08), ("l2", 0.25)])
def test_apgd_is_the_published_algorithm_row_by_row(norm: str, eps: float, loss: str) -> None:
    model, x, y = setting()
    offset = in_unit_ball(SampleRng(0, torch.arange(len(x))), x, norm, restart=0)
    ours = apgd(model, x, y, norm=norm, eps=eps, rng=0, steps=40, loss=loss)
    won = misclassified(model(ours), y)
    for row in range(len(x)):
        start = (x[row] + eps * offset[row]).clamp(0, 1)
        path, values = plain_apgd(model, x[row], int(y[row]), start, norm=norm, eps=eps, loss=loss, steps=40)
        hits = misclassified(model(torch.stack(path)), y[row].expand(41)).tolist()
        assert won[row] == any(hits)
        allowed = [k for k in range(41) if hits[k] or not any(hits)]
        best = max(allowed, key=lambda k: values[k])
        assert pick(loss)(model(ours[row : row + 1]), y[row : row + 1]).item() == pytest.approx(values[best], abs=1e-9)
        torch.testing.assert_close(ours[row], path[best], rtol=0, atol=1e-7)
    assert 0 < int(won.sum()) < len(x)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_stop_first_asks_no_more_and_breaks_the_same(norm: str) -> None:
    model, x, y = setting(40)
    eps = {"linf": 0.08, "l2": 0.25, "l1": 0.5}[norm]
    hasty, patient = Query(model, batch_size=11), Query(model)
    first = apgd(hasty, x, y, norm=norm, eps=eps, rng=0, steps=20, stop="first")
    never = apgd(patient, x, y, norm=norm, eps=eps, rng=0, steps=20)
    assert torch.equal(misclassified(model(first), y), misclassified(model(never), y))
    stages = 3 if norm == "l1" else 1
    assert patient.backwards.tolist() == [20] * 40
    assert patient.forwards.tolist() == [20 + stages] * 40
    won = misclassified(model(first), y)
    assert 0 < won.sum() < 40
    assert (hasty.backwards[~won] == 20).all()
    assert (hasty.backwards[won] < 20).any()
    assert len(hasty.forwards[won].unique()) > 1


def test_restarts_run_on_what_is_left() -> None:
    model, x, y = setting(60)
    model[1].weight.data *= 10  # curved, so that it matters where one starts
    y = model(x).argmax(dim=1)
    rng, options = SampleRng(3, torch.arange(60)), {"norm": "linf", "eps": 0.05, "steps": 1, "stop": "first"}
    query = Query(model)
    ours = apgd(query, x, y, rng=rng, restarts=4, **options)
    won = misclassified(model(ours), y)
    left = torch.arange(60)
    for restart in range(4):
        z = apgd(model, x[left], y[left], rng=rng.at(left).shifted(restart), **options)
        fooled = misclassified(model(z), y[left])
        torch.testing.assert_close(ours[left[fooled]], z[fooled], rtol=0, atol=1e-12)
        assert (query.restarts[left[fooled]] == restart).all()
        left = left[~fooled]
    assert (query.restarts[left] == 3).all()
    assert torch.equal(won.nonzero().flatten().sort().values, (~torch.isin(torch.arange(60), left)).nonzero().flatten())
    assert len(query.restarts[won].unique()) > 1


def test_sparse_direction_takes_the_largest_entries() -> None:
    grad = torch.tensor([[3.0, -4.0, 1.0, 2.0], [0.0, 0.0, 0.0, 0.0], [1.0, torch.nan, -2.0, 2.0]])
    direction = sparse_direction(grad, torch.tensor([3, 3, 1]))  # 3 / 1.5 = 2 entries, and at least one; a tie adds one
    assert direction.tolist() == [[0.5, -0.5, 0.0, 0.0], [0.0] * 4, [0.0, 0.0, -0.5, 0.5]]


class Toward(nn.Module):
    """Three logits: class 1 leads among the others at x but cannot win, class 2 can."""

    def forward(self, x: Tensor) -> Tensor:
        first = x.flatten(1)[:, 0]
        return torch.stack([0 * first, 0 * first - 0.5, first - 1.0, 0 * first - 2, 0 * first - 3], dim=1)


def test_targets_are_tried_from_the_likeliest_on() -> None:
    x, y = torch.full((1, 4), 0.2).double(), torch.tensor([0])
    model = Toward()
    for targets, won in ((1, False), (2, True)):
        query = Query(model, bounds=Bounds(0.0, 2.0))
        x_adv = apgd_t(query, x, y, norm="linf", eps=1.0, rng=0, steps=10, targets=targets, stop="first")
        assert misclassified(model(x_adv), y).item() == won
        assert query.restarts.tolist() == [targets - 1]
        assert not query.flags


@pytest.mark.parametrize("classes", [2, 3])
def test_with_few_classes_the_margin_replaces_dlr_and_a_flag_says_so(classes: int) -> None:
    model, x, y = setting(classes=classes)
    query = Query(model)
    x_adv = apgd_t(query, x, y, norm="l2", eps=2.0, rng=0, steps=20)
    assert misclassified(model(x_adv), y).all()
    assert query.flags == {"margin_instead_of_dlr"}


def test_apgd_t_breaks_what_each_of_its_targets_breaks() -> None:
    model, x, y = setting(60)
    options = {"norm": "linf", "eps": 0.05, "rng": 0, "steps": 20}
    counts = [int(misclassified(model(apgd_t(model, x, y, targets=k, **options)), y).sum()) for k in (1, 2, 9)]
    assert counts == sorted(counts)
    assert counts[0] > 0


def test_a_step_in_l1_is_longer_than_the_ball_only_before_the_last_stage() -> None:
    """The loss is linear, so every stage ends on its sphere; the last one is the radius that was asked for."""
    seen = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach().clone())
            value = x.flatten(1) @ torch.arange(1.0, 9.0, dtype=x.dtype)
            return torch.stack([0 * value + 1e3, value], dim=1)

    x, y = torch.full((1, 8), 0.5).double(), torch.tensor([0])
    x_adv = apgd(Spy(), x, y, norm="l1", eps=0.4, rng=0, steps=20, loss="margin")
    reach = [float((z - x).abs().sum()) for z in seen[1:]]
    ends = [6, 13, 22]  # 6, 6 and 8 steps, and one more look each
    assert [reach[k] for k in ends] == pytest.approx([1.2, 0.8, 0.4])
    assert float((x_adv - x).abs().sum()) == pytest.approx(0.4)
