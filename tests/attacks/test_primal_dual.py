"""PDGD and PDPGD against plain versions of the published loops, one image at a time; restarts and refinement."""

import math
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from touchstone.attacks.primal_dual import OPERATORS, PROXES, pdgd, pdpgd
from touchstone.norms import distance, pixels
from touchstone.query import Query
from touchstone.rng import SampleRng


def setting(count: int = 6) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    model[3].weight.data *= 3
    x = torch.rand(count, 3, 2, 2, dtype=torch.float64)
    x[:, 0] = x[:, 0].round()
    model[3].bias.data -= model(x).mean(dim=0)
    return model, x, model(x).argmax(dim=1)


class End(NamedTuple):
    """The size of the nearest misclassified r, that r, and the ratio of the weights a / b at that time."""

    size: float
    r: Tensor
    ratio: float


def plain(
    model: nn.Module,
    x: Tensor,
    y: int,
    r: Tensor,
    variant: str,
    steps: int,
    lr: float,
    ratio: float,
    factor: float = 1.0,
) -> End:
    """Both players on one image, with torch's Adam, autograd, and the two weights as a distribution."""
    r, lr = r.clone().requires_grad_(), factor * lr
    adam, end = torch.optim.Adam([r], lr=lr), End(math.inf, r, ratio)
    weights = torch.tensor([ratio, 1.0], dtype=torch.float64).log().log_softmax(0)
    mean = weights.exp()
    others = [k for k in range(4) if k != y]
    for step in range(steps + 1):
        done = step / steps
        logits = model((x + r)[None])[0]
        gap = logits[y] - logits[others].max()
        if gap < 0 and float(r.detach().norm()) < end.size:
            end = End(float(r.detach().norm()), r.detach().clone(), float(mean[0] / mean[1]))
        adam.zero_grad()
        loss = F.softplus(gap) / math.log(2) if variant == "coded" else gap.clamp(min=0)
        (mean[0] * r.norm() + mean[1] * loss).backward()
        adam.param_groups[0]["lr"] = lr * (0.01**done if variant == "coded" else 1 - 0.99 * done)
        adam.step()
        r.data = (x + r.data).clamp(0, 1) - x
        weights[1] += factor * (0.1 - 0.09 * done if variant == "coded" else 0.1) * gap.sign().item()
        weights = weights.log_softmax(0)
        mean = 0.9 * mean + 0.1 * weights.exp()
    return end


@pytest.mark.parametrize("variant", ["printed", "coded"])
def test_iterates_are_those_of_the_published_loop(variant: str) -> None:
    model, x, y = setting()
    for steps, lr, ratio in ((25, 0.1, 0.1), (60, 0.03, 0.01)):
        options = {"steps": steps, "lr": lr, "ratio": ratio}
        ours = pdgd(model, x, y, norm="l2", rng=0, variant=variant, start=0.0, finetune=False, **options)
        zero = torch.zeros_like(x[0])
        theirs = [plain(model, x[row], int(y[row]), zero, variant, **options).size for row in range(6)]
        assert ours.found.any()
        assert ours.dist.tolist() == pytest.approx(theirs, rel=1e-6)


def test_variants_differ() -> None:
    model, x, y = setting()
    one, other = (pdgd(model, x, y, norm="l2", rng=0, steps=40, variant=name) for name in ("printed", "coded"))
    assert not torch.isclose(one.dist, other.dist).any()


def test_the_nearest_point_of_all_restarts_counts_and_says_which_it_was() -> None:
    model, x, y = setting(12)
    rng = SampleRng(3, torch.arange(12))
    options = {"norm": "l2", "steps": 15, "finetune": False}
    query = Query(model, batch_size=5)
    ours = pdgd(query, x, y, rng=rng, restarts=3, **options)
    runs = torch.stack([pdgd(model, x, y, rng=rng.shifted(k), **options).dist for k in range(3)])
    nearest = runs.min(dim=0)
    torch.testing.assert_close(ours.dist, nearest.values)
    assert torch.equal(query.restarts, nearest.indices)
    assert len(nearest.indices.unique()) > 1
    assert query.backwards.tolist() == [45] * 12


def test_refinement_is_one_more_run_and_never_worse() -> None:
    model, x, y = setting()
    y[2] = (y[2] + 1) % 4
    options = {"norm": "l2", "rng": 0, "steps": 40, "lr": 1.0}
    query = Query(model)
    coarse = pdgd(model, x, y, finetune=False, **options)
    fine = pdgd(query, x, y, **options)
    assert coarse.found.all()
    assert (fine.dist <= coarse.dist).all()
    assert (fine.dist < 0.999 * coarse.dist).any()
    assert query.backwards.tolist() == [80, 80, 0, 80, 80, 80]
    assert query.forwards.tolist() == [83, 83, 1, 83, 83, 83]


