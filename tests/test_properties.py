"""What holds for all inputs, on inputs that nobody has thought of: norms, balls, proximal operators, attacks, verdicts.

The same inputs are drawn each time, but for the constants of modules that are loaded, which hypothesis tries too.
A failure shows the smallest input that fails.
"""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from attacks.test_contract import ROWS, draws, net, predict, run
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_proximal import TERMS
from torch import Tensor

from touchstone.attacks import ATTACKS
from touchstone.attacks.balls import confine, in_ball, into_l1_ball
from touchstone.findings.intervals import EXACT, Deviation, Interval, Margins, interval, remainder, share_margins
from touchstone.findings.verdicts import Precision, decide, stands
from touchstone.norms import DUAL, distance, project, steepest, unit
from touchstone.proximal import hard, level, soft, two_thirds
from touchstone.registry import NORMS
from touchstone.rng import SampleRng
from touchstone.types import Bounds

pytestmark = pytest.mark.slow  # draws inputs
settings.register_profile("same", derandomize=True, database=None, deadline=None, max_examples=60)
settings.load_profile("same")

CONVEX = ("linf", "l2", "l1")
SLACK = 1e-6  # of a radius: what `project` promises
shapes = st.sampled_from([(1,), (5,), (1, 2, 2), (3, 2, 2)])
norms, convex = st.sampled_from(NORMS), st.sampled_from(CONVEX)
sizes = st.floats(1e-4, 1e4)  # of a row, a radius or a weight
seeds = st.integers(0, 2**32 - 1)


@st.composite
def rows(draw: st.DrawFn, count: int = 1) -> list[Tensor]:
    """Blocks (2, *shape) of one shape in float64: of any size, some values zero, some equal.

    None is so small that its square is zero in float32: images have steps of 1/255.
    """
    shape = draw(shapes)
    values = st.one_of(st.just(0.0), st.just(1.0), st.floats(-1.0, 1.0).filter(lambda value: abs(value) > 1e-9))
    blocks = []
    for _ in range(count):
        many = draw(st.lists(values, min_size=2 * math.prod(shape), max_size=2 * math.prod(shape)))
        blocks.append(torch.tensor(many, dtype=torch.float64).view(2, *shape) * draw(sizes))
    return blocks


def length(delta: Tensor) -> Tensor:
    return delta.flatten(1).norm(dim=1)


# ---- norms and projections


@given(rows(2), norms, st.floats(-100.0, 100.0).filter(lambda c: abs(c) > 1e-3))
def test_a_distance_is_a_norm(blocks: list[Tensor], norm: str, factor: float) -> None:
    """But l0, which counts: it does not grow with its argument."""
    a, b = blocks
    assert torch.equal(distance(-a, norm), distance(a, norm))
    assert torch.equal(distance(a, norm) == 0, distance(a, "linf") == 0)
    assert (distance(a + b, norm) <= (distance(a, norm) + distance(b, norm)) * (1 + 1e-12)).all()
    grown = distance(a, norm) * (1.0 if norm == "l0" else abs(factor))
    torch.testing.assert_close(distance(factor * a, norm), grown, rtol=1e-12, atol=0)


@given(rows())
def test_norms_are_in_order(blocks: list[Tensor]) -> None:
    (a,) = blocks
    linf, l2, l1 = (distance(a, norm) * (1 + 1e-12) for norm in CONVEX)
    count = a[0].numel()
    assert (distance(a, "linf") <= l2).all()
    assert (distance(a, "l2") <= l1).all()
    assert (distance(a, "l2") <= math.sqrt(count) * linf).all()
    assert (distance(a, "l1") <= math.sqrt(count) * l2).all()


@given(rows(), norms, sizes, st.booleans())
def test_a_projection_is_in_its_ball_and_stays_there(blocks: list[Tensor], norm: str, eps: float, single: bool) -> None:
    a = blocks[0].float() if single else blocks[0]
    once = project(a, eps, norm)
    assert (distance(once, norm) <= eps * (1 + SLACK)).all()
    assert (distance(project(once, eps, norm) - once, norm) <= eps * SLACK).all()
    assert (once.abs() <= a.abs()).all()
    assert (once * a >= 0).all()
    inside = distance(a, norm) <= eps
    assert torch.equal(once[inside], a[inside])


@given(rows(2), convex, sizes)
def test_no_other_point_of_the_ball_is_nearer(blocks: list[Tensor], norm: str, eps: float) -> None:
    a, b = blocks
    other = unit(b, norm) * eps
    assert (length(a - project(a, eps, norm)) <= length(a - other) * (1 + 1e-9) + 1e-12).all()


