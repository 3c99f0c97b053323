import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from touchstone.attacks.daa import blob, daa
from touchstone.attacks.pgd import pgd
from touchstone.losses import ce, misclassified
from touchstone.query import Query


def setting(count: int = 21) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    x = torch.rand(count, 3, 2, 2, dtype=torch.float64)
    model[3].bias.data -= model(x).mean(dim=0)
    return model, x, model(x).argmax(dim=1)


def reference(z: np.ndarray, grad: np.ndarray) -> np.ndarray:
    """The sums of the blob method, pair by pair."""
    apart = cdist(z, z) ** 2
    width = 0.5 * np.median(apart) / np.log(len(z))
    out = np.zeros_like(z)
    for i in range(len(z)):
        for j in range(len(z)):
            k = np.exp(-apart[i, j] / (2 * width))
            out[i] += (k * grad[j] - k * (z[i] - z[j]) / width) / len(z)
    return out


def test_the_interaction_is_the_sum_over_pairs() -> None:
    torch.manual_seed(1)
    z, grad = torch.rand(9, 3, 2, 2).double(), torch.randn(9, 3, 2, 2).double()  # 81 pairs: one median
    expected = reference(z.flatten(1).numpy(), grad.flatten(1).numpy())
    np.testing.assert_allclose(blob(z, grad).flatten(1), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("count", [1, 3])
def test_copies_of_one_point_share_the_mean_gradient(count: int) -> None:
    z, grad = torch.full((count, 5), 0.3).double(), torch.randn(count, 5).double()
    torch.testing.assert_close(blob(z, grad), grad.mean(dim=0).expand(count, 5))


def test_a_step_follows_gradient_and_interaction() -> None:
    model, x, y = setting()
    start = daa(model, x, y, norm="linf", eps=0.2, rng=3, steps=1, step_size=0.0)
    grad = Query(model).grad(start, y, ce)[2]
    uphill = grad + 5.0 * blob(start, grad)
    z = x + (start + 0.07 * uphill.sign() - x).clamp(-0.2, 0.2)
    ours = daa(model, x, y, norm="linf", eps=0.2, rng=3, steps=1, step_size=0.07, weight=5.0)
    torch.testing.assert_close(ours, z.clamp(0, 1), rtol=0, atol=1e-12)
    assert (uphill.sign() != grad.sign()).any()


def test_without_weight_it_is_pgd_and_with_it_rows_depend_on_each_other() -> None:
    model, x, y = setting()
    options = {"norm": "linf", "eps": 0.1, "rng": 0, "steps": 5, "step_size": 0.03}
    torch.testing.assert_close(daa(model, x, y, weight=0.0, **options), pgd(model, x, y, **options))
    torch.testing.assert_close(daa(model, x[:4], y[:4], weight=0.0, **options), pgd(model, x[:4], y[:4], **options))
    assert not torch.allclose(daa(model, x, y, weight=9.0, **options)[:4], daa(model, x[:4], y[:4], **options))


@pytest.mark.parametrize("stop", ["never", "first"])
def test_a_row_keeps_the_point_of_the_restart_that_broke_it(stop: str) -> None:
    model, x, y = setting()
    query, options = Query(model), {"norm": "linf", "eps": 0.12, "rng": 1, "steps": 3, "step_size": 0.04, "stop": stop}
    one = daa(model, x, y, restarts=1, **options)
    many = daa(query, x, y, restarts=4, **options)
    first = misclassified(model(one), y)
    torch.testing.assert_close(many[first], one[first], rtol=0, atol=0)
    assert not query.restarts[first].any()
    assert query.restarts[~first].all()
    assert first.any()
    assert misclassified(model(many), y).sum() > first.sum()


def test_nan_in_one_row_stays_there() -> None:
    model, x, y = setting(5)

    class Sick(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return torch.where(torch.arange(len(z))[:, None] == 2, torch.nan, model(z))

    assert daa(Sick(), x, y, norm="linf", eps=0.1, rng=0, steps=3).isfinite().all()
