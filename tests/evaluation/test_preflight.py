from typing import Any

import pytest
import torch
from digit_nets import held_out, large_margin
from tiny_nets import Lambda, classifier, conv, linear, samples
from torch import Tensor, nn

from touchstone.attacks.pgd import fgsm
from touchstone.evaluation import flags
from touchstone.evaluation.preflight import preflight
from touchstone.losses import misclassified
from touchstone.threat import Threat

THREAT = Threat("linf", (0.05, 0.1))


def measure(model: nn.Module, threat: Threat = THREAT, count: int = 40, **changes: Any) -> dict[str, float | bool]:
    x, y = samples(model, count)
    values = {"x": x, "y": y, "threat": threat, "seed": 0, "batch_size": 16, **changes}
    return preflight(model, values.pop("x"), values.pop("y"), **values)


def names(measured: dict[str, float | bool]) -> set[str]:
    return {flag["flag"] for flag in flags.preflight(measured)}


def on_logits(change: object) -> nn.Module:
    return classifier(Lambda(conv().net, change))


@pytest.mark.parametrize("space", ["pixel", "normalized"])
def test_a_plain_net_raises_no_flag(space: str) -> None:
    measured = measure(conv(), Threat("linf", (0.05,), space))
    assert names(measured) == set()
    assert all(isinstance(value, float | bool | int) for value in measured.values())
    assert measured["classes"] == 4
    assert measured["sign_disagreement_ce_x"] < 1e-3


def test_zero_gradients_are_seen() -> None:
    measured = measure(on_logits(lambda z: z.detach() + 0 * z))
    for loss in ("ce", "margin"):
        assert measured[f"zero_gradient_{loss}_x"] == measured[f"zero_gradient_{loss}_ball"] == 1
    assert {"zero_gradient_ce", "zero_gradient_margin"} <= names(measured)


def test_a_model_that_cuts_the_graph_has_zero_gradients_everywhere() -> None:
    measured = measure(on_logits(torch.Tensor.detach))
    assert measured["zero_gradient_ce_x"] == measured["zero_gradient_margin_ball"] == 1


def test_only_the_samples_with_a_zero_gradient_count() -> None:
    model = conv()
    x, y = samples(model)
    cut = Lambda(model, lambda z: torch.where(torch.arange(len(z))[:, None] < 10, z.detach() + 0 * z, z))
    measured = preflight(cut, x, y, threat=THREAT, seed=0, batch_size=64)
    assert measured["zero_gradient_ce_x"] == 0.25


def test_tiny_gradients_are_seen() -> None:
    measured = measure(on_logits(lambda z: 1e-14 * z))
    assert measured["tiny_gradient_margin_x"] == 1
    assert measured["zero_gradient_margin_x"] == 0
    assert "tiny_gradient_margin" in names(measured)


def test_saturated_logits_mislead_cross_entropy_and_not_the_margin() -> None:
    model = linear(scale=1000)
    x, y = samples(model, wrong=0)
    measured = preflight(model, x, y, threat=THREAT, seed=0, batch_size=64)
    assert measured["saturated_x"] > 0.9
    assert measured["zero_gradient_ce_x"] > 0.7
    assert measured["zero_gradient_margin_x"] == 0
    assert {"saturated", "zero_gradient_ce"} <= names(measured)
    assert "zero_gradient_margin" not in names(measured)


