"""The benchmarks run: every system of every case on a few samples, and the verdicts follow the numbers."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from touchstone.data import DATASETS
from touchstone.models.classifier import Normalize, build
from touchstone.paths import prepared

PEERS = ("adv_lib", "foolbox", "pyautoattack", "torchattacks")
MISSING = [name for name in PEERS if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; they are in the extra `bench`"),
    pytest.mark.filterwarnings("ignore"),  # the peers use what their dependencies deprecate
]


def tiny(shape: tuple[int, ...] = (1, 28, 28)) -> Any:
    from benchmarks.nets import Subject

    model = build("lenet", DATASETS["mnist"], seed=0).eval().requires_grad_(False)
    x = torch.rand(6, *shape, generator=torch.Generator().manual_seed(0))
    return Subject("tiny", model, x, model(x).argmax(dim=1))


def test_a_dataset_that_another_process_is_still_preparing_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.nets import dataset

    monkeypatch.chdir(tmp_path)
    count = len(dataset("digits").test.y)
    prepared("digits").facts.unlink()  # as between the two files of `prepare`
    assert len(dataset("digits").test.y) == count


@pytest.mark.slow
def test_every_system_of_every_case_runs() -> None:
    from benchmarks.cases import CASES, GRID  # not while tests are collected: others patch Foolbox before its import

    at = tiny()
    for name, case in CASES.items():
        for system in case.systems.values():
            points = system.run(at, 4, 10)  # C&W of adv-lib wants ten
            assert len(points) in (1, len(GRID)), name
            assert all(isinstance(p, Tensor) and p.shape == at.x.shape for p in points), name


def test_a_measurement_counts_passes_and_compares() -> None:
    from benchmarks.__main__ import measure, section
    from benchmarks.cases import Case, System
    from benchmarks.nets import Subject

    def still(at: Any, batch: int, steps: int) -> list[Tensor]:
        """Ask for one gradient per step, and stay at the samples."""
        for part in list(at.x.split(batch)) * steps:
            inputs = part.clone().requires_grad_()
            torch.autograd.grad(at.model(inputs).sum(), inputs)
        return [at.x]

    def wrong(at: Any, batch: int, steps: int) -> list[Tensor]:
        still(at, batch, 8 * steps)
        return [1 - at.x]

    systems = {"ours": System(still, 2, peer=False), "peer": System(wrong, 2)}
    x = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    odd = nn.Sequential(Normalize((0.5,), (0.5,)), nn.Flatten(), nn.Linear(16, 3, bias=False)).requires_grad_(False)
    at = Subject("odd", odd, x, odd(x).argmax(dim=1))  # so that 1 - x is another class
    case = Case("lenet-std", 6, "l2", systems, {"ours": (1.0, 1.0)})
    found = measure(case, at, 2, lambda _: None)
    ours, peer = found["rows"]
    assert (ours["forwards"], ours["backwards"]) == (2, 2)
    assert (peer["forwards"], peer["backwards"]) == (16, 16)
    assert ours["success"] == 0
    assert peer["success"] == 1
    assert any("seconds" in text and "met" in text for text in found["verdicts"])
    assert any("norm" in text and "MISSED" in text for text in found["verdicts"])
    assert "| ours |" in section("x", case, found)


def test_ratios_are_taken_within_a_round() -> None:
    from benchmarks.timing import Timed, interleave, ratio

    assert ratio(Timed([2.0, 30.0, 2.2], None), Timed([1.0, 10.0, 1.0], None)) == pytest.approx(2.2)
    order: list[str] = []
    systems = {name: (lambda name=name: order.append(name)) for name in "abc"}
    interleave(systems, 3)
    assert order == list("abcbcacab")


@pytest.mark.slow
def test_memory_is_that_of_the_attack_and_not_of_who_measures_it() -> None:
    from benchmarks.memory import _apart

    more_than_a_child_needs = torch.ones(10**9, dtype=torch.uint8)
    assert 1 < _apart("pgd", {"samples": 512, "epsilons": 1, "classes": 10}) < 900
    del more_than_a_child_needs


def test_memory_is_measured_with_options_that_exist() -> None:
    from benchmarks.memory import ATTACKED
    from touchstone.attacks import ATTACKS
    from touchstone.registry import options

    for name, (norm, given) in ATTACKED.items():
        assert norm in ATTACKS[name].norms
        assert given.keys() <= options(ATTACKS[name].fn).keys(), name


def test_every_training_is_measured_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import training
    from touchstone.data.prepare import Dataset, Split

    def few(name: str) -> Dataset:
        x = torch.randint(256, (4, *DATASETS[name].shape), generator=torch.Generator().manual_seed(0)).byte()
        split = Split(x, torch.arange(4))
        return Dataset(name, split, split, torch.arange(0), "")

    monkeypatch.setattr(training, "dataset", few)
    monkeypatch.setattr(training, "WORKERS", (0,))
    passes = {
        "train-lenet5": {"step": 4, "forward": 5},  # four for the training accuracy, one row for the memory format
        "train-vgg13": {"step": 4, "forward": 5},
        "train-at": {"step": 4, "gradient": 40, "forward": 6},  # one more row asks for the number of classes
        "train-trades": {"step": 8, "gradient": 40, "forward": 9},
        "train-margin": {"step": 4, "forward": 5},
    }
    assert passes.keys() == training.TRAINING.keys()
    for name, case in training.TRAINING.items():
        model = "lenet5" if case.model == "vgg13" else case.model  # which takes seconds
        found = training.measure_training(case._replace(model=model, rows=4), 1, lambda _: None)
        by_name = {row["system"]: row for row in found["rows"]}
        assert by_name["ours"]["images"] == passes[name], name
        bare = sum(count / 4 * by_name[f"bare {kind}"]["median"] for kind, count in passes[name].items())
        assert found["verdicts"][0].startswith(f"{by_name['ours']['median'] / bare:.3f} of its passes bare (wanted"), (
            name
        )
        assert len(found["verdicts"]) == 1 + bool(case.plain) + bool(case.loader)
        assert "| ours |" in training.training_section(name, case, found)


def test_goals_are_met_or_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import training
    from benchmarks.timing import Timed

    case = training.TRAINING["train-lenet5"]._replace(rows=10, plain=3.0)
    spent = {"ours": 2.0, "bare step": 1.0, "bare forward": 0.5, "bare plain step": 0.4, "DataLoader, 0 workers": 9.0}
    timed = {name: Timed([s, s], None) for name, s in (spent | {"DataLoader, 2 workers": 3.0}).items()}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    over, plain, alone, helped = training._verdicts(case, timed, {"step": 10, "forward": 5})
    assert over == "1.600 of its passes bare (wanted <= 1.111: MISSED)"
    assert plain == "4.38x the steps of cross-entropy (wanted <= 3: MISSED)"  # without the forward passes
    assert alone == "a DataLoader with 0 workers takes 4.50x the time (wanted >= 2: met)"
    assert helped == "a DataLoader with 2 workers takes 1.50x the time (on more cores than ours)"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    *_, helped = training._verdicts(case, timed, {"step": 10, "forward": 5})
    assert helped == "a DataLoader with 2 workers takes 1.50x the time (wanted >= 2: MISSED)"


def test_models_trained_as_one_end_where_they_end_alone() -> None:
    from benchmarks.seeds import batched, separate

    models = [build("lenet", DATASETS["mnist"], seed=s).double() for s in (0, 1)]
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 4, 1, 28, 28, generator=generator, dtype=torch.float64)
    y = torch.randint(10, (2, 3, 4), generator=generator)
    start = [p.clone() for p in models[0].parameters()]
    one, alone = batched(models, x, y), separate(models, x, y)
    assert not torch.equal(alone[0]["net.conv1.weight"], start[0])
    for a, b in zip(one, alone, strict=True):
        torch.testing.assert_close(a, dict(b))
