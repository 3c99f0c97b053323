"""Optimisers and schedules: one per group, rates that follow the epochs, updates as their formulas have them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from touchstone.training import OptimizerSettings, Phase
from touchstone.training.optimizers import Optimizers


def rates(epochs: int, **rule: Any) -> list[float]:
    return [OptimizerSettings(lr=1.0, **rule).rate(done, epochs) for done in range(epochs)]


def test_rates_over_a_phase() -> None:
    assert rates(3) == [1, 1, 1]
    assert rates(5, schedule="multistep", milestones=(2, 4), gamma=0.5) == [1, 1, 0.5, 0.5, 0.25]
    assert rates(3, schedule="exponential", gamma=0.1) == pytest.approx([1, 0.1, 0.01])
    assert rates(4, schedule="linear") == [1, 0.75, 0.5, 0.25]


def weight(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def optimizers(phase: Phase, **parameters: nn.Parameter) -> Optimizers:
    return Optimizers(phase, {parameter: name for name, parameter in parameters.items()})


def square(parameter: Tensor) -> Tensor:
    """A loss whose gradient is the parameter."""
    return parameter.square().sum() / 2


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_with_momentum_and_weight_decay_is_its_recursion(nesterov: bool) -> None:
    w = weight(1.0)
    rule = {"optimizer": "sgd", "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.1}
    steps = optimizers(Phase(1, 1, lr=0.5, **rule), w=w)
    value, velocity = 1.0, 0.0
    for _ in range(3):
        steps.step([w], square(w), "model")
        gradient = value + 0.1 * value
        velocity = 0.9 * velocity + gradient
        value -= 0.5 * (gradient + 0.9 * velocity if nesterov else velocity)
    assert w.item() == pytest.approx(value)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adam_is_its_recursion(decay: float) -> None:
    w = weight(1.0)
    steps = optimizers(Phase(1, 1, lr=0.1, betas=(0.5, 0.9), weight_decay=decay), w=w)
    value, m, v = 1.0, 0.0, 0.0
    for t in (1, 2, 3):
        steps.step([w], (w - 0.5).square().sum() / 2, "model")
        gradient = value - 0.5 + decay * value  # the decay passes the moments, unlike AdamW's
        m, v = 0.5 * m + 0.5 * gradient, 0.9 * v + 0.1 * gradient**2
        value -= 0.1 * (m / (1 - 0.5**t)) / ((v / (1 - 0.9**t)) ** 0.5 + 1e-8)
    assert w.item() == pytest.approx(value)


@pytest.mark.parametrize("rule", [{"optimizer": "adam", "betas": (0.0, 0.0)}, {"optimizer": "sgd", "momentum": 0.9}])
@pytest.mark.parametrize("layout", ["other", "expanded"])
def test_a_gradient_may_lie_otherwise_in_memory_than_its_parameter(rule: dict[str, Any], layout: str) -> None:
    before = torch.arange(24.0).view(2, 3, 2, 2)
    w = nn.Parameter(before.clone(memory_format=torch.channels_last))
    slope = 1 + torch.arange(24.0).view(2, 3, 2, 2) if layout == "other" else torch.ones(())
    steps = optimizers(Phase(1, 1, lr=0.1, **rule), w=w)
    steps.step([w], (w * slope).sum(), "model")
    gradient = slope.expand_as(before)
    expected = before - 0.1 * (gradient.sign() if rule["optimizer"] == "adam" else gradient)
    torch.testing.assert_close(w.detach(), expected)


def test_each_group_has_its_own_optimiser_and_rate() -> None:
    a, b = weight(1.0), weight(1.0)
    phase = Phase(
        2, 1, lr=0.1, optimizer="sgd", groups={"critic": OptimizerSettings(lr=0.4, optimizer="sgd", schedule="linear")}
    )
    steps = optimizers(phase, a=a, b=b)
    for parameter, group in ((a, "model"), (b, "critic")):
        steps.step([parameter], square(parameter), group)
    assert (a.item(), b.item()) == pytest.approx((0.9, 0.6))
    steps.schedule(1)
    for parameter, group in ((a, "model"), (b, "critic")):
        steps.step([parameter], square(parameter), group)
    assert (a.item(), b.item()) == pytest.approx((0.9 * 0.9, 0.6 * 0.8))
    assert [phase.rates(done) for done in (0, 1)] == [{"lr": 0.1, "lr_critic": 0.4}, {"lr": 0.1, "lr_critic": 0.2}]


def test_parameters_of_one_group_share_its_optimiser_whichever_step_names_them_first() -> None:
    a, b = weight(1.0), weight(1.0)
    steps = optimizers(Phase(2, 1, lr=0.1, optimizer="sgd", schedule="linear"), a=a, b=b)
    steps.step([a], square(a), "model")
    steps.schedule(1)
    steps.step([a, b], square(a) + square(b), "model")
    assert list(steps.made) == ["model"]
    assert (a.item(), b.item()) == pytest.approx((0.9 * 0.95, 0.95))


def test_frozen_parameters_stay() -> None:
    a, b = weight(1.0), weight(1.0).requires_grad_(False)
    steps = optimizers(Phase(1, 1, lr=0.1), a=a, b=b)
    steps.step([a, b], square(a), "model")
    assert b.item() == 1.0
    assert a.grad is None


def test_a_group_without_settings_and_a_parameter_nobody_keeps_are_errors() -> None:
    a, stranger = weight(1.0), weight(1.0)
    steps = optimizers(Phase(1, 1, lr=0.1), a=a)
    with pytest.raises(ValueError, match="group 'critic', for which the phase has no settings"):
        steps.step([a], square(a), "critic")
    with pytest.raises(ValueError, match="neither the model nor the defense's extra"):
        steps.step([stranger], square(stranger), "model")


@pytest.mark.parametrize("rule", [{"optimizer": "adam"}, {"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "sgd"}])
def test_optimisers_go_on_from_their_state(rule: dict[str, Any]) -> None:
    phase = Phase(9, 1, lr=0.1, groups={"critic": OptimizerSettings(lr=0.3)}, schedule="linear", **rule)
    straight, resumed = ({"a": weight(1.0, 2.0), "b": weight(3.0)} for _ in range(2))

    def run(steps: Optimizers, parameters: dict[str, nn.Parameter], epochs: range) -> None:
        for done in epochs:
            for name, group in (("a", "model"), ("b", "critic")):
                steps.step([parameters[name]], square(parameters[name]), group)
            steps.schedule(done + 1)

    run(optimizers(phase, **straight), straight, range(4))
    first = optimizers(phase, **resumed)
    run(first, resumed, range(2))
    second = optimizers(phase, **resumed)
    second.load(first.state(), 2)
    run(second, resumed, range(2, 4))
    for name in straight:
        assert torch.equal(straight[name], resumed[name])
