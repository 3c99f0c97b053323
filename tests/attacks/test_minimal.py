"""C&W, DDN and DeepFool against plain versions of the published code, one image at a time."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from touchstone.attacks.cw import cw
from touchstone.attacks.ddn import ddn
from touchstone.attacks.deepfool import deepfool
from touchstone.losses import margin
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.types import Bounds


def setting(count: int = 6) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    model[3].weight.data *= 3
    x = torch.rand(count, 3, 2, 2, dtype=torch.float64)
    x[:, 0] = x[:, 0].round()
    model[3].bias.data -= model(x).mean(dim=0)
    return model, x, model(x).argmax(dim=1)


def plain_cw(
    model: nn.Module, x: Tensor, y: int, *, steps: int, lr: float, binary_steps: int, c: float, kappa: float
) -> tuple[Tensor, float]:
    """Carlini and Wagner's attack on one image with torch's own Adam and autograd."""
    best, nearest, lower, upper = x, math.inf, 0.0, 1e10
    w0 = torch.atanh((2 * x - 1) * 0.999999)
    others = [k for k in range(4) if k != y]
    for _ in range(binary_steps):
        w = w0.clone().requires_grad_()
        adam, reached = torch.optim.Adam([w], lr=lr), False
        for _ in range(steps):
            z = (torch.tanh(w) + 1) / 2
            logits = model(z[None])[0]
            gap = logits[y] - logits[others].max()
            dist = float((z - x).detach().norm())
            if gap < 0 and gap <= -kappa:
                reached = True
                if dist < nearest:
                    best, nearest = z.detach(), dist
            adam.zero_grad()
            (((z - x) ** 2).sum() + c * (gap + kappa).clamp(min=0)).backward()
            adam.step()
        upper, lower = (min(upper, c), lower) if reached else (upper, max(lower, c))
        c = (lower + upper) / 2 if upper < 1e10 else c * 10
    return best, nearest


@pytest.mark.parametrize("kappa", [0.0, 0.3])
def test_cw_is_the_published_attack_row_by_row(kappa: float) -> None:
    model, x, y = setting()
    options = {"steps": 60, "lr": 0.2, "binary_steps": 5}
    ours = cw(model, x, y, norm="l2", rng=0, init_const=0.01, confidence=kappa, abort_early=False, **options)
    assert ours.found.all()
    for row in range(len(x)):
        best, nearest = plain_cw(model, x[row], int(y[row]), c=0.01, kappa=kappa, **options)
        assert ours.dist[row].item() == pytest.approx(nearest, rel=1e-6)
        torch.testing.assert_close(ours.x_adv[row], best, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kappa", [0.2, 0.5])
def test_cw_reaches_its_confidence_and_not_much_more(kappa: float) -> None:
    model, x, y = setting()
    x_adv, _, found = cw(
        model, x, y, norm="l2", rng=0, steps=300, lr=0.05, init_const=0.1, binary_steps=8, confidence=kappa
    )
    achieved = margin(model(x_adv), y)
    assert found.all()
    assert (achieved >= kappa).all()
    assert (achieved < kappa + 0.1).all()


@pytest.mark.parametrize("sure", [0.6, 0.95, 0.999999999])
@pytest.mark.parametrize("target", [None, 0, 2])
def test_cw_reaches_the_probability_asked_for_and_not_much_more(sure: float, target: int | None) -> None:
    model, x, y = setting()
    model[3].weight.data *= 8  # so that a tanh net can be as sure as that
    model[3].bias.data *= 8
    free = Query(model, bounds=Bounds(-torch.inf, torch.inf))
    options = {"steps": 150, "lr": 0.05, "init_const": 0.1, "binary_steps": 6, "target_class": target}
    x_adv, dist, found = cw(free, x, y, norm="l2", rng=0, target_confidence=sure, **options)
    assert torch.equal(found, y != target if target is not None else torch.ones_like(found))
    assert torch.equal(x_adv[~found], x[~found])
    assert dist[~found].isinf().all()
    probability, reached = model(x_adv).softmax(dim=1).max(dim=1)
    assert (reached != y)[found].all()
    assert target is None or (reached == target)[found].all()
    assert (probability >= sure - 1e-12)[found].all()
    assert (1 - probability > 0.7 * (1 - sure))[found].all()


def test_cw_to_a_class_goes_to_its_boundary_and_leaves_other_mistakes_behind() -> None:
    model, x, y = setting(12)
    y[:3] = (y[:3] + 1) % 4  # misclassified already
    x_adv, dist, found = cw(model, x, y, norm="l2", rng=0, steps=100, lr=0.05, init_const=0.1, target_class=1)
    predicted = model(x).argmax(dim=1)
    assert torch.equal(dist == 0, (predicted == 1) & (y != 1))
    assert not found[y == 1].any()
    reached = model(x_adv[found])
    assert (reached.argmax(dim=1) == 1).all()
    moved = dist[found] > 0
    others = reached.scatter(1, torch.ones(len(reached), 1, dtype=torch.int64), -math.inf).amax(dim=1)
    assert ((reached[:, 1] - others)[moved] < 0.05).all()
    assert moved.sum() > 3


def test_cw_refuses_two_confidences_at_once_and_a_class_that_is_not_there() -> None:
    model, x, y = setting()
    with pytest.raises(ValueError, match="confidence must be 0 where there is a target_confidence"):
        cw(model, x, y, norm="l2", rng=0, confidence=1.0, target_confidence=0.9)
    with pytest.raises(ValueError, match=r"target_class must be less than 4, the number of classes, got 4"):
        cw(model, x, y, norm="l2", rng=0, target_class=4)


def test_cw_gives_up_row_by_row() -> None:
    model, x, y = setting()
    options = {"norm": "l2", "rng": 0, "steps": 400, "lr": 0.1, "binary_steps": 3, "init_const": 1.0}
    patient, hasty = Query(model), Query(model)
    full = cw(patient, x, y, abort_early=False, **options)
    early = cw(hasty, x, y, **options)
    assert patient.backwards.tolist() == [1200] * 6
    assert (hasty.backwards < 1200).all()
    assert len(hasty.backwards.unique()) > 1
    assert (early.dist <= full.dist * 1.1).all()
    alone = Query(model)
    cw(alone, x[2:3], y[2:3], **options)
    assert alone.backwards[0] == hasty.backwards[2]


def test_cw_spends_nothing_on_rows_that_are_adversarial_already() -> None:
    model, x, y = setting()
    y[[0, 3]] = (y[[0, 3]] + 1) % 4
    query = Query(model)
    cw(query, x, y, norm="l2", rng=0, steps=20, binary_steps=2, abort_early=False)
    assert query.backwards.tolist() == [0, 40, 40, 0, 40, 40]
    assert query.forwards.tolist() == [1, 41, 41, 1, 41, 41]


def test_cw_keeps_trying_larger_constants_until_one_works() -> None:
    """With scores of a thousandth, only a constant above 10 outweighs the distance."""
    model, x, y = setting()
    model[3].weight.data *= 1e-3
    model[3].bias.data *= 1e-3
    options = {"norm": "l2", "rng": 0, "steps": 150, "lr": 0.01, "init_const": 0.01}
    assert not cw(model, x, y, binary_steps=3, **options).found.all()
    assert cw(model, x, y, binary_steps=7, **options).found.all()


def test_cw_refuses_a_half_open_box() -> None:
    model, x, y = setting()
    for bounds in (Bounds(0.0, torch.inf), Bounds(0.0, torch.tensor([1.0, torch.inf, 1.0]).view(1, 3, 1, 1))):
        with pytest.raises(ValueError, match="cw needs a box that is finite, or unbounded on both sides"):
            cw(Query(model, bounds=bounds), x, y, norm="l2", rng=0)


def test_cw_copes_with_a_channel_that_may_not_change() -> None:
    model, x, y = setting()
    x[:, 1] = 0.25
    lower, upper = torch.tensor([0.0, 0.25, 0.0]).view(1, 3, 1, 1), torch.tensor([1.0, 0.25, 1.0]).view(1, 3, 1, 1)
    y = model(x).argmax(dim=1)
    found = cw(Query(model, bounds=Bounds(lower, upper)), x, y, norm="l2", rng=0, steps=100, lr=0.2, init_const=0.1)
    assert found.found.any()
    assert torch.equal(found.x_adv[:, 1], x[:, 1])


def plain_ddn(model: nn.Module, x: Tensor, y: int, steps: int, eps: float, gamma: float) -> float:
    """The authors' loop on one image, without quantisation, with one more look at the end."""
    delta, nearest = torch.zeros_like(x), math.inf
    for step in range(steps + 1):
        z = (x + delta).requires_grad_()
        logits = model(z[None])
        fooled = int(logits.argmax()) != y
        if fooled:
            nearest = min(nearest, float(delta.norm()))
        (grad,) = torch.autograd.grad(F.cross_entropy(logits, torch.tensor([y])), z)
        delta = delta + (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2) * grad / grad.norm()
        eps = min(eps * (1 - gamma if fooled else 1 + gamma), float(torch.maximum(x, 1 - x).norm()))
        delta = (x + delta * eps / delta.norm()).clamp(0, 1) - x
    return nearest


