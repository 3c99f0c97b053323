"""What every attack promises, for each norm, batch and input shape."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from attacks.cases import CASES, FREE, Look
from crossing import crossed
from torch import Tensor, nn

from touchstone.attacks import ATTACKS
from touchstone.attacks.pgd import pgd
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.registry import NORMS, load
from touchstone.rng import SampleRng
from touchstone.types import Bounds


class Net(nn.Sequential):
    """A sequence whose last layer is the classifier."""

    @property
    def classifier(self) -> nn.Module:
        return self[-1]


ROWS = [name for name in CASES if name in ATTACKS]
EPS = {"linf": 0.1, "l2": 0.4, "l1": 1.0, "l0": 2.0}
CLASSES = 4


def net(shape: tuple[int, ...]) -> nn.Module:
    """Make a smooth float64 net in training mode, with layers that would notice a change of mode."""
    torch.manual_seed(0)
    size = torch.Size(shape).numel()
    layers = (nn.Flatten(), nn.Linear(size, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(), nn.Linear(12, CLASSES))
    model = Net(*layers).double().train()
    model[2].running_mean.normal_()
    model[1].bias.grad = torch.ones_like(model[1].bias)
    centre = Query(model).logits(torch.rand(50, *shape, dtype=torch.float64)).mean(dim=0)
    model[5].bias.data -= centre  # every class is near
    return model


def predict(model: nn.Module, x: Tensor) -> Tensor:
    return Query(model).logits(x).argmax(dim=1)


def block(model: nn.Module, shape: tuple[int, ...], count: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    x = torch.rand(count, *shape, dtype=torch.float64)
    return x, predict(model, x)


def run(
    name: str,
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    norm: str,
    *,
    eps: float | Tensor,
    rng: SampleRng,
    **more: Any,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Run any kind of attack; return x_adv, and dist and found of the minimal ones."""
    spec = ATTACKS[name]
    budget = {} if spec.kind == "minimal" else {"eps": eps}
    out = load(spec.fn)(model, x, y, norm=norm, rng=rng, **budget, **{**CASES[name].quick, **more})
    return tuple(out) if spec.kind == "minimal" else (out, None, None)


def draws(count: int) -> SampleRng:
    return SampleRng(0, torch.arange(count))


def snapshot(model: nn.Module) -> list[Any]:
    return [
        *(value.clone() for value in model.state_dict().values()),
        *(None if p.grad is None else p.grad.clone() for p in model.parameters()),
        *(p.requires_grad for p in model.parameters()),
        *(module.training for module in model.modules()),
        torch.get_rng_state(),
    ]


def same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


CELL = ("name", "norm")
SHAPES = ((8,), (3, 4, 4))
STOPS = ("never", "first")
CELLS = [(name, norm) for name in ROWS for norm in ATTACKS[name].norms]
EACH = pytest.mark.parametrize(CELL, CELLS)
ALONE = [cell for cell in CELLS if not ATTACKS[cell[0]].coupled]  # rows of a coupled attack influence one another
FIXED = [cell for cell in CELLS if ATTACKS[cell[0]].kind == "fixed"]


@crossed(CELL, CELLS, count=(1, 3), shape=SHAPES)
def test_result_is_a_detached_point_inside_ball_and_box(
    name: str, norm: str, count: int, shape: tuple[int, ...]
) -> None:
    model = net(shape)
    x, y = block(model, shape, count)
    x_adv, dist, found = run(name, model, x, y, norm, eps=EPS[norm], rng=draws(count))
    assert (x_adv.shape, x_adv.dtype, x_adv.device) == (x.shape, x.dtype, x.device)
    assert not x_adv.requires_grad
    assert x_adv.data_ptr() != x.data_ptr()
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    if dist is None:
        assert (distance(x_adv - x, norm) <= EPS[norm] * (1 + 1e-6)).all()
    else:
        assert (dist.shape, found.shape, found.dtype) == (y.shape, y.shape, torch.bool)
        assert found.all()
        assert torch.equal(found, predict(model, x_adv) != y)
        torch.testing.assert_close(dist, distance(x_adv - x, norm))


@crossed(CELL, CELLS, shape=SHAPES)
def test_nothing_the_caller_owns_is_changed(name: str, norm: str, shape: tuple[int, ...]) -> None:
    model = net(shape)
    x, y = block(model, shape, 3)
    before, kept = snapshot(model), (x.clone(), y.clone())
    run(name, model, x, y, norm, eps=EPS[norm], rng=draws(3))
    assert all(same(a, b) for a, b in zip(before, snapshot(model), strict=True))
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1])


