"""The jobs of the workflow, on embedded digits, without Snakemake."""

from pathlib import Path

import pytest

from touchstone import paths
from touchstone.data.prepare import prepare
from touchstone.paths import Results
from touchstone.plan.plan import Plan, make_plan


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    prepare("digits", folder, paths.prepared("digits", folder / paths.PREPARED))
    return folder / paths.DATA


@pytest.fixture(scope="session")
def plan(root: Path) -> Plan:
    return make_plan(root, root / "tests" / "config.yaml")


@pytest.fixture
def results(tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """The results of a run in a folder of its own, with the data beside them."""
    monkeypatch.chdir(tmp_path)
    Path(paths.DATA).symlink_to(digits)
    return Results.of("tiny")
