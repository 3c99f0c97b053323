import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_nets import Lambda, classifier, conv, linear, samples, whitened
from torch import Tensor, nn

from touchstone.evaluation import published
from touchstone.evaluation.judge import BATCH, SURE, distances, judge, log_odds, logits, margin, predict
from touchstone.evaluation.result import Member
from touchstone.threat import Threat, View, in_space

PIXEL = Threat("linf", (0.1,))


class Fixed(nn.Module):
    """Answers with the first values of its input as logits."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] * 1.0


def look(x: Tensor, y: Tensor, x_adv: Tensor, eps: float = math.inf, norm: str = "linf") -> dict[str, Tensor]:
    threat = Threat(norm, bounds=None)
    return judge(in_space(Fixed(), threat), x, y, x_adv, threat, eps)


def test_distances_by_hand() -> None:
    x = torch.full((2, 3, 2, 2), 0.5)
    x_adv = x.clone()
    x_adv[0, 0, 0, 0], x_adv[0, 1, 0, 0], x_adv[0, 2, 1, 1] = (
        0.8,
        0.1,
        0.25,
    )  # two channels of one pixel, one of another
    found = {name: value.tolist() for name, value in distances(x, x_adv).items()}
    assert found["linf"] == pytest.approx([0.4, 0])
    assert found["l2"] == pytest.approx([math.sqrt(0.3**2 + 0.4**2 + 0.25**2), 0])
    assert found["l1"] == pytest.approx([0.95, 0])
    assert found["l0"] == [2, 0]
    assert found["l0_values"] == [3, 0]


def test_every_value_of_a_flat_input_is_a_pixel() -> None:
    assert distances(torch.zeros(1, 5), torch.tensor([[0.0, 1, 1, 0, 1]]))["l0"].tolist() == [3]


@pytest.mark.parametrize(
    ("z", "y", "answer"),
    [([1.0, 3, 2], 0, 1), ([2.0, 2, 1], 0, 0), ([2.0, 2, 1], 1, 1), ([2.0, 2, 1], 2, 0), ([math.nan, 0, 1], 2, -1)],
)
def test_a_tie_is_not_broken_against_the_true_class(z: list[float], y: int, answer: int) -> None:
    assert predict(torch.tensor([z]), torch.tensor([y])).item() == answer


def test_margin_survives_negative_logits() -> None:
    assert margin(torch.tensor([[-5.0, -7, -6]]), torch.tensor([0])).item() == -1


def test_columns_by_hand() -> None:
    x, x_adv = torch.tensor([[2.0, 1, 0]]), torch.tensor([[0.0, 1, 0.5]])
    row = {name: value.item() for name, value in look(x, torch.tensor([0]), x_adv).items()}
    p, q = torch.softmax(x[0].double(), 0), torch.softmax(x_adv[0].double(), 0)
    assert (row["clean_pred"], row["adv_pred"], row["adv_rank"]) == (0, 1, 2)
    assert row["clean_conf"] == pytest.approx(p[0].item())
    assert row["clean_gap"] == pytest.approx((p[0] - p[1]).item())
    assert row["adv_conf"] == pytest.approx(q[1].item())
    assert row["adv_margin"] == 1
    assert row["x_l2"] == pytest.approx(math.sqrt(5))
    assert row["dist_l2"] == pytest.approx(math.sqrt(4 + 0.25))
    assert row["success"]
    assert not row["rejected"]


def test_the_gap_of_a_misclassified_sample_is_negative() -> None:
    x = torch.tensor([[0.0, 1, 0]])
    assert look(x, torch.tensor([0]), x)["clean_gap"].item() < 0


@pytest.mark.parametrize(("excess", "accepted"), [(0.0, True), (5e-7, True), (2e-6, False)])
def test_the_ball_has_a_tolerance_of_a_millionth(excess: float, accepted: bool) -> None:
    x, x_adv = torch.tensor([[0.5, 0.4, 0]]).double(), torch.tensor([[0.5, 0.6 + excess, 0]]).double()
    columns = look(x, torch.tensor([0]), x_adv, eps=0.2)
    assert columns["success"].item() == accepted
    assert columns["rejected"].item() != accepted


def test_the_norm_of_the_threat_counts() -> None:
    x, x_adv = torch.tensor([[0.5, 0.4, 0]]), torch.tensor([[0.3, 0.6, 0]])
    assert look(x, torch.tensor([0]), x_adv, eps=0.25, norm="linf")["success"].item()
    assert not look(x, torch.tensor([0]), x_adv, eps=0.25, norm="l2")["success"].item()  # l2 is 0.283


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf])
def test_a_point_outside_the_box_or_not_finite_is_rejected(value: float) -> None:
    model = linear()
    x, y = samples(model, wrong=0)
    x_adv = x.clone()
    wrong = (y + 1) % 4  # every prediction is a misclassification: only the point can save the sample
    inside = judge(in_space(model, PIXEL), x, wrong, x_adv, PIXEL, math.inf)
    assert inside["success"].all()
    assert not inside["rejected"].any()
    x_adv[:, 1, 2, 3] = value
    columns = judge(in_space(model, PIXEL), x, wrong, x_adv, PIXEL, math.inf)
    assert columns["rejected"].all()
    assert not columns["success"].any()


def test_without_a_box_an_infinite_point_is_still_rejected() -> None:
    x = torch.tensor([[0.5, 0.4, 0]])
    columns = look(x, torch.tensor([0]), torch.tensor([[0.5, math.inf, 0]]))
    assert columns["rejected"].item()
    assert not columns["success"].item()


def test_nan_logits_are_a_failure_of_the_attack() -> None:
    x = torch.tensor([[0.5, 0.4, 0]])
    net = Lambda(Fixed(), lambda z: torch.where(z > 0.55, torch.nan, z))
    threat = Threat("linf", bounds=None)
    columns = judge(in_space(net, threat), x, torch.tensor([0]), torch.tensor([[0.5, 0.6, 0]]), threat, 1.0)
    assert not columns["success"].item()
    assert not columns["rejected"].item()  # the point itself is a fair one
    assert (columns["adv_pred"].item(), columns["adv_rank"].item()) == (-1, 0)
    assert math.isnan(columns["adv_conf"].item())


def test_a_model_that_answers_nan_at_the_sample_itself_is_not_robust() -> None:
    x = torch.tensor([[0.5, 0.4, 0]])
    threat = Threat("linf")
    view = in_space(Lambda(Fixed(), lambda z: z * torch.nan), threat)
    assert judge(view, x, torch.tensor([0]), x, threat, 0.0)["success"].item()


def test_normalized_space_agrees_with_pixels() -> None:
    model = conv()
    x, y = samples(model)
    threat = Threat("linf", (0.5,), space="normalized")
    view = in_space(model, threat)
    z = view.from_pixels(x)
    z_adv = view.bounds.clip(z + 0.5 * torch.where(x < 0.5, 1.0, -1.0))
    columns = judge(view, z, y, z_adv, threat, 0.5)
    pixels = judge(in_space(model, PIXEL), x, y, view.to_pixels(z_adv).clamp(0, 1), PIXEL, math.inf)
    assert torch.equal(columns["adv_pred"], pixels["adv_pred"])
    assert torch.equal(columns["clean_pred"], pixels["clean_pred"])
    assert not columns["rejected"].any()
    torch.testing.assert_close(columns["dist"], torch.full((40,), 0.5, dtype=torch.float64), atol=1e-6, rtol=0)
    for name in ("x_l2", "dist_linf", "dist_l2", "dist_l1"):
        torch.testing.assert_close(columns[name], pixels[name], atol=1e-5, rtol=1e-5)
    assert columns["dist_linf"].max().item() == pytest.approx(0.5 * 0.4, abs=1e-6)  # the widest channel
    further = judge(view, z, y, z_adv, threat, 0.499)
    assert further["rejected"].all()


def test_whitened_space_is_measured_there_and_in_pixels() -> None:
    model = whitened()
    x, y = samples(model)
    threat = Threat("l2", (0.5,), space="whitened", bounds=None)
    view = in_space(model, threat)
    z = view.from_pixels(x)
    step = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    z_adv = z + 0.5 * step / step.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    columns = judge(view, z, y, z_adv, threat, 0.5, images=x)
    with torch.no_grad():
        assert torch.equal(columns["adv_pred"] != y, model.net(z_adv).argmax(1) != y)
    torch.testing.assert_close(columns["dist"], torch.full((40,), 0.5, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(columns["x_l2_space"], z.flatten(1).norm(dim=1).double(), atol=1e-4, rtol=1e-6)
    torch.testing.assert_close(columns["x_l2"], x.flatten(1).norm(dim=1).double(), atol=1e-4, rtol=1e-6)
    contrast = (x - x.mean((1, 2, 3), keepdim=True)).flatten(1).norm(dim=1)
    moved = ((z_adv - z).flatten(1) @ model.normalize.inverse_matrix) * (contrast / 55)[:, None]
    torch.testing.assert_close(columns["dist_l2"], moved.norm(dim=1).double(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(columns["dist_linf"], moved.abs().amax(1).double(), atol=1e-5, rtol=1e-4)
    assert not columns["rejected"].any()
    assert judge(view, z, y, z_adv, threat, 0.499, images=x)["rejected"].all()


def test_the_distance_in_the_space_of_the_threat_is_that_in_pixels_there() -> None:
    model = conv()
    x, y = samples(model)
    columns = judge(in_space(model, PIXEL), x, y, (x + 0.1).clamp(0, 1), PIXEL, math.inf)
    assert torch.equal(columns["dist"], columns[f"dist_{PIXEL.norm}"])
    assert torch.equal(columns["x_l2_space"], columns["x_l2"])


def test_unchanged_values_stay_unchanged_in_every_space() -> None:
    model = conv()
    x, y = samples(model)
    threat = Threat("l0", space="normalized")
    view = in_space(model, threat)
    z = view.from_pixels(x)
    z_adv = z.clone()
    z_adv[:, 0, 0, 0] += 0.1
    columns = judge(view, z, y, z_adv, threat, math.inf)
    assert columns["dist_l0_values"].tolist() == [1] * 40


def test_the_model_is_asked_in_eval_mode_and_left_as_it_was() -> None:
    model = classifier(nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(48, 4)))
    x, _ = samples(model)
    model.train()
    model.net[2].eval()
    first = logits(model, x)
    assert torch.equal(first, logits(model, x))
    assert not first.requires_grad
    assert model.training
    assert model.net[1].training
    assert not model.net[2].training


def attacked(model: nn.Module, x: Tensor) -> None:
    y = torch.zeros(len(x), dtype=torch.int64)
    published.run(model, x, y, Member("fgsm", "fgsm"), threat=PIXEL, seed=0, batch_size=8)


@pytest.mark.parametrize("ask", [logits, attacked])
def test_tf32_is_off_while_judge_or_attack_look_and_restored_after(ask: Callable[[nn.Module, Tensor], Any]) -> None:
    class Watch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision))
            return x

    seen: list[tuple[str, str]] = []
    backends = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "tf32"
        ask(Watch(), torch.zeros(1, 3))
        assert {*seen} == {("ieee", "ieee")}
        assert [backend.fp32_precision for backend in backends] == ["tf32", "tf32"]
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value


def test_autocast_does_not_reach_the_judge() -> None:
    model = linear()
    x, _ = samples(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, half = logits(model, x), model(x)
    assert torch.equal(found, model(x))
    assert not torch.equal(found, half.float())


def test_batches_have_a_fixed_size() -> None:
    class Watch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return x

    seen: list[int] = []
    logits(Watch(), torch.zeros(2 * BATCH + 5, 3))
    assert seen == [BATCH, BATCH, 5]


def test_points_of_another_shape_are_refused() -> None:
    view = View(Fixed(), PIXEL.bounds)
    with pytest.raises(ValueError, match=r"points of shape \(1, 3\), got \(2, 3\)"):
        judge(view, torch.zeros(1, 3), torch.tensor([0]), torch.zeros(2, 3), PIXEL, 0.1)


# ---- goals


def test_log_odds_are_those_of_the_softmax_and_go_on_where_it_saturates() -> None:
    z = torch.tensor([[1.0, 0.0, -1.0], [60.0, 0.0, -1.0], [90.0, 0.0, -1.0], [math.nan, 0.0, 1.0]])
    odds = log_odds(z, torch.tensor([0, 0, 0, -1]))
    p = z[0].double().softmax(0)[0]
    assert odds[0].item() == pytest.approx((p / (1 - p)).log().item(), rel=1e-12)
    assert odds[1:3].tolist() == pytest.approx([60 - math.log1p(math.exp(-1)), 90 - math.log1p(math.exp(-1))])
    assert odds.dtype == torch.float64
    assert z[1:3].double().softmax(1)[:, 0].tolist() == [1.0, 1.0]


def test_a_goal_is_reached_by_any_other_class_with_the_log_odds_asked_for() -> None:
    z = torch.tensor([[0.0, 2.0, -9.0]]).repeat(5, 1)
    odds = log_odds(z, torch.ones(5, dtype=torch.int64))
    goal = odds + torch.tensor([-1.0, 0.0, 0.5 * SURE, 2 * SURE, 1.0])
    threat, y = Threat("linf", bounds=None), torch.zeros(5, dtype=torch.int64)
    x = torch.tensor([[3.0, 0.0, 0.0]]).repeat(5, 1)
    view = in_space(Fixed(), threat)
    assert judge(view, x, y, z, threat, math.inf)["success"].all()
    found = judge(view, x, y, z, threat, math.inf, goal=goal)
    assert found["success"].tolist() == [True, True, True, False, False]
    assert (found["adv_pred"] == 1).all()  # what is said about the point does not depend on the goal
    right = judge(view, x, torch.ones_like(y), z, threat, math.inf, goal=goal - 9)
    assert not right["success"].any()  # sure of the true class
    far = judge(view, x, y, z, threat, 0.1, goal=goal - 9)
    assert not far["success"].any()
    assert far["rejected"].all()


def test_the_tolerance_on_a_confidence_is_a_quarter_of_a_thousandth_at_most() -> None:
    p = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    assert (p - (p.logit() - SURE).sigmoid()).max() <= 2.5e-4


def test_without_an_answer_there_is_no_goal_to_reach() -> None:
    threat, y = Threat("linf", bounds=None), torch.zeros(2, dtype=torch.int64)
    x = torch.tensor([[1.0, 0.0, 0.0], [math.nan, 0.0, 0.0]])
    goal = torch.tensor([-math.inf, math.nan], dtype=torch.float64)
    found = judge(in_space(Fixed(), threat), x, y, x, threat, math.inf, goal=goal)
    assert found["success"].tolist() == [False, True]  # nan at x itself: nothing is left to attack
