"""The job that trains one model."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd
import safetensors.torch
import torch
from torch import nn

from touchstone import provenance
from touchstone.data.prepare import Dataset
from touchstone.files import read_sealed, sum_of, write_bytes, write_sealed
from touchstone.jobs.common import load_data, load_weights, make_defense, make_fresh, make_model, set_up
from touchstone.jobs.probe import monitor
from touchstone.models.classifier import Given
from touchstone.models.given import read
from touchstone.paths import ModelFiles, Results
from touchstone.plan.jobs import Options, TrainJob
from touchstone.runs import Run, read_run
from touchstone.training import Checkpoint, Fit, fit_redrawn

LIBRARIES = ("torch", "torchvision", "timm")  # other ones may give other weights
GIVEN = {"flag": "given_weights", "detail": "others trained it: what is measured is theirs, and it has no history"}
UNBOUNDED = {
    "flag": "unbounded",
    "detail": "the objective pushes weights outwards without end: what the net is depends on how long it was trained",
}


class Every(TypedDict, total=False):
    """How often a training saves what it needs to go on; None: not by this."""

    epochs: int | None
    minutes: float | None


@dataclass(frozen=True)
class Beginning:
    """What a training begins with.

    Attributes:
        chosen: options that were selected, {} where nothing had to be, None where no candidate was good enough.
        start: the model whose weights it starts from, if it does.
        given: weights of others that it starts from, or that stand in its place.
    """

    chosen: Options | None
    start: Run | None
    given: Given | None

    @property
    def missing(self) -> str:
        """Why nothing can be trained, "" if something can."""
        if self.start is not None and self.start.status != "ok":
            return f"the model it starts from failed: {self.start.reason}"
        return "no candidate met the selection criterion (see selection.json)" if self.chosen is None else ""


def train(
    job: TrainJob,
    results: Results,
    every: Every | None = None,
    given_file: str | Path | None = None,
) -> None:
    """Train one model and write its weights, history and run.json.

    Given weights without a phase are copied: that is the whole training. `given_file` is where they lie.

    A training that fails by its recipe (a loss that is not finite, no usable candidate, a start that failed) is a
    result: status "failed" with the reason. One that is killed goes on from what it saved;
    `every` is how often it saves; never by itself. The file outlives this job, which may yet be killed and lose what it
    wrote; whoever knows that its outputs are safe removes it.

    Raises:
        WeightsError: if the file of given weights cannot be used, or does not fit the model.
    """
    device = set_up(job.device, job.threads)
    data = load_data(job.subject.data, device)
    begins = Beginning(_chosen(job, results), _start(job, results), _given(job, given_file))
    versions = provenance.versions()
    decides = {
        **job.to_params(),
        "dataset_sha256": data.sha256,
        "selected_options": begins.chosen,
        "start_sha256": begins.start.model_sha256 if begins.start else None,
        "versions": {name: versions[name] for name in LIBRARIES},
    }
    checkpoint = Checkpoint(results.unfinished(job.subject.model), decides, **(every or Every()))
    started = time.monotonic()
    model, result = _trained(job, data, begins, checkpoint)
    seconds = result.history[-1]["seconds"] if result.history else time.monotonic() - started
    about = {
        "selected_options": begins.chosen or None,
        "weights": job.weights and {"file": Path(str(given_file)).name, **job.to_params()["weights"]},
        "seconds": round(seconds, 1),
        "device": job.device if device.type == "cpu" else torch.cuda.get_device_name(device),
        "versions": versions,
        "dataset_sha256": data.sha256,
    }
    _write(results.model(job.subject.model), job, model, result, about)


def _write(files: ModelFiles, job: TrainJob, model: nn.Module, result: Fit, about: Mapping[str, Any]) -> None:
    """Write weights, history and what is said of them."""
    columns = ["epoch", "phase", "loss", "zero_gradients", "train_accuracy", "lr", "seconds"]
    frame = pd.DataFrame(result.history, columns=None if result.history else columns)
    weights = {k: v.cpu().contiguous().clone() for k, v in model.state_dict().items()}  # cloned: layers may be tied
    content, table = safetensors.torch.save(weights), frame.to_csv(index=False).encode()
    write_bytes(files.weights, content)
    write_bytes(files.history, table)
    params = job.to_params()
    write_sealed(
        files.run,
        {
            "cell": job.subject.words(),
            "status": result.status,
            "reason": result.reason,
            "epoch_failed": result.epoch_failed,
            "flags": result.flags,
            "epochs": len(result.history),
            "epochs_kept": result.kept,  # per phase, the epoch whose weights it ended with
            **about,
            **{k: params[k] for k in ("net", "objective", "phases", "amp", "compile", "threads", "code")},
            "model_sha256": sum_of(content),
            "history_sha256": sum_of(table),
        },
    )


def _chosen(job: TrainJob, results: Results) -> Options | None:
    """Return the options that were selected, {} where nothing had to be, None where no candidate was good enough."""
    if not job.selects:
        return {}
    options: Options | None = read_sealed(results.selection(job.subject.model).choice, "select")["selected_options"]
    return options


def _given(job: TrainJob, file: str | Path | None) -> Given | None:
    """Read the weights that it starts from, or that stand in its place, if there are any."""
    if job.weights is None:
        return None
    if file is None:
        raise ValueError("the training begins with given weights: say where their file lies")
    return Given(read(Path(file), job.weights.sha256, job.weights.form, job.weights.key), str(file))


def _start(job: TrainJob, results: Results) -> Run | None:
    """Return the model whose weights it starts from, if it does."""
    return read_run(results.model(job.start).run) if job.start else None


def _trained(job: TrainJob, data: Dataset, begins: Beginning, checkpoint: Checkpoint) -> tuple[nn.Module, Fit]:
    """Return a model and what became of it: trained, given, or untrained where it cannot be."""
    seed = job.subject.model.seed
    if begins.missing:
        return make_model(job.net, data.name, seed, begins.given), Fit(status="failed", reason=begins.missing)
    if begins.given is not None and not job.phases:
        return make_fresh(job.net, data.name, seed, data.train.x, begins.given), Fit(status="ok", flags=[GIVEN])
    return _fit(job, data, begins, checkpoint)


def _fit(job: TrainJob, data: Dataset, begins: Beginning, checkpoint: Checkpoint) -> tuple[nn.Module, Fit]:
    """Train from the start that the job names, or go on from the checkpoint."""
    # rows that select an epoch are not trained on; the test set selects nothing
    share = max((p.validation_share for p in job.phases), default=0.0)
    selects = any(p.keep == "best_val" for p in job.phases)
    rows, validation = data.held_out(share) if share or selects else (data.train, None)
    if job.phases and not len(rows.y):
        raise ValueError(f"{data.name} has no training images: give the model's weights (`weights` of the study)")

    def build(seed: int) -> nn.Module:
        model = make_fresh(job.net, data.name, seed, rows.x, begins.given)
        if begins.start is not None:
            load_weights(model, begins.start)
        if job.compile:
            model.net.compile(dynamic=False)  # or a resumed training would meet other kernels than a whole one
        return model

    defense = make_defense(job.objective, begins.chosen)
    model, result = fit_redrawn(
        build,
        defense,
        rows.x,
        rows.y,
        job.phases,
        seed=job.subject.model.seed,
        redraws=job.redraws if begins.start is None and begins.given is None else 0,
        validation=validation,
        monitor=job.watched and monitor(job.watched, rows, data.test, job.subject.model.seed),
        bf16=job.amp == "bf16",
        checkpoint=checkpoint,
    )
    if result.status == "ok" and not defense.bounded(model):
        result.flags.append(UNBOUNDED)
    return model, result