def test_ddn_is_the_published_attack_row_by_row() -> None:
    model, x, y = setting()
    for steps, eps, gamma in ((40, 1.0, 0.05), (25, 0.2, 0.2), (50, 50.0, 0.05)):  # the last one is cut to the box
        ours = ddn(model, x, y, norm="l2", rng=0, steps=steps, init_eps=eps, gamma=gamma)
        theirs = [plain_ddn(model, x[row], int(y[row]), steps, eps, gamma) for row in range(len(x))]
        assert ours.dist.tolist() == pytest.approx(theirs, rel=1e-9)


def plain_deepfool(
    model: nn.Module,
    x: Tensor,
    y: int,
    norm: str,
    *,
    steps: int = 50,
    nudge: float = 1e-4,
    longest: float = math.inf,
    candidates: int = 4,
    stretched: bool = True,
    fixed_class: bool = False,
) -> tuple[Tensor, bool]:
    """The authors' loop on one image, in a box: the last point, and whether it is misclassified."""
    total, z = torch.zeros_like(x), x
    allowed = [k for k in model(x[None])[0].argsort(descending=True).tolist()[:candidates] if k != y]
    for _ in range(steps):
        if int(model(z[None])[0].argmax()) != y:
            return z, True
        at = z if stretched else x + total
        jac = torch.autograd.functional.jacobian(lambda v: model(v[None])[0], at)
        logits = model(at[None])[0].detach()
        ways = {}
        for k in allowed:
            w, f = jac[k] - jac[y], float((logits[k] - logits[y]).abs())
            size = float(w.norm() if norm == "l2" else w.abs().sum())
            ways[k] = (f / size, w / size if norm == "l2" else w.sign())
        nearest = min(ways, key=lambda k: ways[k][0])
        allowed = [nearest] if fixed_class else allowed
        length, direction = ways[nearest]
        total = total + (min(length, longest) + nudge) * direction
        z = (x + 1.02 * total).clamp(0, 1)
        total = total if stretched else (z - x) / 1.02
    return z, int(model(z[None])[0].argmax()) != y


