"""How much a run trains, as its plan says; planning needs libraries that a bare machine for a GPU lacks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

for needed in ("pydantic", "ruamel.yaml"):
    pytest.importorskip(needed, reason=f"planning needs {needed}")

from benchmarks.gpu import trainings  # noqa: E402
from touchstone.cell import ModelId  # noqa: E402


def test_the_table_of_trainings_is_that_of_the_plan(root: Path) -> None:
    plan = trainings.make_plan(root, root / "tests" / "minmax.yaml")
    rows = trainings.table(plan)
    assert sum(row["nets"] for row in rows) == len(plan.trained) > 0
    model = plan.trained[0]
    assert isinstance(model, ModelId)
    one = trainings.training(plan, model)
    assert one.epochs == sum(phase.epochs for phase in trainings.phases(plan, model)[0])
    assert one.images == trainings.counts(plan.dataset(one.dataset))[0]
    assert {row["study"] for row in rows} == {model.study for model in plan.trained}
    assert json.loads(json.dumps(rows))


def test_every_training_of_the_papers_is_in_the_table(root: Path) -> None:
    plan = trainings.make_plan(root, root / "configs" / "paper.yaml")
    assert sum(row["nets"] for row in trainings.table(plan)) == len(plan.trained)


def test_the_table_of_trainings_needs_no_torch() -> None:
    code = "import sys, benchmarks.gpu.trainings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
