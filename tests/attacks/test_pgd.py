from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from touchstone.attacks.mim import mim
from touchstone.attacks.pgd import bim, fgsm, pgd
from touchstone.losses import misclassified
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.rng import SampleRng
from touchstone.types import Bounds


def setting(count: int = 12) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    x = torch.rand(count, 3, 2, 2, dtype=torch.float64)
    x[:, 0] = x[:, 0].round()
    logits = model(x)
    model[3].bias.data -= logits.mean(dim=0)
    return model, x, model(x).argmax(dim=1)


def reference(
    model: nn.Module, x: Tensor, y: int, *, norm: str, eps: float, step_size: float, steps: int, decay: float | None
) -> Tensor:
    """What advertorch does to one image (C, H, W), written down again: BIM, or MIM with a decay."""
    delta, momentum = torch.zeros_like(x), torch.zeros_like(x)
    for _ in range(steps):
        z = (x + delta).requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(model(z[None]), torch.tensor([y])), z)
        if decay is not None:
            momentum = decay * momentum + grad / grad.abs().sum()
            grad = momentum
        if norm == "linf":
            delta = (delta + step_size * grad.sign()).clamp(-eps, eps)
            delta = (x + delta).clamp(0, 1) - x
        else:
            delta = (x + delta + step_size * grad / grad.norm()).clamp(0, 1) - x
            delta = delta * min(1.0, eps / float(delta.norm()))
    return x + delta


@pytest.mark.parametrize(
    ("attack", "norm", "decay"), [(bim, "linf", None), (bim, "l2", None), (mim, "linf", 1.0), (mim, "linf", 0.6)]
)
def test_iterates_are_those_of_the_published_code(attack: object, norm: str, decay: float | None) -> None:
    model, x, y = setting(20)
    model[2] = nn.ReLU()  # gradients of varying sparsity: their l1 and l2 norms are not in proportion
    y = model(x).argmax(dim=1)
    more = {} if decay is None else {"decay": decay}
    for steps, step_size in ((1, 0.05), (7, 0.05), (9, 0.13)):
        ours = attack(model, x, y, norm=norm, eps=0.3, rng=0, steps=steps, step_size=step_size, **more)
        for row in range(len(x)):
            theirs = reference(
                model, x[row], int(y[row]), norm=norm, eps=0.3, step_size=step_size, steps=steps, decay=decay
            )
            torch.testing.assert_close(ours[row], theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fgsm_is_one_full_step(norm: str) -> None:
    model, x, y = setting()
    z = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(model(z), y), z)
    direction = grad.sign() if norm == "linf" else grad / grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    expected = (x + 0.2 * direction).clamp(0, 1)
    torch.testing.assert_close(fgsm(model, x, y, norm=norm, eps=0.2, rng=0), expected, rtol=0, atol=1e-12)


def test_momentum_without_memory_is_bim() -> None:
    model, x, y = setting()
    options = {"norm": "linf", "eps": 0.2, "rng": 0, "steps": 6, "step_size": 0.06}
    assert torch.equal(mim(model, x, y, decay=0.0, **options), bim(model, x, y, **options))
    assert not torch.equal(mim(model, x, y, **options), bim(model, x, y, **options))


def test_pgd_from_x_is_bim_and_a_relative_step_is_a_multiple_of_eps() -> None:
    model, x, y = setting()
    options = {"norm": "l2", "eps": 0.4, "rng": 0, "steps": 5}
    still = pgd(model, x, y, step_size=0.1, random_start=False, **options)
    assert torch.equal(still, bim(model, x, y, step_size=0.1, **options))
    assert torch.equal(still, bim(model, x, y, step_size=0.25, relative=True, **options))


