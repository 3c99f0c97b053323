"""The projection onto a plane inside the box against exact optima, and the class of the nearest boundary."""

import pytest
import torch
from box_oracle import case, reach

from touchstone.attacks.boundary import NUDGE, boundary_step, nearest_boundary, onto_plane
from touchstone.norms import distance
from touchstone.query import as_query
from touchstone.types import UNIT, Bounds

NORMS = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])


@NORMS
def test_of_a_linear_model_the_nearest_boundary_is_known(norm: str) -> None:
    model, x, y, best = case((3, 4, 4), 4, norm, walls=False)
    query, rows = as_query(model, x), torch.arange(len(x))
    query.probe(x)
    nearest, lead, away, slope = nearest_boundary(query, x, y, rows, norm)
    assert torch.equal(nearest, best.argmin(dim=1))
    torch.testing.assert_close(away, best.amin(dim=1), rtol=1e-6, atol=0)
    logits = model(x)
    torch.testing.assert_close(lead, logits[rows, nearest] - logits[rows, y])
    torch.testing.assert_close(slope.flatten(1), model.weight[nearest] - model.weight[y])
    step = boundary_step(query, x, y, rows, norm)
    torch.testing.assert_close(distance(step, norm), away + NUDGE)
    assert (model(x + step).argmax(dim=1) == nearest).all()


def test_a_flat_model_has_no_boundary() -> None:
    model = torch.nn.Linear(6, 3).requires_grad_(False)
    model.weight.zero_()
    x, y, rows = torch.rand(2, 6), torch.tensor([0, 2]), torch.arange(2)
    query = as_query(model, x)
    query.probe(x)
    assert nearest_boundary(query, x, y, rows, "l2")[2].tolist() == [torch.inf] * 2
    assert not boundary_step(query, x, y, rows, "l2").any()


@NORMS
def test_projection_closes_the_gap_with_the_smallest_step_in_the_box(norm: str) -> None:
    torch.manual_seed(0)
    z, slope = torch.rand(40, 3, 2, 2).double(), torch.randn(40, 3, 2, 2).double()
    z[:20] = torch.where(torch.rand(20, 3, 2, 2) < 0.7, z[:20].round(), z[:20])
    slope[:, 0] *= (torch.rand(40, 2, 2) < 0.5).double()  # zero entries
    gap = torch.linspace(-4, 4, 40).double()
    d = onto_plane(z, slope, gap, UNIT, norm)
    assert ((z + d >= -1e-12) & (z + d <= 1 + 1e-12)).all()
    for row in range(40):
        w = (slope[row] * gap[row].sign()).flatten()
        room = torch.where(w > 0, 1 - z[row].flatten(), z[row].flatten())
        best = reach(w[w != 0], room[w != 0], abs(float(gap[row])), norm)
        closed = float((slope[row] * d[row]).sum())
        if best == float("inf"):  # the corner: every value at its wall
            torch.testing.assert_close(d[row].flatten(), torch.where(w == 0, 0.0, room) * w.sign())
        else:
            assert closed == pytest.approx(float(gap[row]), rel=1e-9)
            assert float(distance(d[row : row + 1], norm)) == pytest.approx(best, rel=1e-6)


@NORMS
def test_projection_without_a_box_is_the_formula_and_a_flat_slope_moves_nothing(norm: str) -> None:
    z, slope = torch.zeros(2, 3).double(), torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0]]).double()
    free = Bounds(torch.tensor(-torch.inf), torch.tensor(torch.inf))
    expected = {"linf": [1.0, -1.0, 0.0], "l2": [0.84, -1.12, 0.0], "l1": [0.0, -1.75, 0.0]}[norm]
    d = onto_plane(z, slope, torch.tensor([7.0, 7.0]).double(), free, norm)
    torch.testing.assert_close(d, torch.tensor([expected, [0.0, 0.0, 0.0]]).double())


@NORMS
def test_projection_survives_tiny_gradients_in_float32(norm: str) -> None:
    z, slope = torch.full((1, 4), 0.5), torch.tensor([[1.0, -2.0, 0.5, 0.0]])
    d = onto_plane(z, slope, torch.tensor([0.6]), UNIT, norm)
    small = onto_plane(z, slope * 2.0**-100, torch.tensor([0.6 * 2.0**-100]), UNIT, norm)
    torch.testing.assert_close(small, d)
