"""The inner maximisation of TRADES and MART, and the divergence."""

import pytest
import torch
from small import Small, images

from touchstone.defenses.inner import climbed, divergence
from touchstone.query import Query

Y = torch.tensor([0, 3, 1, 2, 0, 2])


def test_divergence_is_that_of_the_formula() -> None:
    p = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]], dtype=torch.float64)
    q = torch.tensor([[0.25, 0.25, 0.5], [0.5, 0.25, 0.25]], dtype=torch.float64)
    expected = [0.5 * 1 + 0.25 * 0 + 0.25 * -1, 1.0]  # sum of p log2(p / q)
    bits = divergence(q.log() + 3.0, p) / torch.tensor(2.0).log()
    torch.testing.assert_close(bits, torch.tensor(expected, dtype=torch.float64))


def ascent(model: Small, x: torch.Tensor, query: Query | None = None, steps: int = 10) -> torch.Tensor:
    p = model(x).detach().softmax(dim=1)
    found = {"norm": "linf", "eps": 0.1, "steps": steps, "step_size": 0.02, "seed": 1}
    return climbed(query or Query(model), x, Y, **found, loss=lambda logits, rows: divergence(logits, p[rows]))


def test_it_ends_in_the_ball_and_the_box_where_the_divergence_is_larger_than_at_random() -> None:
    model, x = Small(9, 7, 4), images(6)
    z = ascent(model, x)
    assert (z - x).abs().max() <= 0.1 + 1e-12
    assert 0 <= z.min() <= z.max() <= 1
    p = model(x).softmax(dim=1)
    signs = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype).sign()
    random = (x + 0.1 * signs).clamp(0, 1)
    assert (divergence(model(z), p) > divergence(model(random), p)).all()


def test_it_starts_a_thousandth_away() -> None:
    """With one step of length zero what comes back is the start."""
    x = images(6, size=20) * 0.5 + 0.25
    still = {"norm": "linf", "eps": 0.1, "steps": 1, "step_size": 0.0, "seed": 1}
    start = climbed(Small(400, 7, 4), x, Y, **still, loss=lambda logits, _: logits.sum(1))
    assert 0.9e-3 < (start - x).std() < 1.1e-3


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_is_projected_ascent_row_by_row(norm: str) -> None:
    """Each row climbs its own divergence, from where one step of length zero ends; the box is not in the way."""
    model, x = Small(9, 7, 4), images(6) * 0.5 + 0.25
    p = model(x).detach().softmax(dim=1)
    options = {"norm": norm, "eps": 0.1, "seed": 1, "loss": lambda logits, rows: divergence(logits, p[rows])}
    ends = climbed(model, x, Y, **options, steps=4, step_size=0.04)
    starts = climbed(model, x, Y, **options, steps=1, step_size=0.0)
    for clean, z, q, end in zip(x, starts, p, ends, strict=True):
        for _ in range(4):
            z = z.detach().requires_grad_()
            (g,) = torch.autograd.grad((q * (q.log() - model(z[None])[0].log_softmax(0))).sum(), z)
            moved = z.detach() + 0.04 * (g.sign() if norm == "linf" else g / g.norm()) - clean
            kept = moved.clamp(-0.1, 0.1) if norm == "linf" else moved * min(1.0, 0.1 / float(moved.norm()))
            z = clean + kept
        torch.testing.assert_close(end, z)


def test_rows_keep_their_own_distribution_in_chunks() -> None:
    model, x = Small(9, 7, 4), images(6)
    torch.testing.assert_close(ascent(model, x, Query(model, batch_size=2)), ascent(model, x))


def test_the_model_stays_in_training_mode_with_its_gradients_on() -> None:
    model = Small(9, 7, 4).train()
    ascent(model, images(6), steps=1)
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
