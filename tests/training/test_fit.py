"""The training loop: it learns, is deterministic, keeps its schedule, and stops where a loss is not finite."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.data import DATASETS
from touchstone.data.prepare import Split
from touchstone.defenses.adv import Alternating
from touchstone.defenses.base import Defense
from touchstone.defenses.ce import CrossEntropy
from touchstone.defenses.minmax import MinMax
from touchstone.models.classifier import build
from touchstone.recipe import Augment
from touchstone.rng import draw_seed
from touchstone.training import Fit, OptimizerSettings, Phase, accuracy, fit, fit_redrawn, loop
from touchstone.training.watch import near_chance
from touchstone.types import Step


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """64 easy images: class k is a bright bar in row 2k plus noise."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(64) % 10
    x = (torch.rand(64, 1, 28, 28, generator=generator) * 100).to(torch.uint8)
    for image, label in zip(x, y, strict=True):
        image[0, 2 * label : 2 * label + 3] = 255
    return x, y


def train(defense: Defense, digits: tuple[Tensor, Tensor], *phases: Phase, seed: int = 0) -> tuple[nn.Module, Fit]:
    model = build("lenet", DATASETS["digits"], seed=seed)
    return model, fit(model, defense, *digits, phases, seed=seed)


DEFENSES = [
    CrossEntropy(),
    CrossEntropy(l1=1e-5),
    CrossEntropy(l2=1e-5),
    MinMax(variant="printed", lam=1e-4, mu=1e-4),
    MinMax(variant="coded", lam=0.01, mu=0.01, layers="conv1"),
    Alternating(norm="linf", eps=0.1, attack_steps=3, step_size=0.05, space="normalized"),
]


@pytest.mark.parametrize("defense", DEFENSES, ids=str)
def test_every_defense_overfits_64_images(defense: Defense, digits: tuple[Tensor, Tensor]) -> None:
    model, result = train(defense, digits, Phase(epochs=40, batch_size=16, lr=3e-3))
    assert result.status == "ok"
    assert accuracy(model, *digits) == 1.0
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_same_seed_same_bits_other_seed_other_bits(digits: tuple[Tensor, Tensor]) -> None:
    phase = Phase(epochs=2, batch_size=16, lr=1e-3)
    a, b, c = (train(CrossEntropy(), digits, phase, seed=s)[0].state_dict() for s in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["net.fc3.weight"], c["net.fc3.weight"])


def test_the_global_generator_plays_no_part(digits: tuple[Tensor, Tensor]) -> None:
    phase = Phase(epochs=1, batch_size=16, lr=1e-3)
    weights = []
    for disturb in (0, 17):
        torch.manual_seed(disturb)
        defense = Alternating(norm="linf", eps=0.1, attack_steps=1, step_size=0.05, space="normalized")
        weights.append(train(defense, digits, phase)[0].net.fc3.weight)
    assert torch.equal(*weights)


def test_the_rate_falls_after_each_milestone(digits: tuple[Tensor, Tensor]) -> None:
    phase = Phase(epochs=5, batch_size=64, lr=0.01, schedule="multistep", milestones=(2, 4), gamma=0.5)
    _, result = train(CrossEntropy(), digits, phase)
    assert [row["lr"] for row in result.history] == pytest.approx([0.01, 0.01, 0.005, 0.005, 0.0025])


def test_phases_follow_one_another_with_a_fresh_optimiser(digits: tuple[Tensor, Tensor]) -> None:
    _, result = train(
        CrossEntropy(),
        digits,
        Phase(epochs=2, batch_size=64, lr=0.01),
        Phase(epochs=1, batch_size=64, lr=0.001, optimizer="sgd"),
    )
    assert [(r["epoch"], r["phase"], r["lr"]) for r in result.history] == [(1, 0, 0.01), (2, 0, 0.01), (3, 1, 0.001)]