@given(rows(2), convex, sizes)
def test_a_projection_brings_points_no_further_apart(blocks: list[Tensor], norm: str, eps: float) -> None:
    a, b = blocks
    apart = length(project(a, eps, norm) - project(b, eps, norm))
    assert (apart <= length(a - b) * (1 + 1e-9) + 1e-9 * eps).all()


@given(rows(), convex)
def test_the_steepest_direction_has_norm_one_and_no_other_is_steeper(blocks: list[Tensor], norm: str) -> None:
    (gradient,) = blocks
    direction = steepest(gradient, norm)
    assert (distance(direction, norm) <= 1 + 1e-12).all()
    gained = (gradient * direction).flatten(1).sum(dim=1)
    torch.testing.assert_close(gained, distance(gradient, DUAL[norm]), rtol=1e-9, atol=0)


# ---- balls in a box


@st.composite
def boxed(draw: st.DrawFn) -> tuple[Tensor, Tensor, Bounds]:
    """Points x of a box, and others z anywhere, (2, *shape) in float32."""
    z, place = (block.float() for block in draw(rows(2)))
    low = draw(st.floats(-3.0, 1.0))
    bounds = Bounds(low, low + draw(st.floats(0.0, 4.0)))
    return bounds.clip(place), z, bounds


def in_both(point: Tensor, x: Tensor, eps: float, norm: str, bounds: Bounds) -> bool:
    """Whether points are in the box, and in the ball as exactly as the judge of attacks asks."""
    near = distance(point.double() - x.double(), norm) <= eps + 1e-6 * max(1.0, eps)
    return torch.equal(bounds.clip(point), point) and bool(near.all())


@given(boxed(), convex, st.floats(0.0, 10.0))
def test_what_is_confined_is_in_the_box_and_the_ball(
    case: tuple[Tensor, Tensor, Bounds], norm: str, eps: float
) -> None:
    x, z, bounds = case
    radius = torch.full((2,), eps)
    assert in_both(confine(z, x, radius, norm, bounds), x, eps, norm, bounds)
    assert torch.equal(confine(z, x, torch.zeros(2), norm, bounds), x)


@given(boxed(), st.floats(0.0, 10.0))
def test_into_the_l1_ball_is_the_nearest_of_both(case: tuple[Tensor, Tensor, Bounds], eps: float) -> None:
    x, z, bounds = case
    radius = torch.full((2,), eps)
    found = into_l1_ball(z - x, x, radius, bounds)
    assert in_both(found, x, eps, "l1", bounds)
    other = confine(z, x, radius, "l1", bounds)
    assert (length(found - z) <= length(other - z) * (1 + 1e-5) + 1e-5).all()


@given(boxed(), norms, st.floats(0.0, 10.0), seeds)
def test_what_is_drawn_is_in_the_box_and_the_ball(
    case: tuple[Tensor, Tensor, Bounds], norm: str, eps: float, seed: int
) -> None:
    x, _, bounds = case
    draw = partial(in_ball, norm=norm, eps=eps, bounds=bounds, rng=SampleRng(seed, torch.arange(2)))
    assert in_both(draw(x), x, eps, norm, bounds)
    assert torch.equal(draw(x), draw(x))


# ---- proximal operators: what u is brought to, and how the weight grows with v: c v, c^power weight -> c u

POWERS = {soft: 1.0, hard: 2.0, two_thirds: 4 / 3, level: 1.0}
operators = st.sampled_from([*POWERS])


@given(rows(), operators, sizes)
def test_an_operator_is_odd_and_shrinks(blocks: list[Tensor], prox: object, weight: float) -> None:
    (v,) = blocks
    w = torch.full((2,), weight, dtype=torch.float64)
    u = prox(v, w)
    assert torch.equal(prox(-v, w), -u)
    assert (u * v >= 0).all()
    assert (u.abs() <= v.abs() * (1 + 1e-9)).all()


@given(rows(), operators, sizes, st.floats(1e-2, 1e2))
def test_an_operator_has_no_unit(blocks: list[Tensor], prox: object, weight: float, factor: float) -> None:
    (v,) = blocks
    u = prox(v, torch.full((2,), weight, dtype=torch.float64))
    scaled = prox(factor * v, torch.full((2,), weight * factor ** POWERS[prox], dtype=torch.float64))
    # at its threshold rounding decides whether a value is kept
    close = torch.isclose(scaled, factor * u, rtol=1e-7, atol=1e-12 * factor * float(v.abs().max()))
    assert bool((close | (scaled == 0) | (u == 0)).all())
    assert prox is hard or prox is two_thirds or bool(close.all())


