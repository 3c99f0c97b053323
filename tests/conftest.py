"""Shared by all tests: where the project is, and the shared data where there are any."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:  # tests of a GPU need none of what a plan imports
    from touchstone.plan.plan import Plan

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
GPU_TESTS = ROOT / "tests" / "gpu" / "test_device.py"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m gpu` read the tests of a GPU alone: its machine need not have what all the others import."""
    alone = config.getoption("markexpr") == "gpu"
    return True if alone and not GPU_TESTS.is_relative_to(collection_path) else None


def pytest_runtest_setup() -> None:
    """Undo what a job that an earlier test ran has fixed for the process (`jobs.common.set_up`): bits depend on it."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def laptop() -> "Plan":
    """The plan of configs/laptop.yaml, made once for all tests that only read it."""
    from shipped import planned

    return planned("configs/laptop.yaml")


@pytest.fixture(scope="session")
def paper() -> "Plan":
    """The plan of configs/paper.yaml, likewise."""
    from shipped import planned

    return planned("configs/paper.yaml")


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Path:
    """A copy of what the plan reads."""
    shutil.copytree(root / "studies", tmp_path / "studies")
    shutil.copytree(root / "configs", tmp_path / "configs")
    shutil.copy(root / "tests" / "minmax.yaml", tmp_path / "config.yaml")
    return tmp_path