@crossed(CELL, FIXED, stop=STOPS, shape=SHAPES)
def test_zero_budget_returns_x(name: str, norm: str, stop: str, shape: tuple[int, ...]) -> None:
    model = net(shape)
    x, y = block(model, shape, 3)
    assert torch.equal(run(name, model, x, y, norm, eps=0.0, rng=draws(3), stop=stop)[0], x)


@crossed(CELL, ALONE, stop=STOPS, shape=SHAPES)
def test_a_sample_alone_is_the_sample_in_its_batch(name: str, norm: str, stop: str, shape: tuple[int, ...]) -> None:
    model = net(shape)
    x, y = block(model, shape, 6)
    more = {} if ATTACKS[name].kind == "minimal" else {"stop": stop}
    whole = run(name, Query(model, batch_size=4), x, y, norm, eps=EPS[norm], rng=draws(6), **more)[0]
    for row in ([4], [5], [0]):
        alone = run(name, model, x[row], y[row], norm, eps=EPS[norm], rng=draws(6).at(torch.tensor(row)), **more)[0]
        torch.testing.assert_close(alone, whole[row], rtol=0, atol=1e-9)
        assert torch.equal(predict(model, alone), predict(model, whole[row]))


@pytest.mark.parametrize(CELL, FIXED)
def test_a_vector_of_budgets_is_the_scalar_for_each_row(name: str, norm: str) -> None:
    model = net((3, 4, 4))
    x, y = block(model, (3, 4, 4), 3)
    each = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64) * EPS[norm]
    if ATTACKS[name].coupled:
        each = torch.full_like(each, EPS[norm])
    vector = run(name, model, x, y, norm, eps=each, rng=draws(3))[0]
    for row, eps in enumerate(each.tolist()):
        torch.testing.assert_close(vector[row], run(name, model, x, y, norm, eps=eps, rng=draws(3))[0][row])


@EACH
def test_the_querys_box_is_obeyed_channel_by_channel(name: str, norm: str) -> None:
    model = net((3, 4, 4))
    x, y = block(model, (3, 4, 4), 3)
    lower, upper = torch.tensor([-1.0, 0.2, 0.4]).view(1, 3, 1, 1), torch.tensor([0.5, 0.8, 3.0]).view(1, 3, 1, 1)
    x = lower + (upper - lower) * x
    query = Query(model, bounds=Bounds(lower, upper))
    if CASES[name].box:
        with pytest.raises(ValueError, match=CASES[name].box):
            run(name, query, x, predict(model, x), norm, eps=EPS[norm], rng=draws(3))
        return
    x_adv, _, _ = run(name, query, x, predict(model, x), norm, eps=3 * EPS[norm], rng=draws(3))
    assert (x_adv >= lower).all()
    assert (x_adv <= upper).all()
    assert x_adv.dtype == torch.float64
    if norm == "l0" or FREE not in CASES[name].traits:
        return
    free = Query(model, bounds=Bounds(-torch.inf, torch.inf))
    far = run(name, free, 9 * x, y, norm, eps=EPS[norm], rng=draws(3))[0]
    assert name == "clean" or not ((far >= 0) & (far <= 1)).all()


@EACH
def test_float32_images_stay_float32(name: str, norm: str) -> None:
    model = net((3, 4, 4)).float()
    x = block(net((3, 4, 4)), (3, 4, 4), 3)[0].float()
    assert run(name, model, x, predict(model, x), norm, eps=EPS[norm], rng=draws(3))[0].dtype == torch.float32


@EACH
def test_an_empty_block_stays_empty(name: str, norm: str) -> None:
    x = torch.rand(0, 3, 4, 4, dtype=torch.float64)
    y = torch.zeros(0, dtype=torch.int64)
    assert run(name, net((3, 4, 4)), x, y, norm, eps=EPS[norm], rng=draws(0))[0].shape == x.shape