@pytest.mark.parametrize("phases_before", [0, 1])
def test_the_first_adam_step_of_a_phase_equals_the_formula(digits: tuple[Tensor, Tensor], phases_before: int) -> None:
    """It is lr * g / (|g| + eps), with the moments of no earlier phase."""
    x, y = digits
    phase = Phase(epochs=1, batch_size=64, lr=1e-3, collapse="finish")
    before, _ = train(CrossEntropy(), digits, *[phase] * phases_before)
    loss = F.cross_entropy(before(x.float() / 255), y)
    (grad,) = torch.autograd.grad(loss, before.net.fc3.weight)
    after, _ = train(CrossEntropy(), digits, *[phase] * (phases_before + 1))
    expected = before.net.fc3.weight - 1e-3 * grad / (grad.abs() + 1e-8)
    torch.testing.assert_close(after.net.fc3.weight, expected, atol=2e-5, rtol=0)


class _Notes(CrossEntropy):
    """Notes what it is given: its own seed, and per batch images, labels, seed, and a draw of torch's generator."""

    def setup(self, model: nn.Module, seed: int) -> None:
        model.setup_seed, model.notes = seed, []

    def steps(self, model: nn.Module, extra: None, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:
        assert model.training  # though the accuracy of the epoch before was measured in eval mode
        model.notes.append((x.clone(), y.tolist(), seed, float(torch.rand(()))))
        return super().steps(model, extra, x, y, seed=seed, epoch=epoch)


def noted(x: Tensor, y: Tensor, batch_size: int, **more: Any) -> tuple[nn.Module, Fit]:
    """Train two epochs at a rate that changes nothing, from seed 5."""
    model = build("lenet", DATASETS["digits"], seed=0)
    phase = Phase(epochs=2, batch_size=batch_size, lr=1e-12, collapse="finish", **more)
    return model, fit(model, _Notes(), x, y, [phase], seed=5)


def test_the_rows_are_shuffled_anew_in_every_epoch(digits: tuple[Tensor, Tensor]) -> None:
    model, _ = noted(*digits, batch_size=64)
    given, (first, second) = digits[1].tolist(), [labels for _, labels, _, _ in model.notes]
    assert sorted(first) == sorted(second) == sorted(given)
    assert given != first != second


def test_every_batch_of_every_epoch_draws_its_own_numbers(digits: tuple[Tensor, Tensor]) -> None:
    model, _ = noted(*digits, batch_size=16)
    assert len({rng for _, _, rng, _ in model.notes}) == len({drawn for _, _, _, drawn in model.notes}) == 8
    assert model.setup_seed == 5


def test_images_are_augmented_anew_in_every_epoch(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    model, _ = noted(x[:1].repeat(64, 1, 1, 1), y, batch_size=16, augment=Augment(crop=2))
    first, again = model.notes[0][0], model.notes[4][0]
    assert len(first.flatten(1).unique(dim=0)) > 5
    assert not torch.equal(first, again)


def test_history_has_means_over_the_batches_and_sums_over_their_steps(digits: tuple[Tensor, Tensor]) -> None:
    model, result = noted(*digits, batch_size=16)
    x, y = digits
    assert result.history[0]["loss"] == pytest.approx(F.cross_entropy(model(x / 255), y).item(), rel=1e-4)
    defense = Alternating(norm="linf", eps=0.1, attack_steps=1, step_size=0.05)
    row = train(defense, digits, Phase(epochs=1, batch_size=16, lr=1e-3))[1].history[0]
    assert row["loss"] == pytest.approx(row["ce"] + row["adversarial_ce"])


def test_accuracy_counts_all_batches() -> None:
    class Zero(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([1.0, 0.0]).expand(len(x), 2)

    rows = 2 * loop.EVAL_BATCH + 10
    y = (torch.arange(rows) >= loop.EVAL_BATCH).long()
    found = accuracy(Zero(), torch.zeros(rows, 1, 2, 2, dtype=torch.uint8), y)
    assert found == pytest.approx(loop.EVAL_BATCH / rows)


class _Explodes:
    """Finite for two epochs, then not."""

    def setup(self, model: nn.Module, seed: int) -> None: ...

    def steps(self, model: nn.Module, extra: None, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        loss = F.cross_entropy(model(x), y) * (1.0 if epoch < 3 else float("inf"))
        yield Step(model.parameters(), loss, {"ce": loss})


def test_a_loss_that_is_not_finite_fails_with_its_epoch_and_keeps_the_last_weights(
    digits: tuple[Tensor, Tensor],
) -> None:
    phase = Phase(epochs=5, batch_size=16, lr=1e-3)
    model, result = train(_Explodes(), digits, phase)
    assert (result.status, result.epoch_failed, len(result.history)) == ("failed", 3, 2)
    assert "epoch 3" in result.reason
    kept, _ = train(CrossEntropy(), digits, Phase(epochs=2, batch_size=16, lr=1e-3))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), kept.state_dict().values(), strict=True))


def test_the_printed_minmax_penalty_diverges_and_says_when(digits: tuple[Tensor, Tensor]) -> None:
    """Equation 5 is unbounded below; with SGD the weights run away exponentially."""
    defense = MinMax(variant="printed", lam=0.0, mu=50.0)
    _, result = train(defense, digits, Phase(epochs=60, batch_size=16, lr=0.1, optimizer="sgd"))
    assert result.status == "failed"
    assert result.epoch_failed == len(result.history) + 1


def test_collapse_to_chance_fails_from_its_first_epoch(digits: tuple[Tensor, Tensor]) -> None:
    _, result = train(CrossEntropy(l1=1e3), digits, Phase(epochs=3, batch_size=16, lr=0.1))
    assert (result.status, result.epoch_failed, len(result.history)) == ("failed", 1, 3)
    assert "at chance from epoch 1 on" in result.reason


class _DiesInEpoch3:
    """Learns for two epochs, then has its last layer set to zero."""

    def setup(self, model: nn.Module, seed: int) -> None: ...

    def steps(self, model: Any, extra: None, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        loss = F.cross_entropy(model(x), y)
        yield Step(model.parameters(), loss, {"ce": loss})
        if epoch >= 3:
            model.net.fc3.weight.data.zero_()
            model.net.fc3.bias.data.copy_(torch.arange(10.0))


def test_a_net_that_dies_is_given_up_after_five_epochs(digits: tuple[Tensor, Tensor]) -> None:
    _, result = train(_DiesInEpoch3(), digits, Phase(epochs=30, batch_size=8, lr=3e-3))
    assert (result.status, result.epoch_failed, len(result.history)) == ("failed", 3, 7)


class _Two:
    """Two sets of parameters, each with its own step: the second must not move the first."""

    def setup(self, model: nn.Module, seed: int) -> None: ...

    def steps(self, model: Any, extra: None, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        loss = F.cross_entropy(model(x), y)
        yield Step(model.net.fc3.parameters(), loss, {"first": loss})
        loss = F.cross_entropy(model(x), y)
        yield Step(model.net.fc2.parameters(), loss, {"second": loss})


def test_a_step_moves_only_the_parameters_it_names(digits: tuple[Tensor, Tensor]) -> None:
    before = build("lenet", DATASETS["digits"], seed=0).state_dict()
    model, result = train(_Two(), digits, Phase(epochs=1, batch_size=16, lr=1e-2))
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"net.fc3.weight", "net.fc3.bias", "net.fc2.weight", "net.fc2.bias"}
    assert {"first", "second"} <= result.history[0].keys()


def test_seeds_of_batches_are_spread() -> None:
    seeds = {draw_seed(run, epoch, batch) for run in range(3) for epoch in range(20) for batch in range(50)}
    assert len(seeds) == 3000
    assert max(seeds) < 2**31
    assert draw_seed(1, 2) != draw_seed(2, 1)


class _DeadOnArrival:
    """CE, but nets initialised with a seed in `dead` have all their weights set to zero first."""

    def __init__(self, dead: set[int]) -> None:
        self.dead = dead
        self.tried: list[int] = []

    def build(self, seed: int) -> nn.Module:
        self.tried.append(seed)
        model = build("lenet", DATASETS["digits"], seed=seed)
        if seed in self.dead:
            for parameter in model.parameters():
                parameter.data.zero_().requires_grad_(parameter is model.net.fc3.bias)
        return model


def test_an_initialisation_that_learns_nothing_is_drawn_again(digits: tuple[Tensor, Tensor]) -> None:
    source = _DeadOnArrival({7, draw_seed(7, 1)})
    phases = [Phase(epochs=20, batch_size=16, lr=3e-3)]
    model, result = fit_redrawn(source.build, CrossEntropy(), *digits, phases, seed=7, redraws=5)
    assert source.tried == [7, draw_seed(7, 1), draw_seed(7, 2)]
    assert result.status == "ok"
    assert accuracy(model, *digits) > 0.5
    seen = f"initialisations {source.tried[:2]} learned nothing in their first epoch; {source.tried[2]} was used"
    assert result.flags == [{"flag": "redrawn", "detail": seen}]


def test_the_last_draw_is_trained_to_its_end_and_flagged(digits: tuple[Tensor, Tensor]) -> None:
    source = _DeadOnArrival({7, draw_seed(7, 1)})
    _, result = fit_redrawn(
        source.build, CrossEntropy(), *digits, [Phase(epochs=2, batch_size=16, lr=1e-3)], seed=7, redraws=1
    )
    assert (result.status, result.epoch_failed, len(result.history)) == ("failed", 1, 2)
    assert [flag["flag"] for flag in result.flags] == ["redrawn"]


def test_a_net_that_learns_is_never_redrawn(digits: tuple[Tensor, Tensor]) -> None:
    source = _DeadOnArrival(set())
    phases = [Phase(epochs=3, batch_size=8, lr=3e-3)]
    _, result = fit_redrawn(source.build, CrossEntropy(), *digits, phases, seed=7, redraws=5)
    assert source.tried == [7]
    assert result.flags == []


def test_finish_trains_a_collapsed_net_to_its_end_and_marks_it(digits: tuple[Tensor, Tensor]) -> None:
    lengths = {}
    for collapse in ("stop", "finish"):
        _, result = train(_DiesInEpoch3(), digits, Phase(epochs=9, batch_size=8, lr=3e-3, collapse=collapse))
        assert (result.status, result.epoch_failed) == ("failed", 3)
        lengths[collapse] = len(result.history)
    assert lengths == {"stop": 7, "finish": 9}


class _Peaks(CrossEntropy):
    """Learns for four epochs, then climbs the loss."""

    def steps(self, model: nn.Module, extra: None, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:
        for step in super().steps(model, extra, x, y, seed=seed, epoch=epoch):
            yield step._replace(loss=step.loss * (1 if epoch <= 4 else -1))


def test_the_best_epoch_on_the_validation_rows_is_kept(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    rows, validation = Split(x[:48], y[:48]), Split(x[48:], y[48:])
    models = {}
    for keep, epochs in (("best_val", 6), ("last", 6), ("last", 4)):
        model = build("lenet", DATASETS["digits"], seed=0)
        phase = Phase(epochs=epochs, batch_size=8, lr=3e-3, keep=keep, collapse="finish")
        result = fit(model, _Peaks(), rows.x, rows.y, [phase], seed=0, validation=validation)
        seen = [row["validation_accuracy"] for row in result.history]
        models[keep, epochs] = (accuracy(model, validation.x, validation.y), result.kept, seen)
    found, kept, seen = models["best_val", 6]
    assert found == max(seen) > seen[-1]
    assert kept == [seen.index(max(seen)) + 1]
    assert models["last", 6][:2] == (seen[-1], [])  # at chance in the end, which the kept epoch is not: a failure
    assert seen[:4] == models["last", 4][2]


def test_a_good_epoch_that_is_kept_is_no_collapse(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    phase = Phase(epochs=12, batch_size=8, lr=3e-3, keep="best_val")
    model = build("lenet", DATASETS["digits"], seed=0)
    result = fit(model, _Peaks(), x[:48], y[:48], [phase], seed=0, validation=Split(x[48:], y[48:]))
    assert [row["train_accuracy"] < 0.15 for row in result.history[-5:]] == [True] * 5
    assert (result.status, len(result.history)) == ("ok", 12)
    assert accuracy(model, x[:48], y[:48]) == result.history[result.kept[0] - 1]["train_accuracy"] > 0.15


@pytest.mark.parametrize("epochs", [6, 7])
def test_a_net_that_learns_is_not_given_up_for_an_early_best_epoch(
    digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    """The best epoch is the first, at chance; whether that is kept is known at the end alone."""
    train_accuracies = iter([0.1, 0.2, 0.4, 0.4, 0.6, 0.6, 0.6])
    monkeypatch.setattr(loop, "accuracy", lambda _, x, __: next(train_accuracies) if len(x) == 48 else 0.1)
    x, y = digits
    model = build("lenet", DATASETS["digits"], seed=0)
    phase = Phase(epochs=epochs, batch_size=48, lr=1e-3, keep="best_val")
    result = fit(model, CrossEntropy(), x[:48], y[:48], [phase], seed=0, validation=Split(x[48:], y[48:]))
    assert (result.status, result.epoch_failed, len(result.history)) == ("failed", 1, epochs)


class _Overflows(CrossEntropy):
    """Spoils a statistic of batch norm in epoch 2, which no loss shows."""

    def steps(self, model: nn.Module, extra: None, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:
        yield from super().steps(model, extra, x, y, seed=seed, epoch=epoch)
        if epoch == 2:
            next(b for name, b in model.named_buffers() if "running_var" in name).fill_(torch.inf)


def test_statistics_that_are_not_finite_fail_too(digits: tuple[Tensor, Tensor]) -> None:
    model = build("smallcnn", DATASETS["digits"], seed=0)
    result = fit(model, _Overflows(), *digits, [Phase(epochs=3, batch_size=64, lr=1e-3)], seed=0)
    assert (result.status, result.epoch_failed, len(result.history)) == ("failed", 2, 1)
    assert all(value.isfinite().all() for value in model.state_dict().values())


class _Flat(Alternating):
    """Its second step has a loss without a gradient in the logits."""

    def steps(self, *args: Any, **more: Any) -> Iterator[Step]:
        first, second = super().steps(*args, **more)
        yield first
        yield second._replace(loss=second.loss * 0)


@pytest.mark.parametrize("space", ["pixel", "normalized"])
def test_rows_without_a_gradient_are_counted_in_every_space(space: str, digits: tuple[Tensor, Tensor]) -> None:
    defense = _Flat(norm="linf", eps=0.1, attack_steps=1, step_size=0.05, space=space)
    model = build("lenet", DATASETS["digits"], seed=0)
    result = fit(model, defense, *digits, [Phase(epochs=1, batch_size=64, lr=1e-3)], seed=0)
    assert result.history[0]["zero_gradients"] == 0.5


def test_a_phase_is_given_up_for_its_own_epochs_at_chance(digits: tuple[Tensor, Tensor]) -> None:
    phases = [Phase(epochs=n, batch_size=8, lr=3e-3, collapse=c) for n, c in ((6, "finish"), (9, "stop"))]
    _, result = train(_DiesInEpoch3(), digits, *phases)
    assert (result.status, result.epoch_failed, len(result.history)) == ("failed", 3, 11)


@pytest.mark.parametrize(
    ("counts", "limit"),
    [([10] * 10, 0.15), ([50, 50], 0.5 + 0.5 / 18), ([90, 10], 0.9 + 0.1 / 18), ([19, *[9] * 9], 0.19 + 0.81 / 18)],
)
def test_at_chance_is_hardly_better_than_naming_the_largest_class(counts: list[int], limit: float) -> None:
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    assert near_chance({"train_accuracy": limit - 1e-6}, y)
    assert not near_chance({"train_accuracy": limit + 1e-6}, y)


@pytest.mark.parametrize(("batch_size", "sizes"), [(63, [64]), (62, [62, 2]), (21, [21, 21, 22]), (1, [1] * 62 + [2])])
def test_no_row_is_left_alone_for_batch_norm(digits: tuple[Tensor, Tensor], batch_size: int, sizes: list[int]) -> None:
    model, _ = noted(*digits, batch_size)
    assert [len(x) for x, _, _, _ in model.notes] == sizes * 2  # two epochs


def test_a_layer_that_the_loss_does_not_reach_stays_as_it_is(digits: tuple[Tensor, Tensor]) -> None:
    model = build("lenet", DATASETS["digits"], seed=0)
    model.spare = nn.Linear(2, 2)
    before = model.spare.weight.detach().clone()
    assert fit(model, CrossEntropy(), *digits, [Phase(20, 16, lr=3e-3)], seed=0).status == "ok"
    assert torch.equal(model.spare.weight, before)
    assert accuracy(model, *digits) > 0.5


def test_a_loss_that_reaches_no_weight_is_an_error(digits: tuple[Tensor, Tensor]) -> None:
    model = build("lenet", DATASETS["digits"], seed=0)
    with pytest.raises(ValueError, match="group 'model' depends on none of its parameters"):
        fit(model, _Constant(), *digits, [Phase(1, 64, lr=1e-3)], seed=0)


class _Constant(CrossEntropy):
    """Steps the model down the gradient of something else."""

    def steps(self, model: nn.Module, *_: Any, **__: Any) -> Iterator[Step]:
        yield Step(model.parameters(), torch.ones((), requires_grad=True) * 2, {})


def test_best_val_without_validation_rows_is_an_error(digits: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match="needs validation rows"):
        train(CrossEntropy(), digits, Phase(epochs=1, batch_size=64, lr=1e-3, keep="best_val"))


class _Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("epochs", torch.zeros(()))


class _Remembers(CrossEntropy):
    """Counts the epochs in its extra."""

    made: list[_Counts]

    def setup(self, model: nn.Module, seed: int) -> _Counts:  # noqa: ARG002
        object.__setattr__(self, "made", [*getattr(self, "made", []), _Counts()])
        return self.made[-1]

    def steps(self, model: nn.Module, extra: _Counts, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:
        extra.epochs += 1
        yield from super().steps(model, extra, x, y, seed=seed, epoch=epoch)


def test_what_a_defense_keeps_goes_through_all_phases(digits: tuple[Tensor, Tensor]) -> None:
    defense, phase = _Remembers(), Phase(epochs=2, batch_size=64, lr=1e-3)
    train(defense, digits, phase, phase)
    assert [float(extra.epochs) for extra in defense.made] == [4]


class _Saturated(CrossEntropy):
    """The loss has no gradient in the logits of labels below 3; another pass, which is not stepped, has none at all."""

    def steps(self, model: nn.Module, extra: None, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        inputs = x.clone().requires_grad_()
        torch.autograd.grad(0 * model(inputs).sum(), inputs)
        loss = (F.cross_entropy(model(x), y, reduction="none") * (y >= 3)).mean()
        yield Step(model.parameters(), loss, {})


def test_history_says_for_which_share_the_loss_has_no_gradient(digits: tuple[Tensor, Tensor]) -> None:
    phase = Phase(epochs=1, batch_size=10, lr=1e-3)
    _, result = train(_Saturated(), digits, phase)
    assert result.history[0]["zero_gradients"] == pytest.approx(float((digits[1] < 3).float().mean()))
    _, result = train(CrossEntropy(), digits, phase)
    assert result.history[0]["zero_gradients"] == 0


def test_history_has_the_rate_of_each_group(digits: tuple[Tensor, Tensor]) -> None:
    phase = Phase(epochs=2, batch_size=64, lr=0.01, groups={"critic": OptimizerSettings(lr=0.2, schedule="linear")})
    _, result = train(CrossEntropy(), digits, phase)
    assert [(row["lr"], row["lr_critic"]) for row in result.history] == [(0.01, 0.2), (0.01, 0.1)]


def test_a_model_with_dropout_is_a_function_of_the_seed(digits: tuple[Tensor, Tensor]) -> None:
    weights = []
    for disturb in (0, 17):
        torch.manual_seed(disturb)
        state = torch.get_rng_state()
        net = {"hidden": [20], "init": "glorot", "dropout": 0.5}
        model = build("mlp", DATASETS["digits"], seed=0, **net)
        fit(model, CrossEntropy(), *digits, [Phase(epochs=1, batch_size=16, lr=1e-3)], seed=0)
        assert torch.equal(torch.get_rng_state(), state)
        weights.append(model.net.fc2.weight)
    assert torch.equal(*weights)


def test_bf16_runs_layers_in_bfloat16_and_hands_on_float32(digits: tuple[Tensor, Tensor]) -> None:
    seen = set()

    class Look(CrossEntropy):
        def parts(self, logits: Tensor, y: Tensor) -> dict[str, Tensor]:
            seen.add(logits.dtype)
            return super().parts(logits, y)

    phase = Phase(epochs=1, batch_size=16, lr=1e-3)
    models = [build("lenet", DATASETS["digits"], seed=0) for _ in range(2)]
    for model, bf16 in zip(models, (False, True), strict=True):
        fit(model, Look(), *digits, [phase], seed=0, bf16=bf16)
    assert seen == {torch.float32}
    a, b = (model.net.fc3.weight for model in models)
    assert a.dtype == b.dtype == torch.float32
    assert not torch.equal(a, b)
    torch.testing.assert_close(a, b, atol=0.02, rtol=0)
