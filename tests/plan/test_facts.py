"""What a table says of a dataset decides its jobs, but for where its files are published."""

from dataclasses import replace

import pytest

from touchstone.attacks import ATTACKS
from touchstone.data import DATASETS
from touchstone.plan import build
from touchstone.plan.jobs import FetchJob, PrepareJob, facts
from touchstone.registry import RawFile

CIFAR = DATASETS["cifar10"]
OTHER = RawFile("cifar-10-batches-py/test_batch", "0" * 32)


@pytest.mark.parametrize(
    ("change", "decides"),
    [
        ({"source": "elsewhere"}, False),
        ({"mirrors": ("https://example.org/",)}, False),
        ({"archive": RawFile("cifar.tar", "0" * 32)}, False),
        ({"images": (1, 1)}, False),
        ({"files": (*CIFAR.files[:5], OTHER, CIFAR.files[6])}, True),
        ({"validation": 10}, True),
        ({"mean": (0.5, 0.5, 0.5)}, True),
    ],
)
def test_where_a_dataset_is_published_decides_no_job(
    change: dict[str, object], decides: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = facts(CIFAR), build.prepare_job("cifar10").to_params()
    monkeypatch.setitem(DATASETS, "cifar10", replace(CIFAR, **change))
    now = facts(DATASETS["cifar10"]), build.prepare_job("cifar10").to_params()
    assert (now[0] != before[0], now[1] != before[1]) == (decides, decides)


def test_the_sums_of_a_dataset_are_in_its_jobs() -> None:
    job = build.prepare_job("cifar10")
    assert PrepareJob.from_params(job.to_params()).to_params() == job.to_params()
    for file in CIFAR.files:
        assert file.md5 in str(job.to_params()["facts"])
    fetching = FetchJob(job.code, "cifar10", CIFAR.files)
    assert FetchJob.from_params(fetching.to_params()) == fetching
    assert fetching.to_params() != replace(fetching, files=(*CIFAR.files[:-1], OTHER)).to_params()


def test_what_an_attack_costs_decides_no_job() -> None:
    spec = ATTACKS["deepfool"]
    assert facts(replace(spec, passes=None, usual=0.5)) == facts(spec)
    assert facts(replace(spec, coupled=True)) != facts(spec)