def test_the_loss_is_a_choice() -> None:
    model, x, y = setting()
    results = [bim(model, x, y, norm="l2", eps=0.3, rng=0, loss=loss) for loss in ("ce", "ce64", "margin", "dlr")]
    torch.testing.assert_close(results[0], results[1])
    assert not torch.allclose(results[0], results[2])
    assert not torch.allclose(results[2], results[3])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_start_is_uniform_in_the_ball_and_clipped(norm: str) -> None:
    model, x, y = setting(400)
    query = Query(model, bounds=Bounds(-torch.inf, torch.inf))
    start = pgd(query, x, y, norm=norm, eps=0.5, rng=1, steps=1, step_size=0.0) - x
    if norm == "linf":
        uniform = start.flatten() / 0.5 / 2 + 0.5
    else:
        uniform = (distance(start, "l2") / 0.5) ** 12
        assert abs(start.mean(dim=0)).max() < 0.05
    assert stats.kstest(uniform.numpy(), "uniform").pvalue > 1e-3
    clipped = pgd(model, x, y, norm=norm, eps=0.5, rng=1, steps=1, step_size=0.0)
    torch.testing.assert_close(clipped, (x + start).clamp(0, 1))


@pytest.mark.parametrize(("attack", "norm"), [(pgd, "linf"), (pgd, "l2"), (bim, "l2"), (mim, "linf")])
def test_stop_first_returns_the_first_misclassified_iterate_and_asks_no_more(attack: Callable, norm: str) -> None:
    model, x, y = setting(40)
    options = {"norm": norm, "eps": 0.5, "rng": 0, "step_size": 0.04}
    query = Query(model, batch_size=11)
    ours = attack(query, x, y, stop="first", steps=12, **options)
    starts = attack(model, x, y, steps=1, **{**options, "step_size": 0.0})
    path = torch.stack([starts] + [attack(model, x, y, steps=k, **options) for k in range(1, 13)])
    for row in range(len(x)):
        hits = misclassified(model(path[:, row]), y[row].expand(13)).nonzero().flatten().tolist()
        first = hits[0] if hits else 12
        torch.testing.assert_close(ours[row], path[first, row], rtol=0, atol=1e-12)
        assert query.forwards[row] == min(first + 1, 12)
        assert query.backwards[row] == query.forwards[row]
    assert len(query.forwards.unique()) > 3  # rows left at different steps


def test_stop_never_takes_all_steps() -> None:
    model, x, y = setting()
    query = Query(model)
    bim(query, x, y, norm="linf", eps=0.5, rng=0, steps=7)
    assert query.forwards.tolist() == [7] * len(x)


@pytest.mark.parametrize("stop", ["first", "never"])
def test_restarts_run_on_what_is_left_one_after_the_other(stop: str) -> None:
    model, x, y = setting(40)
    rng = SampleRng(5, torch.arange(40))
    options = {"norm": "linf", "eps": 0.17, "steps": 3, "step_size": 0.05, "stop": stop}
    query = Query(model)
    ours = pgd(query, x, y, rng=rng, restarts=4, **options)
    left, solved, spent = torch.arange(40), [], torch.zeros(40, dtype=torch.int64)
    for restart in range(4):
        spent[left] += 3 + (restart < 3)  # a look at the last iterate before each further restart
        z = pgd(model, x[left], y[left], rng=rng.at(left).shifted(restart), **options)
        torch.testing.assert_close(ours[left], ours[left] if restart < 3 else z)
        fooled = misclassified(model(z), y[left])
        torch.testing.assert_close(ours[left[fooled]], z[fooled], rtol=0, atol=1e-12)
        solved.append(int(fooled.sum()))
        left = left[~fooled]
    assert solved[0] > 0
    assert sum(solved[1:]) > 0
    assert len(left) > 0
    assert (query.forwards <= spent).all()
    assert stop == "first" or torch.equal(query.forwards, spent)
    assert broken(model, ours, y) == sum(solved)


def broken(model: nn.Module, x: Tensor, y: Tensor) -> int:
    return int(misclassified(model(x), y).sum())
