"""PDPGD against a plain version of the published loop, one image at a time."""

import math

import pytest
import torch
import torch.nn.functional as F
from test_pdgd import setting
from torch import Tensor, nn

from touchstone.attacks.primal_dual import OPERATORS, PROXES, pdpgd
from touchstone.norms import distance, pixels


def plain(
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
def test_iterates_are_those_of_the_published_loop(norm: str, operator: str, variant: str) -> None:
    model, x, y = setting()
    options = {"operator": operator, "variant": variant, "steps": 40, "ratio": 1e-3}
    options["lr"] = 0.1 if variant == "coded" else 0.02
    ours = pdpgd(model, x, y, norm=norm, rng=0, start=0.0, finetune=False, **options)
    assert ours.found.any()
    for row in range(6):  # the points too: distances in l0 are integers, and hide much
        nearest, point = plain(model, x[row], int(y[row]), norm, **options)
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
