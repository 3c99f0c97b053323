import pytest
import torch
from box_oracle import Linear
from torch import Tensor, nn

from touchstone.attacks.balls import signs
from touchstone.attacks.spsa import slope, spsa
from touchstone.losses import margin, misclassified
from touchstone.query import Query
from touchstone.rng import SampleRng


def setting(count: int = 20) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    x = torch.rand(count, 3, 2, 2, dtype=torch.float64)
    model[3].bias.data -= model(x).mean(dim=0)
    return model, x, model(x).argmax(dim=1)


def test_the_estimate_tends_to_the_gradient_of_a_linear_model() -> None:
    torch.manual_seed(0)
    model = Linear(torch.randn(2, 12).double(), torch.zeros(2).double())
    x, y = torch.rand(2, 12).double(), torch.tensor([0, 1])
    u = SampleRng(0, torch.arange(2)).uniform((20000, 12), dtype=x.dtype)
    estimate = slope(Query(model, samples=9), x, y, torch.arange(2), signs(u), 0.03, margin)
    gap = (model.weight[1] - model.weight[0]).detach()
    torch.testing.assert_close(estimate, torch.stack([gap, -gap]), rtol=0, atol=0.1)


def test_one_direction_gives_the_central_difference_along_it() -> None:
    model, x, y = setting(3)
    v = torch.where(torch.rand(3, 1, 3, 2, 2).double() < 0.5, -1.0, 1.0).double()
    estimate = slope(Query(model, samples=9), x, y, torch.arange(3), v, 0.01, margin)
    change = margin(model(x + 0.01 * v[:, 0]), y) - margin(model(x - 0.01 * v[:, 0]), y)
    torch.testing.assert_close(estimate, change.view(-1, 1, 1, 1) / 0.02 * v[:, 0])


def test_a_difference_that_is_not_finite_counts_as_none() -> None:
    model, x, y = setting(2)
    v = torch.ones(2, 2, 3, 2, 2).double()
    v[:, 1] = -1

    def poisoned(logits: Tensor, y: Tensor) -> Tensor:
        value = margin(logits, y)
        return torch.where(torch.arange(len(value)) == 0, torch.nan, value)

    estimate = slope(Query(model, samples=9), x, y, torch.arange(2), v, 0.01, poisoned)
    whole = slope(Query(model, samples=9), x, y, torch.arange(2), v, 0.01, margin)
    torch.testing.assert_close(estimate, whole * torch.tensor([0.5, 1.0]).view(2, 1, 1, 1))


def test_the_iterates_are_those_of_adam_on_the_estimates() -> None:
    model, x, y = setting(4)
    rng, rows, query = SampleRng(2, torch.arange(4)), torch.arange(4), Query(model, samples=4)
    delta = torch.zeros_like(x).requires_grad_()
    adam = torch.optim.Adam([delta], lr=0.05)
    for step in range(5):
        v = signs(rng.uniform((8, 3, 2, 2), step=step, dtype=x.dtype))
        delta.grad = -slope(query, x + delta.detach(), y, rows, v, 0.01, margin)
        adam.step()
        delta.data = (x + delta.data.clamp(-0.1, 0.1)).clamp(0, 1) - x
    options = {"norm": "linf", "eps": 0.1, "rng": rng, "steps": 5, "lr": 0.05, "directions": 8}
    torch.testing.assert_close(spsa(model, x, y, **options), x + delta.detach(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("stop", ["never", "first"])
def test_passes_are_forward_only_and_end_with_success_under_first(stop: str) -> None:
    model, x, y = setting()
    query = Query(model, batch_size=30)
    options = {"norm": "linf", "eps": 0.2, "rng": 0, "steps": 6, "lr": 0.05, "directions": 4}
    x_adv = spsa(query, x, y, stop=stop, **options)
    assert not query.backwards.any()
    if stop == "never":
        assert (query.forwards == 6 * 8).all()
        return
    left = query.forwards < 6 * 9
    assert misclassified(model(x_adv), y)[left].all()
    assert (query.forwards[left] % 9 == 1).all()
    assert len(query.forwards.unique()) > 2
