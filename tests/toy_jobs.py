"""Jobs on the standard model of tests/config.yaml, and what their files say."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from touchstone.cell import ModelId
from touchstone.files import read_sealed, write_sealed
from touchstone.jobs.train import train
from touchstone.paths import Results
from touchstone.plan import build
from touchstone.plan.jobs import TrainJob
from touchstone.plan.plan import Plan


def model_id(defense: str = "std", seed: int = 0) -> ModelId:
    return ModelId("minmax", "mnist", "lenet", defense, seed)


def training(plan: Plan, defense: str = "std", seed: int = 0) -> TrainJob:
    """A training whose constants, if they are to be selected, are given."""
    job = build.train_job(plan, model_id(defense))
    whose = replace(job.subject, model=job.subject.model._replace(seed=seed))
    return replace(job, subject=whose, selects=False)


def trained(job: TrainJob, results: Results, **more: Any) -> dict[str, Any]:
    """Run a training; return its run.json."""
    train(job, results, **more)
    return read_sealed(results.model(job.subject.model).run, "train")


def say(file: Path, **changes: Any) -> None:
    """Change what the JSON of a training says."""
    write_sealed(file, read_sealed(file, "train") | changes)


def flip(file: Path) -> None:
    """Change one bit of a file."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