def uneven() -> tuple[nn.Module, Tensor, Tensor]:
    """The net with a class so steep that its boundary may be nearest though its logit is the smallest."""
    model, x, _ = setting(12)
    model[3].weight.data[0] *= 4
    model[3].bias.data -= model(x).mean(dim=0)
    return model, x, model(x).argmax(dim=1)


MARGIN_CODED = {"nudge": 0.0, "longest": 0.05, "stretched": False}  # as in chapter 3 of the thesis, with shorter steps
CRITIC_CODED = {"longest": 0.02, "stretched": False, "fixed_class": True}  # as in chapter 4


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("more", [{}, MARGIN_CODED, CRITIC_CODED, {"candidates": 2}, {"candidates": 3}], ids=str)
def test_deepfool_is_the_published_attack_row_by_row(norm: str, more: dict[str, Any]) -> None:
    model, x, y = uneven()
    ours = deepfool(Query(model, batch_size=5), x, y, norm=norm, rng=0, **more)
    for row in range(len(x)):
        theirs, found = plain_deepfool(model, x[row], int(y[row]), norm, **more)
        assert found
        torch.testing.assert_close(ours.x_adv[row], theirs, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.dist, distance(ours.x_adv - x, norm))
    assert ours.found.all()


@pytest.mark.parametrize("more", [{}, {"longest": 0.01}, MARGIN_CODED, CRITIC_CODED, {"candidates": 2}], ids=str)
def test_each_reading_of_deepfool_is_another_attack(more: dict[str, Any]) -> None:
    """Else the rows above would compare the same points."""
    model, x, y = uneven()
    points = [deepfool(model, x, y, norm="l2", rng=0, **given).x_adv for given in ({}, more)]
    assert torch.equal(*points) == (not more)


