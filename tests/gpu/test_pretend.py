"""What `make gpu` checks on a GPU runs through without one: nothing is left on the CPU, nothing is refused."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from pretend import DEVICE, pretended
from torch import Tensor, nn

from benchmarks.gpu import agreement, endurance, longest, speed, training
from benchmarks.gpu.job import Job, NotHere, Site
from benchmarks.peers import library

PEERS = ("torchattacks", "foolbox", "adv_lib.attacks", "pyautoattack")
ON_ONE_DEVICE = {"attacks repeat", "training repeats", "bf16 training", "seeds as one"}
JOBS = [
    *(job for job in agreement.FIRST if "TF32" not in job.name),
    *(job for job in agreement.ATTACKED if "brendel" not in job.name),
    *agreement.TRAINED,
    *agreement.BUILT,
    *(job for job in endurance.CORE if job.name in ON_ONE_DEVICE),
    endurance.SEEDS,
    longest.LONGEST,
    *(job for job in training.RATES if "float32" in job.name),
]


@pytest.fixture
def device() -> Iterator[torch.device]:
    with pretended() as there:
        yield there


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # autocast sees that there is no GPU
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_what_a_gpu_shows_runs_through(job: Job, tmp_path: Path) -> None:
    agreement.trained()
    try:
        with pretended() as there:
            job.run(Site(there, tiny=True, scratch=tmp_path))
    except NotHere as reason:
        pytest.skip(str(reason))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # peers use what their dependencies deprecate
@pytest.mark.parametrize("name", speed.CASES)
def test_every_system_of_a_case_attacks_there(name: str, tmp_path: Path) -> None:
    for module in PEERS:
        try:
            library(module)
        except ModuleNotFoundError as missing:
            pytest.skip(f"{missing.name} is not installed")
    with pretended() as there:
        speed.attacked.cache_clear()  # nets of another device that was not there
        at = speed.subject(speed.CASES[name], Site(there, tiny=True, scratch=tmp_path))
        for run in speed.CASES[name].systems.values():
            points = run(at, len(at.x), speed.FEWEST)
            assert all(p.shape == at.x.shape and p.isfinite().all() for p in points)
    speed.attacked.cache_clear()


def test_tensors_are_where_they_were_put(device: torch.device) -> None:
    x = torch.rand(3, 4).to(device)
    assert (x.device, x[0].device, (2 * x).sum().device, torch.zeros(3, device=device).device) == (DEVICE,) * 4
    assert x.cpu().device == torch.device("cpu")
    model = nn.Linear(4, 2).to(x)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    model(x.requires_grad_()).sum().backward()
    optimizer.step()
    assert (x.grad.device, model.weight.device, optimizer.state[model.weight]["step"].device) == (DEVICE,) * 3
    assert x.double().long().to(torch.ones(1)).device == torch.device("cpu")


MIXED: dict[str, Callable[[Tensor, Tensor], object]] = {
    "sum": lambda x, y: x + y,
    "product": lambda x, y: x @ y.T,
    "gather": lambda x, _: x.gather(1, torch.zeros(3, 1, dtype=torch.int64)),
    "choice": lambda x, y: torch.where(x > 0, x, y),
    "index on the GPU of a tensor on the CPU": lambda x, y: y[x.argsort(dim=0)[0]],
    "assignment": lambda x, y: x.index_put_((torch.tensor([0]),), y[:1]),
    "model": lambda x, _: nn.Linear(4, 2)(x),
}


@pytest.mark.parametrize("name", MIXED)
def test_devices_do_not_mix(name: str, device: torch.device) -> None:
    x, y = torch.rand(3, 4).to(device), torch.rand(3, 4)
    with pytest.raises(RuntimeError, match="tensors on the GPU meet some on the CPU"):
        MIXED[name](x, y)


def test_what_may_mix_may(device: torch.device) -> None:
    x = torch.rand(3, 4).to(device)
    assert (x + torch.tensor(2.0)).device == DEVICE
    assert x[torch.tensor([0, 1])].device == DEVICE
    x[torch.tensor([0])] = torch.tensor(1.0)
    x.copy_(torch.zeros(3, 4))
    assert torch.zeros(3, 4).copy_(x).device == torch.device("cpu")


def test_a_generator_draws_on_its_device(device: torch.device) -> None:
    x, here, there = torch.zeros(3).to(device), torch.Generator().manual_seed(0), torch.Generator(device).manual_seed(0)
    assert torch.rand(3, generator=there, device=device).device == x.normal_(generator=there).device == DEVICE
    assert torch.randperm(3, generator=here).device == torch.device("cpu")
    with pytest.raises(RuntimeError, match="its generator"):
        torch.rand(3, generator=here, device=device)
    with pytest.raises(RuntimeError, match="its generator"):
        x.normal_(generator=here)


def test_what_has_no_deterministic_form_is_refused(device: torch.device) -> None:
    x = torch.rand(1, 1, 4, 4).to(device).requires_grad_()
    with pytest.raises(RuntimeError, match="deterministic"):
        torch.histc(x.detach())
    with pytest.raises(RuntimeError, match="deterministic"):
        nn.AdaptiveAvgPool2d(2)(x).sum().backward()
    with pytest.raises(TypeError, match="to numpy"):
        x.detach().numpy()