def test_refinement_goes_on_from_the_best_point_with_the_prices_of_its_time_and_small_rates() -> None:
    model, x, y = setting()
    options = {"steps": 40, "lr": 1.0}
    ours = pdgd(model, x, y, norm="l2", rng=0, start=0.0, ratio=0.1, **options)
    for row in range(6):
        image, label = x[row], int(y[row])
        coarse = plain(model, image, label, torch.zeros_like(image), "coded", ratio=0.1, **options)
        fine = plain(model, image, label, coarse.r, "coded", ratio=coarse.ratio, factor=0.01, **options)
        assert ours.dist[row].item() == pytest.approx(min(coarse.size, fine.size), rel=1e-6)
        assert fine.size < 0.9 * coarse.size


def test_starts_are_uniform_in_the_cube_and_clipped() -> None:
    model, x, y = setting(300)
    seen = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    pdgd(model, x, y, norm="l2", rng=0, steps=1, start=0.25, finetune=False)
    offset = seen[2] - x  # after one probe and one look at x
    assert (seen[2] >= 0).all()
    assert (seen[2] <= 1).all()
    free = offset[(x > 0.25) & (x < 0.75)]
    assert 0.24 < free.abs().max() <= 0.25
    assert free.mean().abs() < 0.02
    assert (distance(offset, "linf") > 0).all()


def plain_proximal(
    model: nn.Module, x: Tensor, y: int, norm: str, operator: str, variant: str, steps: int, lr: float, ratio: float
) -> tuple[float, Tensor]:
    """Both players on one image; the operators are those of the package, which have tests of their own."""
    prox = OPERATORS[operator] if norm == "l0" else PROXES[norm]
    r = torch.zeros_like(x).requires_grad_()
    adam, nearest, point = torch.optim.Adam([r], lr=lr), math.inf, x
    weights = torch.tensor([ratio, 1.0], dtype=torch.float64).log().log_softmax(0)
    mean = weights.exp()
    others = [k for k in range(4) if k != y]
    for step in range(steps + 1):
        done = step / steps
        logits = model((x + r)[None])[0]
        gap = logits[y] - logits[others].max()
        size = distance(r.detach()[None], norm).item()
        if gap < 0 and size < nearest:
            nearest, point = size, (x + r).detach()
        adam.zero_grad()
        price = mean[0] / mean[1]
        if variant == "printed":
            rate = lr * (1 - 0.99 * done)
            gap.clamp(min=0).backward()
            u = prox((r.data - rate * r.grad)[None], price[None] * rate)[0]
            r.data = (x + u).clamp(0, 1) - x
        else:
            rate = adam.param_groups[0]["lr"] = lr * 0.01**done
            (F.softplus(gap) / math.log(2)).backward()
            adam.step()
            metric = (adam.state[r]["exp_avg_sq"] / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
            u = r.data
            for _ in range(5):
                last = u
                u = prox((u - metric / metric.max() * (u - r.data))[None], price[None] * rate / metric.max())[0]
                u = (x + u).clamp(0, 1) - x
                if (u - last).norm() <= 1e-2 * u.norm():
                    break
            r.data = u
        weights[1] += (0.1 if variant == "printed" else 0.1 - 0.09 * done) * gap.sign().item()
        weights = weights.log_softmax(0)
        mean = 0.9 * mean + 0.1 * weights.exp()
    return nearest, point


@pytest.mark.parametrize("variant", ["printed", "coded"])
@pytest.mark.parametrize(("norm", "operator"), [("linf", "hard"), ("l1", "hard"), ("l0", "hard"), ("l0", "two-thirds")])
def test_proximal_iterates_are_those_of_the_published_loop(norm: str, operator: str, variant: str) -> None:
    model, x, y = setting()
    options = {"operator": operator, "variant": variant, "steps": 40, "ratio": 1e-3}
    options["lr"] = 0.1 if variant == "coded" else 0.02
    ours = pdpgd(model, x, y, norm=norm, rng=0, start=0.0, finetune=False, **options)
    assert ours.found.any()
    for row in range(6):  # the points too: distances in l0 are integers, and hide much
        nearest, point = plain_proximal(model, x[row], int(y[row]), norm, **options)
        assert ours.dist[row].item() == pytest.approx(nearest, rel=1e-6)
        torch.testing.assert_close(ours.x_adv[row], point, rtol=0, atol=1e-6)


def test_each_norm_is_smallest_where_it_is_asked_for() -> None:
    model, x, y = setting(12)
    norms = ("linf", "l1", "l0")
    runs = {norm: pdpgd(model, x, y, norm=norm, rng=0, steps=150) for norm in norms}
    for norm in norms:
        assert runs[norm].found.all()
        size = {other: distance(runs[other].x_adv - x, norm).mean() for other in norms}
        assert size[norm] == min(size.values())


def test_what_l0_leaves_alone_is_x_bit_for_bit() -> None:
    model, x, y = setting(12)
    model, x = model.float(), x.float()
    found = pdpgd(model, x, y, norm="l0", rng=0, steps=100)
    assert (found.dist < 4).any()
    assert torch.equal(found.dist, pixels(found.x_adv - x).float())