X, Y = torch.linspace(0, 1, 16, dtype=torch.float64).view(2, 8), torch.tensor([0, 1])
BAD = {
    "norm": ({"norm": "l7"}, "norm 'l7' is not supported here; allowed: "),
    "dtype": ({"x": X.mul(9).int()}, "x must be floating point, got torch.int32"),
    "box": ({"x": X + 0.5}, r"x must lie within the query's bounds, got values in \[.*\]: pass Query\(bounds=...\)"),
    "nan": ({"x": X * torch.nan}, "x must lie within the query's bounds"),
    "labels": ({"y": torch.tensor([0, 4])}, r"y must be in \[0, 4\), got values in \[0, 4\]"),
    "negative label": ({"y": torch.tensor([0, -1])}, r"y must be in \[0, 4\), got values in \[-1, 0\]"),
    "shape of y": ({"y": torch.tensor([0])}, r"y must be \(2,\) int64, got \(1,\) torch.int64"),
    "dtype of y": ({"y": torch.zeros(2)}, r"y must be \(2,\) int64, got \(2,\) torch.float32"),
    "rng": ({"rng": draws(3)}, "rng is for 3 samples, got a block of 2"),
    "stop": ({"stop": "frist"}, "stop 'frist' is not supported here; allowed: first, never; did you mean 'first'?"),
    "eps": ({"eps": -0.1}, "eps must be finite and >= 0, got -0.1"),
    "infinite eps": ({"eps": torch.tensor([0.1, torch.inf])}, "eps must be finite and >= 0"),
    "shape of eps": ({"eps": torch.ones(3)}, r"eps must be a number or \(2,\), got shape \(3,\)"),
    "loss": ({"loss": "dice"}, "unknown loss 'dice'; allowed: ce, ce64, dlr, logistic, margin, mifpe, own, raw"),
    "steps": ({"steps": 0}, "steps must be >= 1, got 0"),
    "restarts": ({"restarts": 0}, "restarts must be >= 1, got 0"),
    "step_size": ({"step_size": -1.0}, "step_size must be >= 0, got -1.0"),
    "step_sizes": ({"step_sizes": (0.1, -1.0)}, "step_size must be >= 0, got -1.0"),
    "sparsity": ({"sparsity": 1.5}, r"sparsity must be in \[0, 1\], got 1.5"),
    "directions": ({"directions": 0}, "directions must be >= 1, got 0"),
    "delta": ({"delta": 0.0}, "delta must be > 0, got 0.0"),
    "weight": ({"weight": -1.0}, "weight must be >= 0, got -1.0"),
    "substitute": ({"substitute": Look(3)}, "substitute must have the model's 4 classes, got 3"),
    "attack": ({"attack": "cw"}, "attack 'cw' is not supported here; allowed: (apgd|bim, fgsm, mim), pgd"),
    "options": ({"attack": "pgd", "options": {"stp_size": 3}}, "option 'stp_size' is not .* did you mean 'step_size'?"),
    "temperature": ({"temperature": 0.5}, "temperature must be >= 1, got 0.5"),
    "theta": ({"theta": 0.0}, "theta must be > 0, got 0.0"),
    "direction": ({"direction": "updown"}, "direction 'updown' is not supported here; allowed: both, down, up"),
    "population": ({"population": 3}, "population must be >= 4, got 3"),
    "lr_decay": ({"lr_decay": 1.5}, r"lr_decay must be in \[0, 1\], got 1.5"),
    "lr_decays": ({"lr_decays": 0}, "lr_decays must be >= 1, got 0"),
    "momentum": ({"momentum": 1.5}, r"momentum must be in \[0, 1\], got 1.5"),
    "starts": ({"starts": -1}, "starts must be >= 0, got -1"),
    "version": ({"version": "standart"}, "version 'standart' is not .* did you mean 'standard'?"),
    "attacks": ({"attacks": ("apgd",)}, "attacks 'apgd' is not supported here; allowed: apgd-ce"),
    "targets": ({"targets": 0}, "targets must be >= 1, got 0"),
    "alpha_max": ({"alpha_max": 1.5}, r"alpha_max must be in \[0, 1\], got 1.5"),
    "last_search": ({"last_search": -1}, "last_search must be >= 0, got -1"),
    "eta": ({"eta": 0.9}, "eta must be >= 1, got 0.9"),
    "boundary_steps": ({"boundary_steps": 0}, "boundary_steps must be >= 1, got 0"),
    "reach": ({"reach": 0.5}, "reach must be >= 1, got 0.5"),
    "decay": ({"decay": -1.0}, "decay must be >= 0, got -1.0"),
    "lr": ({"lr": 0.0}, "lr must be > 0, got 0.0"),
    "binary_steps": ({"binary_steps": 0}, "binary_steps must be >= 1, got 0"),
    "init_const": ({"init_const": 0.0}, "init_const must be > 0, got 0.0"),
    "confidence": ({"confidence": -1.0}, "confidence must be >= 0, got -1.0"),
    "overshoot": ({"overshoot": -1.0}, "overshoot must be >= 0, got -1.0"),
    "init_eps": ({"init_eps": 0.0}, "init_eps must be > 0, got 0.0"),
    "gamma": ({"gamma": 1.5}, r"gamma must be in \[0, 1\], got 1.5"),
    "variant": ({"variant": "code"}, "variant 'code' is not supported here; allowed: coded, printed; did you mean"),
    "operator": ({"operator": "soft"}, "operator 'soft' is not supported here; allowed: hard, two-thirds"),
    "start": ({"start": -0.1}, "start must be >= 0, got -0.1"),
    "ratio": ({"ratio": 0.0}, "ratio must be > 0, got 0.0"),
    "beta": ({"beta": -0.1}, r"beta must be (>= 0|in \[0, 1\]), got -0.1"),
    "rule": ({"rule": "l2"}, "rule 'l2' is not supported here; allowed: en, l1"),
    "target_confidence": ({"target_confidence": 1.0}, r"target_confidence must be in [\(\[]0(.5)?, 1\), got 1.0"),
    "target_class": ({"target_class": -1}, "target_class must be >= 0, got -1"),
    "start_radius": ({"start_radius": 0.0}, "start_radius must be > 0, got 0.0"),
    "longest": ({"longest": 0.0}, "longest must be > 0, got 0.0"),
    "nudge": ({"nudge": -1.0}, "nudge must be >= 0, got -1.0"),
    "candidates": ({"candidates": 1}, "candidates must be >= 2, got 1"),
    "sigma": ({"sigma": 0.0}, "sigma must be > 0, got 0.0"),
    "threshold": ({"threshold": 1.5}, r"threshold must be in \[0, 1\], got 1.5"),
    "pace": ({"pace": -1.0}, "pace must be >= 0, got -1.0"),
    "queries": ({"queries": 0}, "queries must be >= 1, got 0"),
    "p_init": ({"p_init": 1.5}, r"p_init must be in \[0, 1\], got 1.5"),
}