@given(rows(), st.sampled_from([*TERMS]), sizes, st.floats(-0.5, 1.5))
def test_no_other_point_has_a_smaller_objective(blocks: list[Tensor], prox: object, weight: float, part: float) -> None:
    """Not zero, and none between what is found and v, or beyond them."""
    (v,) = blocks
    u = prox(v, torch.full((2,), weight, dtype=torch.float64))
    best, *others = (weight * TERMS[prox](one) + (one - v) ** 2 / 2 for one in (u, u + part * (v - u), part * u, 0 * u))
    for other in others:
        assert (best <= other * (1 + 1e-9) + 1e-12 * float(v.abs().max()) ** 2).all()


@given(rows(2), st.sampled_from([soft, level]), sizes)
def test_a_convex_operator_brings_points_no_further_apart(blocks: list[Tensor], prox: object, weight: float) -> None:
    """Firmly: |u - u'|^2 <= <u - u', v - v'>."""
    a, b = blocks
    w = torch.full((2,), weight, dtype=torch.float64)
    moved, apart = prox(a, w) - prox(b, w), a - b
    inner = (moved * apart).flatten(1).sum(dim=1)
    assert (length(moved) ** 2 <= inner + 1e-9 * (length(apart) ** 2 + length(a) ** 2 + length(b) ** 2)).all()


@given(rows(), sizes)
def test_the_operator_of_linf_and_the_l1_ball_share_a_point(blocks: list[Tensor], weight: float) -> None:
    """Moreau: v is what the operator leaves and the projection onto the ball of the dual norm."""
    (v,) = blocks
    w = torch.full((2,), weight, dtype=torch.float64)
    torch.testing.assert_close(level(v, w) + project(v, w, "l1"), v, rtol=1e-9, atol=1e-9 * float(v.abs().max()))


# ---- attacks


COMPILED = "brendel-bethge"  # half a minute for each norm; attacks/test_contract.py has it without that
CELLS = [(name, norm) for name in ROWS if name != COMPILED for norm in ATTACKS[name].norms]
WIDEST = {"linf": 1.0, "l2": 2.8, "l1": 8.0, "l0": 8.0}  # of eight values


@pytest.fixture(scope="module")
def nets() -> dict[tuple[int, ...], torch.nn.Module]:
    return {shape: net(shape) for shape in ((8,), (3, 4, 4))}


@settings(max_examples=120)
@given(
    cell=st.sampled_from(CELLS),
    shape=st.sampled_from([(8,), (3, 4, 4)]),
    share=st.one_of(st.just(0.0), st.floats(1e-3, 1.0)),
    stop=st.sampled_from(["never", "first"]),
    seed=seeds,
)
def test_an_attack_stays_in_the_box_and_the_ball(
    nets: dict[tuple[int, ...], torch.nn.Module],
    cell: tuple[str, str],
    shape: tuple[int, ...],
    share: float,
    stop: str,
    seed: int,
) -> None:
    """From any point of the box, its corners among them, with any labels."""
    name, norm = cell
    eps = share * WIDEST[norm]
    made = torch.Generator().manual_seed(seed)
    x = torch.rand(3, *shape, generator=made, dtype=torch.float64).mul_(1.5).sub_(0.25).clamp_(0, 1)
    y = torch.randint(0, 4, (3,), generator=made)
    fixed = ATTACKS[name].kind != "minimal"
    more = {"stop": stop} if fixed else {}
    x_adv, dist, found = run(name, nets[shape], x, y, norm, eps=eps, rng=draws(3), **more)
    assert x_adv.isfinite().all()
    assert torch.equal(x_adv.clamp(0, 1), x_adv)
    if fixed:
        assert (distance(x_adv - x, norm) <= eps * (1 + 1e-6) + 1e-9).all()
        assert eps > 0 or torch.equal(x_adv, x)
    else:
        assert torch.equal(dist.isfinite(), found)
        torch.testing.assert_close(dist[found], distance(x_adv - x, norm)[found])
        assert (predict(nets[shape], x_adv)[found] != y[found]).all()


# ---- intervals and verdicts

counts = st.integers(1, 2000)
points = st.floats(-1.0, 1.0) | st.floats(-0.1, 0.1)
spreads = st.floats(0.0, 0.2) | st.floats(0.0, 0.01)
tolerances = st.floats(1e-4, 0.5) | st.floats(1e-4, 0.02)


