"""The functions of the package itself: one attack, and the worst case of a suite."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from digit_nets import held_out, trained
from tiny_nets import conv, linear, samples
from torch import Tensor, nn

import touchstone
from touchstone import paths
from touchstone.api import WorstCase
from touchstone.attacks.pgd import pgd
from touchstone.evaluation.result import Member
from touchstone.types import MinNorm

FEW = [Member("pgd", "pgd", {"steps": 10, "restarts": 1}), Member("noise", "noise", {"restarts": 1})]


@pytest.fixture(scope="module")
def found() -> WorstCase:
    x, y = held_out(40)
    return touchstone.worst_case(trained(), x, y, norm="linf", epsilons=[0.02, 0.3], suite=FEW)


def test_an_attack_with_a_budget_gives_points() -> None:
    model = conv()
    x, y = samples(model, 8)
    points = touchstone.attack(model, x, y, "pgd", norm="linf", eps=8 / 255, steps=3)
    assert isinstance(points, Tensor)
    assert torch.equal(points, pgd(model, x, y, norm="linf", eps=8 / 255, rng=0, steps=3))


def test_an_attack_without_one_gives_distances() -> None:
    model = conv()
    x, y = samples(model, 8)
    points = touchstone.attack(model, x, y, "deepfool", norm="l2")
    assert isinstance(points, MinNorm)
    assert points.dist.shape == (8,)


@pytest.mark.parametrize(
    ("name", "eps", "message"),
    [
        ("square2", 0.1, "unknown attack 'square2'; .*did you mean 'square'"),
        ("clean", None, "'clean' attacks nothing; allowed: apgd, "),
        ("pgd", None, "pgd has a fixed budget: give eps"),
        ("deepfool", 0.1, "deepfool looks for the nearest point: leave eps out"),
        ("pgd", 8.0, "of 0 to 255 take"),
        ("pgd", True, "eps must be a number or a torch.Tensor, got True"),
        ("pgd", "8/255", "eps must be a number or a torch.Tensor, got '8/255'"),
    ],
)
def test_what_an_attack_cannot_be_asked_is_refused(name: str, eps: float | None, message: str) -> None:
    model = conv()
    x, y = samples(model, 4)
    with pytest.raises(ValueError, match=message):
        touchstone.attack(model, x, y, name, norm="linf", eps=eps)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pgd", {"step": 3}, "pgd has no option 'step'; allowed: .*did you mean 'steps'"),
        ("pgd", {"steps": "3"}, "option 'steps' of pgd: expected int >= 1 .*got '3'"),
        ("pgd", {"loss": "dlt"}, "option 'loss' of pgd: expected one of .*did you mean 'dlr'"),
        ("external-fixed", {}, "external-fixed needs the option 'target'"),
        ("transfer", {}, "transfer needs the option 'substitute'"),
    ],
)
def test_an_option_that_an_attack_has_not_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    model = conv()
    x, y = samples(model, 4)
    with pytest.raises(ValueError, match=message):
        touchstone.attack(model, x, y, name, norm="linf", eps=0.1, **options)
    with pytest.raises(ValueError, match=message):
        touchstone.worst_case(model, x, y, norm="linf", epsilons=[0.1], suite=[Member("mine", name, options)])


def test_what_is_no_model_or_tensor_is_refused() -> None:
    model = conv()
    x, y = samples(model, 4)
    given = {"model": model, "x": x, "y": y}
    others: dict[str, tuple[Any, str]] = {
        "model": (lambda z: z, "model must be a torch.nn.Module.*, got function"),
        "x": (x.numpy(), "x must be a torch.Tensor, got ndarray"),
        "y": ([0, 1, 2, 3], "y must be a torch.Tensor, got list"),
    }
    for name, (value, message) in others.items():
        with pytest.raises(ValueError, match=message):
            touchstone.attack(**given | {name: value}, name="pgd", norm="linf", eps=0.1)
        with pytest.raises(ValueError, match=message):
            touchstone.worst_case(**given | {name: value}, norm="linf", epsilons=[0.1])


@pytest.mark.parametrize(
    ("rows", "epsilons", "suite", "message"),
    [
        (4, 0.1, "quick", "epsilons must be a list of numbers, got 0.1"),
        (4, "0.1", "quick", "epsilons must be a list of numbers, got '0.1'"),
        (4, [True], "quick", "a radius in epsilons must be a number, got True"),
        (4, [], "quick", "epsilons: expected at least one radius"),
        (4, [0.3, 0.1], "quick", r"epsilons must be rising, got \[0.3, 0.1\]"),
        (4, [0.1, 0.1], "quick", r"epsilons must be rising, got \[0.1, 0.1\]"),
        (4, ["0.1"], "quick", "a radius in epsilons must be a number, got '0.1'"),
        (4, [0.1], ["pgd"], "an attack of `suite` must be a touchstone.evaluation.result.Member, got 'pgd'"),
        (0, [0.1], "quick", "x must have an image at least"),
    ],
)
def test_what_a_worst_case_cannot_be_asked_is_refused(rows: int, epsilons: Any, suite: Any, message: str) -> None:
    model = conv()
    x, y = samples(model, 4)
    with pytest.raises(ValueError, match=message):
        touchstone.worst_case(model, x[:rows], y[:rows], norm="linf", epsilons=epsilons, suite=suite)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.double(), r"got torch\.float64 \(4, 3, 4, 4\): convert it with \.float\(\)$"),
        (lambda x: x.half(), r"got torch\.float16 \(4, 3, 4, 4\): convert it with \.float\(\)$"),
        (lambda x: (255 * x).byte(), r"got torch\.uint8 \(4, 3, 4, 4\): divide by 255$"),
        (lambda x: x[0], r"got torch\.float32 \(3, 4, 4\)$"),
        (lambda x: x.flatten(1), r"got torch\.float32 \(4, 48\)$"),
    ],
)
def test_images_are_float32_in_a_batch(change: Callable[[Tensor], Tensor], message: str) -> None:
    model = conv()
    x, y = samples(model, 4)
    with pytest.raises(ValueError, match=r"^x must be float32 \(B, C, H, W\), " + message):
        touchstone.attack(model, change(x), y, "pgd", norm="linf", eps=0.1)
    with pytest.raises(ValueError, match=r"^x must be float32 \(B, C, H, W\), " + message):
        touchstone.worst_case(model, change(x), y, norm="linf", epsilons=[0.1])


def test_its_functions_are_listed() -> None:
    assert {*touchstone.__all__, "__version__"} <= {*dir(touchstone)}


def test_accuracies_fall_with_the_radius(found: WorstCase) -> None:
    clean, near, far = found.accuracy.itertuples(index=False)
    x, y = held_out(40)
    right = float((trained()(x).argmax(1) == y).float().mean())
    assert (clean.epsilon, clean.n) == (0.0, 40)
    assert math.isclose(clean.accuracy, right, abs_tol=1e-6)
    assert clean.accuracy >= near.accuracy > far.accuracy
    for row in (clean, near, far):
        assert 0 <= row.low <= row.accuracy <= row.high <= 1


def test_every_broken_image_is_counted_where_it_broke(found: WorstCase) -> None:
    clean, near, far = found.accuracy["accuracy"] * 40
    broke = found.broken_by.groupby("epsilon")["broke"].sum()
    assert broke.loc[0.02] == round(clean - near)
    assert broke.loc[0.3] == round(near - far) > 0
    assert list(found.broken_by["attack"])[:2] == ["pgd", "noise"]
    assert set(found.records["sample"]) == set(range(40))


class Viewed(nn.Module):
    """As many nets are written: nothing says how long a row of no images is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.out = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x.view(x.size(0), -1))


