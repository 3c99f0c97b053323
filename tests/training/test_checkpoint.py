"""A training that was interrupted ends with the bits of one that was not; a checkpoint of another training is void."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.data import DATASETS
from touchstone.data.prepare import Split
from touchstone.defenses.adv import Alternating
from touchstone.defenses.base import Defense
from touchstone.defenses.ce import CrossEntropy
from touchstone.models.classifier import build
from touchstone.recipe import Augment
from touchstone.rng import draw_seed
from touchstone.training import Checkpoint, Fit, OptimizerSettings, Phase, fit_redrawn
from touchstone.training.checkpoint import Saved
from touchstone.types import Step


class Judge(nn.Module):
    """A second net, a buffer that is no parameter, and how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = nn.Linear(10, 1)
        self.register_buffer("average", torch.zeros(10))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))


class WithJudge:
    """The model and a second net step in turn, each with its own optimiser; the model follows a running average."""

    def setup(self, model: nn.Module, seed: int) -> Judge:  # noqa: ARG002
        return Judge()

    def steps(self, model: nn.Module, extra: Judge, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:  # noqa: ARG002
        logits = model(x)
        extra.average.lerp_(logits.detach().mean(0), 0.1)
        extra.calls += 1
        judged = extra.net(logits.detach() - extra.average).square().mean()
        yield Step(extra.parameters(), judged, {"judged": judged}, group="critic")
        loss = F.cross_entropy(logits, y) + extra.net(logits - extra.average).mean() / (10 + extra.calls)
        yield Step(model.parameters(), loss, {"ce": loss})


class Halts(CrossEntropy):
    """Learns for two epochs, after which nothing moves: with plain SGD the best epoch is one of them."""

    def steps(self, model: nn.Module, extra: None, x: Tensor, y: Tensor, *, seed: int, epoch: int) -> Iterator[Step]:
        for step in super().steps(model, extra, x, y, seed=seed, epoch=epoch):
            yield step._replace(loss=step.loss * (epoch <= 2))


ONE = Phase(epochs=5, batch_size=16, lr=1e-3, schedule="exponential", gamma=0.8)
SGD = {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}
CASES: dict[str, tuple[str, Defense, list[Phase]]] = {
    "plain": ("lenet", CrossEntropy(), [ONE]),
    "sgd": ("lenet", CrossEntropy(), [replace(ONE, **SGD)]),
    "adversarial": ("lenet", Alternating("linf", 0.1, 2, 0.05, "normalized"), [ONE]),
    "two-optimisers": ("lenet", WithJudge(), [replace(ONE, groups={"critic": OptimizerSettings(lr=0.01, **SGD)})]),
    "second-phase": ("lenet", CrossEntropy(), [replace(ONE, epochs=2), replace(ONE, epochs=3, lr=0.01, **SGD)]),
    "end-of-phase": ("lenet", CrossEntropy(), [replace(ONE, epochs=3, keep="best_val"), replace(ONE, epochs=2)]),
    "best": (
        "lenet",
        Halts(),
        [replace(ONE, epochs=4, lr=0.05, optimizer="sgd", keep="best_val"), replace(ONE, epochs=1)],
    ),
    "statistics": ("smallcnn", CrossEntropy(), [replace(ONE, epochs=4, keep="best_val"), replace(ONE, epochs=1)]),
    "dropout-augment": ("mlp", CrossEntropy(), [replace(ONE, augment=Augment(crop=2, flip=True))]),
}
OPTIONS = {"mlp": {"hidden": [30], "init": "glorot", "dropout": 0.5}}


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """64 images, class k with a bright bar in row 2k plus noise."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(64) % 10
    x = (torch.rand(64, 1, 28, 28, generator=generator) * 200).to(torch.uint8)
    for image, label in zip(x, y, strict=True):
        image[0, 2 * label : 2 * label + 3] = 255
    return x, y


class Killed(Exception):
    """What interrupts a training."""


def kill_in(epoch: int) -> Callable[[str], None]:
    """Interrupt a training once that epoch is over, and before it is saved."""

    def report(line: str) -> None:
        if line.startswith(f"epoch {epoch}/"):
            raise Killed(line)

    return report


def run(case: str, digits: tuple[Tensor, Tensor], **more: Any) -> tuple[nn.Module, Fit]:
    name, defense, phases = CASES[case]
    return fit_redrawn(
        lambda seed: build(name, DATASETS["digits"], seed=seed, **OPTIONS.get(name, {})),
        defense, *(part[:50] for part in digits), phases, seed=3, redraws=0,
        validation=Split(*(part[50:] for part in digits)), **more,
    )  # fmt: skip


def assert_same(ours: tuple[nn.Module, Fit], other: tuple[nn.Module, Fit]) -> None:
    """Compare weights and results to the bit, seconds aside."""
    a, b = (model.state_dict() for model, _ in (ours, other))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    (_, first), (_, second) = ours, other
    for result in (first, second):
        assert all(row.pop("seconds") > 0 for row in result.history)
    assert first == second


@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_training_ends_with_the_same_bits(
    tmp_path: Path, digits: tuple[Tensor, Tensor], case: str
) -> None:
    checkpoint = Checkpoint(tmp_path / "unfinished", {"case": case}, epochs=1)
    with pytest.raises(Killed):
        run(case, digits, checkpoint=checkpoint, on_epoch=kill_in(4))
    lines: list[str] = []
    torch.manual_seed(99)
    resumed = run(case, digits, checkpoint=checkpoint, on_epoch=lines.append)
    assert lines[0] == "going on after epoch 3 of 5"
    assert [line.partition(":")[0] for line in lines[1:3]] == ["epoch 4/5", "epoch 5/5"]
    assert_same(resumed, run(case, digits))


def test_a_redrawn_initialisation_is_gone_on_with(tmp_path: Path, digits: tuple[Tensor, Tensor]) -> None:
    """The third initialisation is interrupted: those before it, which learned nothing, are not tried again."""
    tried: list[int] = []
    dead = [7, draw_seed(7, 1)]

    def start(seed: int) -> nn.Module:
        tried.append(seed)
        model = build("lenet", DATASETS["digits"], seed=seed)
        if seed in dead:
            for parameter in model.parameters():
                parameter.data.zero_().requires_grad_(parameter is model.net.fc3.bias)
        return model

    def train(**more: Any) -> tuple[nn.Module, Fit]:
        phases = [Phase(epochs=4, batch_size=8, lr=3e-3)]
        return fit_redrawn(start, CrossEntropy(), *digits, phases, seed=7, redraws=3, **more)

    checkpoint = Checkpoint(tmp_path / "unfinished", {}, epochs=1)
    with pytest.raises(Killed):
        train(checkpoint=checkpoint, on_epoch=kill_in(3))
    assert tried == [*dead, draw_seed(7, 2)]
    resumed = train(checkpoint=checkpoint)
    assert tried == [*dead, draw_seed(7, 2), draw_seed(7, 2)]
    assert [flag["flag"] for flag in resumed[1].flags] == ["redrawn"]
    assert_same(resumed, train())


IDENTITY = {"phases": [{"lr": 0.1}], "code": "abc", "dataset_sha256": "123", "betas": (0.9, 0.99)}


@pytest.fixture
def written(tmp_path: Path) -> Checkpoint:
    checkpoint = Checkpoint(tmp_path / "unfinished", IDENTITY, epochs=2)
    checkpoint.save(3, Saved({"model.w": torch.eye(2)}, {"history": [{"loss": 0.1}], "best": None}))
    return checkpoint


def test_what_is_saved_is_read_back(written: Checkpoint) -> None:
    saved = Checkpoint(written.path, IDENTITY).load()
    assert torch.equal(saved.tensors["model.w"], torch.eye(2))
    assert saved.facts == {"history": [{"loss": 0.1}], "best": None}


def test_weights_that_layers_share_are_saved_for_each(written: Checkpoint) -> None:
    shared = torch.eye(3)
    written.save(4, Saved({"model.a": shared, "model.b": shared}, {}))
    assert torch.equal(written.load().tensors["model.b"], shared)


@pytest.mark.parametrize(
    ("key", "value"), [("phases", [{"lr": 0.2}]), ("code", "abd"), ("dataset_sha256", "124"), ("more", 1)]
)
def test_another_recipe_code_or_data_makes_it_void_and_the_log_says_which(
    written: Checkpoint, caplog: pytest.LogCaptureFixture, key: str, value: object
) -> None:
    with caplog.at_level(logging.WARNING):
        assert Checkpoint(written.path, {**IDENTITY, key: value}).load() is None
    assert caplog.messages == [f"unfinished is void, training starts anew: it was made with other {key}"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c[:0],
        lambda c: c[:50],
        lambda c: c[:-4],
        lambda c: c[::-1],
        lambda c: c[:-1] + bytes([c[-1] ^ 1]),  # one bit of a weight
        lambda c: c.replace(b"0.1", b"0.2"),  # a loss in the header
    ],
)
def test_a_damaged_file_is_void(
    written: Checkpoint, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    written.path.write_bytes(damage(written.path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert written.load() is None
    assert "it cannot be read" in caplog.text


@pytest.mark.parametrize("header", [None, {}, {"touchstone": "{}"}, {"touchstone": "[]"}])
def test_a_file_of_someone_else_is_void(
    written: Checkpoint, caplog: pytest.LogCaptureFixture, header: dict[str, str] | None
) -> None:
    safetensors.torch.save_file({"w": torch.eye(2)}, written.path, header)
    with caplog.at_level(logging.WARNING):
        assert written.load() is None
    assert "it cannot be read" in caplog.text


def test_no_file_is_no_checkpoint_and_nothing_to_say(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Checkpoint(tmp_path / "unfinished", IDENTITY).load() is None
    assert caplog.messages == []


def test_it_is_due_after_so_many_epochs_or_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("touchstone.training.checkpoint.time.monotonic", lambda: now[0])
    by_epochs, by_minutes, either, never = (
        Checkpoint(tmp_path / str(number), {}, **every)
        for number, every in enumerate(({"epochs": 3}, {"minutes": 2}, {"epochs": 3, "minutes": 2}, {}))
    )
    assert [c.due(2) for c in (by_epochs, by_minutes, either, never)] == [False, False, False, False]
    assert [c.due(3) for c in (by_epochs, by_minutes, either, never)] == [True, False, True, False]
    now[0] = 120.0
    assert [c.due(2) for c in (by_epochs, by_minutes, either, never)] == [False, True, True, False]
    either.save(4, Saved({}, {}))
    now[0] = 239.0
    assert (either.due(6), either.due(7)) == (False, True)
    now[0] = 240.0
    assert either.due(5)


def test_a_kill_while_it_is_written_leaves_the_one_before(written: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("touchstone.files.os.replace", fails)
    with pytest.raises(Killed):
        written.save(5, Saved({"model.w": torch.zeros(2, 2)}, {}))
    assert torch.equal(written.load().tensors["model.w"], torch.eye(2))


def test_its_header_is_json(written: Checkpoint) -> None:
    with safetensors.safe_open(written.path, framework="pt") as file:
        header = json.loads(file.metadata()["touchstone"])
    assert header["identity"]["code"] == "abc"
