"""One pixel: its populations bit by bit, and what it finds where the best pixels are known."""

import pytest
import torch
from box_oracle import case
from torch import Tensor, nn

from touchstone.attacks import onepixel as module
from touchstone.attacks.contract import prepare
from touchstone.attacks.onepixel import first_generation, offspring, onepixel, paint
from touchstone.losses import misclassified
from touchstone.norms import pixels
from touchstone.query import Query
from touchstone.rng import SampleRng
from touchstone.types import Bounds

RNG = SampleRng(0, torch.arange(3))


@pytest.mark.parametrize("shape", [(8,), (2, 4, 4)], ids=str)
def test_it_succeeds_where_the_best_pixels_suffice_and_only_there(shape: tuple[int, ...]) -> None:
    """The optimum of a linear model takes the pixels that gain most to their walls, so it is known for every count."""
    model, x, y, best = case(shape, 2, "l0", walls=True, count=12)
    needed = best.amin(dim=1)
    for eps in (1.0, 2.0):
        x_adv = onepixel(model, x, y, norm="l0", eps=eps, rng=0, steps=60, population=100)
        assert torch.equal(misclassified(model(x_adv), y), needed <= eps)
        assert (pixels(x_adv - x) <= eps).all()
    assert 0 < (needed <= 1).sum() < (needed <= 2).sum()


def test_of_a_fraction_the_whole_part_counts() -> None:
    model, x, y, _ = case((3, 4, 4), 4, "l0", walls=True, count=12)
    options = {"norm": "l0", "rng": 0, "steps": 3, "population": 20}
    assert torch.equal(onepixel(model, x, y, eps=1.9, **options), onepixel(model, x, y, eps=1.0, **options))
    assert torch.equal(onepixel(model, x, y, eps=0.9, **options), x)


def test_children_come_from_three_others() -> None:
    """The parents are powers of 4, so a child one + 4 (two - three) tells which they are."""
    count = 6
    parents = 4.0 ** torch.arange(count, dtype=torch.float64) / 4.0**9  # so small that nothing is clipped at 1
    genes = parents.view(1, 1, count, 1).repeat(3, 1, 1, 1)
    seen = set()
    for step in range(25):
        children = offspring(genes.clone(), RNG, step, 0.5)
        for row in children[:, 0, :, 0].tolist():
            for own, child in enumerate(row):
                fits = {
                    (a, b, c)
                    for a in range(count)
                    for b in range(count)
                    for c in range(count)
                    if child == max(0.0, float(parents[a] + 0.5 * (parents[b] - parents[c])))
                }
                legal = {triple for triple in fits if len({own, *triple}) == 4}
                assert legal
                seen |= legal if child > 0 else set()
    assert len({triple[0] for triple in seen}) == count
    assert len({triple[1] for triple in seen}) == count


def test_a_child_has_the_same_parents_in_every_slot_and_gene() -> None:
    genes = torch.arange(10.0).view(1, 1, 10, 1).div(10).repeat(3, 4, 1, 5)
    children = offspring(genes, RNG, 1, 0.25)
    assert torch.equal(children, children[:, :1, :, :1].expand_as(children))
    assert not torch.equal(children[0], children[1])


def test_the_first_candidates_are_drawn_as_in_the_paper() -> None:
    genes = first_generation(RNG, 4, 2000, 3, torch.float64)
    assert genes.shape == (3, 4, 2000, 5)
    place, colour = genes[..., :2], genes[..., 2:]
    assert place.mean().item() == pytest.approx(0.5, abs=0.01)
    assert place.var().item() == pytest.approx(1 / 12, abs=0.003)
    inside = (colour > 0) & (colour < 1)
    assert inside.double().mean().item() == pytest.approx(0.6827, abs=0.01)  # one standard deviation of 0.5
    assert colour.mean().item() == pytest.approx(0.5, abs=0.01)
    torch.testing.assert_close(first_generation(RNG, 2, 2000, 3, torch.float64), genes[:, :2])