def parameters(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(load(ATTACKS[name].fn)).parameters)


@pytest.mark.parametrize(
    ("name", "bad"),
    [(name, bad) for name in ROWS for bad, (change, _) in BAD.items() if set(change) <= set(parameters(name))],
)
def test_wrong_arguments_are_refused_with_what_would_be_right(name: str, bad: str) -> None:
    change, message = BAD[bad]
    common = {"x": X, "y": Y, "norm": ATTACKS[name].norms[-1], "rng": draws(2), "eps": 0.1, "stop": "never"}
    given = {key: value for key, value in (common | change).items() if key in parameters(name)}
    arguments = {**CASES[name].quick, **given}
    with pytest.raises(ValueError, match=message):
        load(ATTACKS[name].fn)(net((8,)), **arguments)


def test_every_option_of_every_attack_is_checked() -> None:
    """Except those that are true or false, and what calls a foreign attack (tests/attacks/test_external.py)."""
    names = {key: p for name in ROWS if not ATTACKS[name].foreign for key, p in parameters(name).items()}
    free = {"model", *(key for key, p in names.items() if p.annotation == "bool")}
    assert set(names) - free == {key for change, _ in BAD.values() for key in change}


@pytest.mark.parametrize("name", ROWS)
def test_the_norms_of_an_attack_are_those_of_its_row_in_the_table(name: str) -> None:
    """An attack states its norms itself: it does not know the table."""
    listed = ", ".join(sorted(ATTACKS[name].norms))
    for norm in [*(n for n in NORMS if n not in ATTACKS[name].norms), "l7"]:
        with pytest.raises(ValueError, match=f"^norm '{norm}' is not supported here; allowed: {listed}(;|$)"):
            run(name, net((8,)), X, Y, norm, eps=0.1, rng=draws(2))


COMMON = {"norm", "eps", "rng", "stop", "loss"}  # what they mean is said in touchstone.attacks.contract


def described(attack: Callable[..., Any]) -> set[str]:
    """Options that a docstring lists, and those of the attack of the same module, or of PGD, to which it refers."""
    text = inspect.getdoc(attack)
    other = re.search(r"^Options: those of `(\w+)`", text, re.MULTILINE)
    more = described(vars(inspect.getmodule(attack)).get(other[1], pgd)) if other else set()
    return set(re.findall(r"^    (\w+): ", text, re.MULTILINE)) | more


@pytest.mark.parametrize("name", ROWS)
def test_every_option_is_described_with_the_attack_and_nothing_else_is(name: str) -> None:
    keywords = {key for key, p in parameters(name).items() if p.kind is p.KEYWORD_ONLY}
    missing = keywords - COMMON - described(load(ATTACKS[name].fn))
    assert not missing, f"`Options:` of the docstring of {name} does not say what {missing} are"
    listed = set(re.findall(r"^    (\w+): ", inspect.getdoc(load(ATTACKS[name].fn)), re.MULTILINE))
    assert listed <= keywords - COMMON