@pytest.mark.parametrize("gap", [20, 50])
def test_a_gradient_that_is_only_wrong_is_seen(gap: int) -> None:
    # 1 - p_y is about 1e-9 or 1e-22: float32, or float64 too, loses the true class and keeps the others: signs change
    class Gap(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            a, b = x.flatten(1)[:, :24].sum(1), x.flatten(1)[:, 12:36].sum(1)
            return torch.stack([gap + 1.5 * a, a + b, a - b], 1)

    x, y = torch.rand(40, 3, 4, 4) * 0.1, torch.zeros(40, dtype=torch.int64)
    measured = preflight(Gap(), x, y, threat=Threat("linf", (0.01,)), seed=0, batch_size=64)
    assert measured["saturated_x"] == 1
    assert measured["zero_gradient_ce_x"] == 0
    assert measured["sign_disagreement_ce_x"] > 0.1
    assert measured["sign_disagreement_margin_x"] == 0
    assert "sign_disagreement_ce" in names(measured)


def test_a_net_whose_fgsm_is_masked_without_one_zero_gradient_is_seen() -> None:
    """The net of a large margin: float32 loses a third of what one step breaks, where every gradient is there."""
    x, y = held_out(200)
    model = large_margin()
    about = {"norm": "linf", "eps": 0.1, "rng": 0}
    broken = {
        loss: float(misclassified(model(fgsm(model, x, y, loss=loss, **about)), y).float().mean())
        for loss in ("ce", "ce64")
    }
    assert broken["ce64"] > broken["ce"] + 0.2
    measured = preflight(model, x, y, threat=Threat("linf", (0.1,)), seed=0, batch_size=512)
    assert measured["zero_gradient_ce_x"] == measured["zero_gradient_ce_ball"] == 0
    assert measured["sign_disagreement_ce_x"] > 0.1
    assert measured["sign_disagreement_margin_x"] < 0.001
    assert "sign_disagreement_ce" in names(measured)


def test_probabilities_are_told_from_logits() -> None:
    assert measure(on_logits(lambda z: z.softmax(1)))["probabilities"] is True
    assert measure(on_logits(lambda z: z.sigmoid()))["probabilities"] is True
    assert (
        measure(on_logits(lambda z: z - z.mean(1, keepdim=True) + 1 / 4))["probabilities"] is False
    )  # sum 1, not >= 0
    first_only = on_logits(lambda z: torch.where(torch.arange(len(z))[:, None] < 1, z.softmax(1), z))
    assert measure(first_only)["probabilities"] is False


def test_a_randomised_output_is_seen_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    model = on_logits(lambda z: z + 1e-3 * torch.randn_like(z))
    x, y = samples(conv())
    assert preflight(model, x, y, threat=THREAT, seed=0, batch_size=64)["randomised"] is True
    assert preflight(conv(), x, y, threat=THREAT, seed=0, batch_size=64)["randomised"] is False
    torch.random.set_rng_state(before)
    preflight(model, x, y, threat=THREAT, seed=0, batch_size=64)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("right", "count", "flagged"),
    [(18, 50, True), (0, 50, True), (19, 50, False), (50, 50, False), (0, 49, False), (1, 4, False)],
)
def test_a_net_no_better_than_chance_is_seen(right: int, count: int, flagged: bool) -> None:
    """Of four classes a guess finds a quarter: 12.5 of 50, give or take 3.1."""
    model = conv()
    x, y = samples(model, count, wrong=count - right)
    measured = measure(model, x=x, y=y)
    assert measured["no_better_than_chance"] is flagged
    assert ("no_better_than_chance" in names(measured)) is flagged


def test_two_classes_are_too_few_for_dlr() -> None:
    x, y = samples(conv())
    model = on_logits(lambda z: z[:, :2])
    assert preflight(model, x, y % 2, threat=THREAT, seed=0, batch_size=64)["too_few_classes"] is True
    assert measure(conv())["too_few_classes"] is False


def test_inputs_out_of_range_are_counted() -> None:
    x, y = samples(conv())
    x[:10, 0, 0, 0] = 1.5
    measured = preflight(conv(), x, y, threat=THREAT, seed=0, batch_size=64)
    assert measured["out_of_range"] == 0.25
    assert "out_of_range" in names(measured)


def test_answers_that_are_not_finite_are_counted() -> None:
    x, y = samples(conv())
    x[:10] = 0
    broken = Lambda(conv(), lambda z: z)
    broken.change = lambda z: torch.where(torch.arange(len(z))[:, None] < 10, torch.nan, z)
    assert preflight(broken, x, y, threat=THREAT, seed=0, batch_size=64)["not_finite"] == 0.25


def test_at_most_200_samples_are_looked_at() -> None:
    class Watch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.most = conv(), 0

        def forward(self, x: Tensor) -> Tensor:
            self.most = max(self.most, len(x))
            return self.net(x)

    model = Watch()
    x, y = samples(conv(), count=300)
    preflight(model, x, y, threat=THREAT, seed=0, batch_size=1000)
    assert model.most == 200


def test_without_epsilons_only_the_samples_are_looked_at() -> None:
    measured = measure(conv(), Threat("l2"))
    assert "saturated_x" in measured
    assert not [name for name in measured if name.endswith("_ball")]


def test_the_model_is_left_as_it_was() -> None:
    model = conv().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure(model)
    assert model.training
    assert next(model.parameters()).dtype == torch.float32
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