@pytest.mark.parametrize("rows", [1, 20])
def test_a_net_all_of_whose_images_are_broken_at_once_is_asked_no_more(rows: int) -> None:
    model = Viewed()
    x, y = samples(model, rows, wrong=0)
    found = touchstone.worst_case(model, x, y, norm="linf", epsilons=[0.5, 0.9])
    assert found.accuracy["accuracy"].tolist() == [1.0, 0.0, 0.0]


def test_masked_gradients_are_flagged() -> None:
    model = linear(scale=1000)
    x, y = samples(model, 30, wrong=0)
    found = touchstone.worst_case(model, x, y, norm="linf", epsilons=[0.1], suite=FEW[:1])
    assert "saturated" in {flag["flag"] for flag in found.flags}


@pytest.mark.parametrize(
    ("suite", "norm", "message"),
    [
        ("qick", "linf", "unknown suite 'qick'; .*did you mean 'quick'"),
        ("full", "linf", "has transfer, which starts from an unprotected net: give `plain`"),
        ("quick", "l3", "has no attacks in norm 'l3'"),
    ],
)
def test_a_suite_that_cannot_run_is_refused(suite: str, norm: str, message: str) -> None:
    model = conv()
    x, y = samples(model, 4)
    with pytest.raises(ValueError, match=message):
        touchstone.worst_case(model, x, y, norm=norm, epsilons=[0.1], suite=suite)


def test_the_package_has_the_suites_of_the_studies() -> None:
    packaged = paths.packaged_suites()
    assert packaged.read_bytes() == paths.suites(packaged.parents[1]).read_bytes()


@pytest.mark.slow
def test_the_suite_of_the_command_is_that_of_the_function() -> None:
    x, y = held_out(12)
    found = touchstone.worst_case(trained(), x, y, norm="linf", epsilons=[0.3])
    assert found.accuracy["accuracy"].iloc[-1] == 0
    assert found.broken_by["attack"].iloc[0] == "pgd-ce"