@given(counts, st.data())
def test_the_margins_of_a_share_are_wilsons(n: int, data: st.DataObject) -> None:
    """Inside [0, 1], mirrored for what is not counted, and no end falls when one more is counted."""
    broken = data.draw(st.integers(0, n))
    found, mirrored = share_margins(broken / n, n), share_margins((n - broken) / n, n)
    assert found == pytest.approx(Margins(mirrored.above, mirrored.below), abs=1e-12)
    assert broken / n - found.below + 1e-12 >= 0.0
    assert broken / n + found.above <= 1.0 + 1e-12
    if broken < n:
        more = share_margins((broken + 1) / n, n)
        assert (broken + 1) / n - more.below >= broken / n - found.below - 1e-12
        assert (broken + 1) / n + more.above >= broken / n + found.above - 1e-12
    twice = share_margins(broken / n, 2 * n)
    assert sum(twice) <= sum(found) + 1e-12


@given(counts, st.integers(1, 5000))
def test_more_of_a_population_leaves_less_error(met: int, population: int) -> None:
    left = remainder(met, population)
    assert 0.0 <= left <= 1.0
    assert remainder(met + 1, population) <= left
    assert (left == 0.0) == (met >= population)


@given(st.lists(points, min_size=3, max_size=6), points, st.floats(0.1, 10.0), spreads)
def test_an_interval_moves_grows_and_is_mirrored_with_its_values(
    values: list[float], shift: float, factor: float, margin: float
) -> None:
    margins = Margins(margin, margin / 2)
    found = interval(values, margins=margins)
    mean = sum(values) / len(values)
    assert found.low - 1e-12 <= mean <= found.high + 1e-12
    moved = interval([value + shift for value in values], margins=margins)
    assert moved[:3] == pytest.approx((found.low + shift, found.high + shift, found.half), abs=1e-9)
    grown = interval([factor * value for value in values], margins=Margins(*(factor * one for one in margins)))
    assert grown[:3] == pytest.approx([factor * end for end in found[:3]], abs=1e-9)
    mirrored = interval([-value for value in values], margins=Margins(margin / 2, margin))
    assert mirrored[:3] == pytest.approx((-found.high, -found.low, found.half), abs=1e-9)
    assert interval(values, margins=EXACT).half <= found.half + 1e-12


@st.composite
def precisions(draw: st.DrawFn) -> Precision:
    m = draw(st.integers(1, 12))
    printed = draw(st.none() | spreads)
    runs = draw(st.integers(2, 5)) if printed is not None else draw(st.integers(1, 5))
    return Precision(m, Deviation(draw(spreads), max(m - 1, 1)), draw(spreads), runs, printed, draw(st.booleans()))


@settings(max_examples=200)
@given(precisions(), points, tolerances)
def test_a_verdict_is_mirrored_with_the_difference(precision: Precision, difference: float, tau: float) -> None:
    mirror = {"higher": "lower", "lower": "higher"}
    word, other = decide(difference, tau, precision), decide(-difference, tau, precision)
    assert other == mirror.get(word, word)
    p, q = precision.beyond(difference, tau), precision.beyond(-difference, tau)
    assert p == q or (math.isnan(p) and math.isnan(q))
    assert math.isnan(p) == precision.few
    assert math.isnan(p) or 0.0 <= p <= 1.0
    assert not (precision.few and word != "inconclusive")


@settings(max_examples=200)
@given(precisions(), points, points, tolerances)
def test_what_is_nearer_is_no_less_reproduced_and_no_surer_beyond(
    precision: Precision, one: float, two: float, tau: float
) -> None:
    near, far = sorted([abs(one), abs(two)])
    assert decide(near, tau, precision) == "reproduced" or decide(far, tau, precision) != "reproduced"
    assert decide(far, tau, precision) == "higher" or decide(near, tau, precision) != "higher"
    assume(not precision.few)
    assert precision.beyond(far, tau) <= precision.beyond(near, tau) + 1e-12


@settings(max_examples=200)
@given(precisions(), points, tolerances)
def test_more_seeds_and_samples_that_scatter_alike_take_no_answer_back(
    precision: Precision, difference: float, tau: float
) -> None:
    word = decide(difference, tau, precision)
    assume(word in ("reproduced", "higher", "lower") and precision.printed is None)
    assert decide(difference, tau, precision.of(precision.seeds + 1)) == word
    assert decide(difference, tau, replace(precision, margin=precision.margin / 2)) == word


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 0.2), st.floats(0.0, 0.1))
def test_a_claim_of_less_stands_where_one_of_more_does(claim: float, value: float, half: float, less: float) -> None:
    worst = Interval(max(value - half, 0.0), min(value + half, 1.0), half, "t")
    words = [stands(number, 0.02, worst, value, 0.0, "reproduced").word for number in (claim, claim - less)]
    order = ["overstated", "not tested", "stands"]
    assert order.index(words[0]) <= order.index(words[1])
