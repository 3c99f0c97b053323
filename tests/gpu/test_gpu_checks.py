"""The checks of a GPU, shown on a CPU that stands for one: they run, and they can fail."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.gpu import agreement, endurance
from benchmarks.gpu.__main__ import JOBS
from benchmarks.gpu.job import CHECK, Finding, Job, NotHere, Site
from touchstone.attacks import ATTACKS
from touchstone.defenses import DEFENSES
from touchstone.defenses.ce import CrossEntropy
from touchstone.models import MODELS
from touchstone.models.net import Net
from touchstone.rng import SampleRng

CPU = torch.device("cpu")
CHECKS = [pytest.param(job, id=job.name) for job in JOBS if job.part == CHECK]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(CPU, tiny=True, scratch=tmp_path)


@pytest.fixture(autouse=True)
def _deterministic() -> Iterator[None]:
    """As `machine.set_up` asks for; nothing of it is left behind."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_every_attack_norm_defense_and_model_has_a_check() -> None:
    names = {job.name for job in JOBS if job.part == CHECK}
    attacks = {f"attack {n} {norm}" for n, spec in ATTACKS.items() if not spec.foreign for norm in spec.norms}
    assert attacks | {f"defense {name}" for name in DEFENSES} | {f"model {name}" for name in MODELS} <= names
    assert {f"compile {name}" for name, spec in DEFENSES.items() if spec.compiles} <= names
    assert len({job.key for job in JOBS}) == len(JOBS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # PyTorch's compiler itself looks there
@pytest.mark.parametrize("job", CHECKS)
def test_every_check_passes_where_the_device_is_a_cpu(job: Job, site: Site) -> None:
    try:
        found = job.run(site)
    except NotHere as reason:
        pytest.skip(str(reason))
    assert isinstance(found, Finding)
    assert found.text


def on_device() -> bool:
    """Say whether what is computed is that of the device under test: see `machine.under_test`."""
    return not torch._C._get_mkldnn_enabled()


def scaled(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, factor: float) -> None:
    """Let a method that returns a tensor return another one on the device under test."""
    real = getattr(owner, name)

    def other(*args: Any, **options: Any) -> Tensor:
        out = real(*args, **options)
        return out * factor if on_device() else out

    monkeypatch.setattr(owner, name, other)


def test_other_draws_are_noticed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    agreement.draws(site)
    real, calls = SampleRng.integers, []

    def other(*args: Any, **options: Any) -> Tensor:
        calls.append(None)
        return real(*args, **options).flip(0) if len(calls) == 2 else real(*args, **options)

    monkeypatch.setattr(SampleRng, "integers", other)
    with pytest.raises(AssertionError, match="apart"):
        agreement.draws(site)


def test_an_attack_that_breaks_less_is_noticed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    agreement.attack_agrees(site, "fgsm", "linf")
    scaled(monkeypatch, Net, "forward", 0.0)
    with pytest.raises(AssertionError, match="broken on one device alone"):
        agreement.attack_agrees(site, "fgsm", "linf")


def test_an_attack_whose_library_is_absent_is_said_to_be(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("No module named 'numba'", name="numba")

    monkeypatch.setattr(agreement, "_attacked", absent)
    with pytest.raises(NotHere, match="numba is not installed"):
        agreement.attack_agrees(site, "pgd", "linf")


def test_another_loss_or_gradient_is_noticed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    agreement.defense_agrees(site, "ce")
    real = CrossEntropy.parts

    def other(self: CrossEntropy, logits: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {name: part * (1 + 1e-5 * on_device()) for name, part in real(self, logits, y).items()}

    monkeypatch.setattr(CrossEntropy, "parts", other)
    with pytest.raises(AssertionError, match=r"differs by 1.0e-05 of its length"):
        agreement.defense_agrees(site, "ce")


def test_other_logits_and_verdicts_are_noticed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    agreement.model_agrees(site, "lenet")
    agreement.verdict_agrees(site)
    scaled(monkeypatch, Net, "forward", 1.001)  # about what TF32 does
    with pytest.raises(AssertionError, match="of the largest"):
        agreement.model_agrees(site, "lenet")
    with pytest.raises(AssertionError, match="not float32"):
        agreement.verdict_agrees(site)
    scaled(monkeypatch, Net, "forward", -1.0)
    with pytest.raises(AssertionError, match="differs for"):
        agreement.verdict_agrees(site)


def test_preflight_that_measures_otherwise_is_noticed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    agreement.preflight_agrees(site)
    scaled(monkeypatch, Net, "forward", 30.0)
    with pytest.raises(AssertionError, match=r"saturated|gradient"):
        agreement.preflight_agrees(site)


def test_a_run_that_differs_from_the_one_before_is_noticed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real, drift = Net.forward, []

    def other(self: Net, x: Tensor) -> Tensor:
        drift.append(None)
        return real(self, x + 1e-5 * len(drift))

    monkeypatch.setattr(Net, "forward", other)
    with pytest.raises(AssertionError, match="apart"):
        endurance.attacks_repeat(site)
    with pytest.raises(AssertionError, match="apart"):
        endurance.training_repeats(site)


def test_a_batch_that_fits_is_no_evidence(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endurance, "Narrow", lambda model, _: model)
    with pytest.raises(AssertionError, match="it fitted"):
        endurance.memory_halves(site)


def test_a_training_that_was_not_killed_is_no_evidence(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endurance.sys, "executable", "true")
    with pytest.raises(AssertionError, match="exit status 0"):
        endurance.resumes(site)


def test_bfloat16_that_learns_less_is_noticed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = endurance.accuracy
    reached = iter((0.0, 0.031))

    def less(*args: Any) -> float:
        return real(*args) - next(reached)

    monkeypatch.setattr(endurance, "accuracy", less)
    monkeypatch.setattr(endurance, "fit", lambda *_, **__: None)
    with pytest.raises(AssertionError, match=r"0.03 less is allowed"):
        endurance.bf16_trains(site)


def test_a_compiled_net_that_learns_otherwise_is_noticed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = endurance._trained

    def other(site: Site, name: str, backend: str | None) -> Any:
        result, weights = real(site, name, None)
        return result, {key: w * (1.01 if backend else 1.0) for key, w in weights.items()}

    monkeypatch.setattr(endurance, "_trained", other)
    with pytest.raises(AssertionError, match="apart"):
        endurance.compiles(site, "ce")


def test_seeds_that_mix_are_noticed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = endurance.seeds.separate

    def mixed(models: list[nn.Module], x: Tensor, y: Tensor) -> Any:
        return real(models[::-1], x, y)

    monkeypatch.setattr(endurance.seeds, "separate", mixed)
    with pytest.raises(AssertionError, match="apart"):
        endurance.seeds_agree(site)