def test_where_deepfool_fails_its_last_iterate_is_kept_for_whoever_counts_it() -> None:
    model, x, y = setting(12)
    y[3] = (y[3] + 1) % 4  # misclassified already
    few = {"norm": "l2", "rng": 0, "steps": 2, "longest": 0.02}
    dropped, kept = (deepfool(Query(model, batch_size=5), x, y, keep_last=keep, **few) for keep in (False, True))
    assert torch.equal(kept.found, dropped.found)
    assert kept.found.any()
    assert not kept.found.all()
    assert torch.equal(kept.dist, dropped.dist)
    assert torch.equal(kept.x_adv[kept.found], dropped.x_adv[kept.found])
    assert torch.equal(kept.x_adv[3], x[3])
    for row in (~kept.found).nonzero().flatten().tolist():
        last, found = plain_deepfool(model, x[row], int(y[row]), "l2", steps=2, longest=0.02)
        assert not found
        torch.testing.assert_close(kept.x_adv[row], last, rtol=0, atol=1e-12)
        assert distance(last[None] - x[row : row + 1], "l2") > 0.03


def test_a_fixed_class_costs_one_gradient_a_step_and_candidates_one_each() -> None:
    model, x, y = setting(12)
    for more, first, each in (({}, 0, 3), ({"candidates": 3}, 0, 2), ({"fixed_class": True}, 3, 1)):
        query = Query(model)
        deepfool(query, x, y, norm="l2", rng=0, **more)
        steps = (query.backwards - first) // each
        assert torch.equal(query.backwards, first + each * steps)
        assert steps.min() > 0


def test_deepfool_spends_one_jacobian_per_step_and_row() -> None:
    model, x, y = setting(12)
    query = Query(model)
    deepfool(query, x, y, norm="l2", rng=0)
    steps = query.backwards // 3  # four classes: a gradient for each of the others
    assert torch.equal(query.backwards, 3 * steps)
    assert torch.equal(query.forwards, 2 * steps + 1)
    assert len(steps.unique()) > 1


def test_deepfool_stops_after_its_steps() -> None:
    model, x, y = setting(12)
    one = deepfool(model, x, y, norm="l2", rng=0, steps=1, overshoot=0.0)
    assert not one.found.all()
    assert torch.equal(one.x_adv[~one.found], x[~one.found])
    assert one.dist[~one.found].isinf().all()
