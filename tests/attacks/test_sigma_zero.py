"""Sigma-zero against the published loop on one image, and what counting pixels changes."""

import math

import pytest
import torch
from digit_nets import held_out, trained
from test_edges import Wrapped
from torch import Tensor, nn

from touchstone.attacks.sigma_zero import sigma_zero
from touchstone.losses import misclassified
from touchstone.norms import distance, values
from touchstone.query import Query


def setting(count: int = 10) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    x = torch.rand(count, 3, 4, 4, dtype=torch.float64)
    x[:, 0] = x[:, 0].round()
    model[3].bias.data -= model(x).mean(dim=0)
    return model, x, model(x).argmax(dim=1)


def plain(
    model: nn.Module, x: Tensor, y: int, *, steps: int, pixels: bool, tau: float = 0.3
) -> tuple[list[Tensor], list[bool]]:
    """The paper's loop on one image with torch's own Adam: all iterates, and whether each is misclassified."""
    delta = torch.zeros_like(x).requires_grad_()
    adam, lr, points, hits = torch.optim.Adam([delta], lr=1.0), 1.0, [], []
    for step in range(steps + 1):
        z = x + delta
        logits = model(z[None])[0]
        gap = logits[y] - torch.cat([logits[:y], logits[y + 1 :]]).max()
        points.append(z.detach().clone())
        hits.append(bool(gap < 0))
        size = delta.square().sum(dim=0) if pixels else delta.square()
        (gap.clamp(min=0) + (size / (size + 1e-3)).mean()).backward()
        delta.grad /= delta.grad.abs().max()
        adam.param_groups[0]["lr"] = lr
        adam.step()
        adam.zero_grad()
        lr = 0.1 + 0.45 * (1 + math.cos(math.pi * step / steps))
        tau = min(1.0, max(0.0, tau + (0.01 if hits[-1] else -0.01) * lr))
        with torch.no_grad():
            delta.copy_((x + delta).clamp(0, 1) - x)
            size = delta.square().sum(dim=0, keepdim=True).sqrt() if pixels else delta.abs()
            delta.masked_fill_(size < tau, 0.0)
    return points, hits


@pytest.mark.parametrize("pixels", [True, False])
def test_it_is_the_published_attack_row_by_row(pixels: bool) -> None:
    model, x, y = setting()
    ours = sigma_zero(Query(model, batch_size=4), x, y, norm="l0", rng=0, steps=60, pixels=pixels)
    assert ours.found.all()
    for row in range(len(x)):
        points, hits = plain(model, x[row], int(y[row]), steps=60, pixels=pixels)
        counts = [
            distance((z - x[row])[None], "l0").item() if hit else math.inf for z, hit in zip(points, hits, strict=True)
        ]
        assert ours.dist[row].item() == min(counts)
        torch.testing.assert_close(ours.x_adv[row], points[counts.index(min(counts))], rtol=0, atol=1e-9)


def test_counting_pixels_changes_whole_ones_and_fewer_of_them() -> None:
    model, x, y = setting()
    by_pixels, by_values = (
        sigma_zero(model, x, y, norm="l0", rng=0, pixels=pixels).x_adv - x for pixels in (True, False)
    )
    assert distance(by_pixels, "l0").mean() < distance(by_values, "l0").mean()
    assert values(by_pixels).double().mean() > values(by_values).double().mean()


def test_a_row_with_one_pixel_is_left_alone() -> None:
    model, x, y = setting()
    query = Query(model)
    found = sigma_zero(query, x, y, norm="l0", rng=0, steps=200)
    single = found.dist == 1
    assert 0 < single.sum() < len(x)
    assert (query.backwards[single] < 200).all()
    assert (query.backwards[~single] == 200).all()
    assert (query.forwards[~single] == 202).all()  # at x, the steps, the last iterate


def test_what_is_not_changed_stays_to_the_last_bit_even_a_little_outside_the_box() -> None:
    model, x, y = setting()
    x = torch.where(x == 1, x + 1e-7, x)
    found = sigma_zero(model, x, y, norm="l0", rng=0, steps=30)
    assert found.found.all()
    assert (found.dist < 8).all()
    assert ((found.x_adv != x).any(dim=1).flatten(1).sum(dim=1) == found.dist).all()


@pytest.mark.parametrize("power", [-10, 10])
def test_the_scale_of_the_logits_hardly_matters(power: int) -> None:
    """Small logits weigh less than the count of changes, but Adam makes as long steps of a smaller gradient."""
    x, y = held_out(8)
    nets = (trained(), Wrapped(trained(), lambda _, z: z * 2.0**power))
    plain, scaled = (sigma_zero(net, x, y, norm="l0", rng=0, steps=150) for net in nets)
    assert plain.found.all()
    assert scaled.found.all()
    assert scaled.dist.mean().item() == pytest.approx(plain.dist.mean().item(), rel=0.1)


def test_a_last_iterate_counts() -> None:
    model, x, y = setting()
    one = sigma_zero(model, x, y, norm="l0", rng=0, steps=1)
    assert one.found.any()
    assert torch.equal(one.found, misclassified(model(one.x_adv), y))