def test_paint_puts_colours_of_the_box_at_places_of_the_image() -> None:
    lower, upper = torch.tensor([0.0, 0.5]).view(1, 2, 1, 1), torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    x = torch.full((1, 2, 2, 3), 0.75).double()
    query = Query(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).double(), bounds=Bounds(lower, upper))
    task = prepare(query, x, torch.tensor([0]), norm="l0", norms=("l0",), rng=0)
    corner = [[0.999, 0.999, 0.0, 1.0], [0.0, 0.5, 0.25, 0.5], [0.0, 0.999, 1.0, 1.0]]  # row, column, two colours
    genes = torch.tensor(corner).double()[None, :, None]
    image = paint(x, genes, torch.tensor([2]), task)[0, 0]  # the third pixel is spare
    expected = x[0].clone()
    expected[:, 1, 2] = torch.tensor([0.0, 2.0])
    expected[:, 0, 1] = torch.tensor([0.25, 1.25])
    torch.testing.assert_close(image, expected)
    genes[0, 2, 0, 1] = 1.0  # the last column, not one beyond
    assert torch.equal(paint(x, genes, torch.tensor([3]), task)[0, 0, :, 0, 2], upper.flatten().double())


def test_a_spare_slot_does_not_uncover_a_pixel_that_another_covers() -> None:
    x = torch.zeros(1, 1, 2, 2)
    task = prepare(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), x, torch.tensor([0]), norm="l0", norms=("l0",), rng=0)
    genes = torch.tensor([[0.0, 0.0, 0.3], [0.0, 0.0, 0.6], [0.9, 0.9, 1.0]])[None, :, None]
    image = paint(x, genes, torch.tensor([2]), task)[0, 0, 0]
    assert image.tolist() == [[pytest.approx(0.6), 0.0], [0.0, 0.0]]


class Lookout(nn.Module):
    """A model that remembers the largest batch it saw."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.largest = net, 0

    def forward(self, x: Tensor) -> Tensor:
        self.largest = max(self.largest, len(x))
        return self.net(x)


def test_passes_are_those_of_the_generations_until_a_row_is_solved() -> None:
    model, x, y, _ = case((3, 4, 4), 4, "l0", walls=True, count=12)
    spy = Lookout(model)
    query = Query(spy, batch_size=50)
    x_adv = onepixel(query, x, y, norm="l0", eps=1.0, rng=0, steps=5, population=20)
    solved = misclassified(model(x_adv), y)
    assert 0 < solved.sum() < 12
    assert (query.forwards[~solved] == 1 + 6 * 20).all()
    assert (query.forwards[solved] < 1 + 6 * 20).any()
    assert ((query.forwards - 1) % 20 == 0).all()
    assert not query.backwards.any()
    assert spy.largest <= 50


def test_the_memory_for_populations_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y, _ = case((3, 4, 4), 4, "l0", walls=True, count=12)
    options = {"norm": "l0", "eps": 2.0, "rng": 0, "steps": 5, "population": 20}
    whole = onepixel(model, x, y, **options)
    monkeypatch.setattr(module, "GENES", 1000)
    assert torch.equal(onepixel(model, x, y, **options), whole)


class Confident(nn.Module):
    """Two classes; the probability of the first rounds to 1 in float32 everywhere, but least so at a sum of 0.3."""

    def __init__(self) -> None:
        super().__init__()
        self.gaps: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        gap = 30 + 500 * (x.flatten(1).sum(dim=1) - 0.3).abs()
        self.gaps.append(gap)
        return torch.stack([gap, torch.zeros_like(gap)], dim=1)


def test_candidates_are_told_apart_where_the_probability_rounds_to_one() -> None:
    x, y = torch.zeros(4, 1, 3, 3), torch.zeros(4, dtype=torch.int64)
    x_adv = onepixel(Confident(), x, y, norm="l0", eps=1.0, rng=0, steps=10, population=20)
    torch.testing.assert_close(x_adv.flatten(1).sum(dim=1), torch.full((4,), 0.3), rtol=0, atol=0.02)


@pytest.mark.parametrize("steps", [1, 6])
def test_an_unsolved_row_ends_at_the_fittest_of_all_candidates(steps: int) -> None:
    model, x, y = Confident(), torch.zeros(1, 1, 3, 3), torch.zeros(1, dtype=torch.int64)
    x_adv = onepixel(model, x, y, norm="l0", eps=1.0, rng=3, steps=steps, population=5, weight=2.0)
    fittest = torch.cat(model.gaps).min()
    assert model(x_adv)[0, 0].item() == pytest.approx(fittest.item(), abs=1e-3)


def test_a_box_without_walls_has_no_colours() -> None:
    query = Query(Confident(), bounds=Bounds(-torch.inf, torch.inf))
    with pytest.raises(ValueError, match="colours are drawn from the box, which must be finite here"):
        onepixel(query, torch.zeros(1, 1, 2, 2), torch.tensor([0]), norm="l0", eps=1.0, rng=0)
