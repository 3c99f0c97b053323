"""The job that trains one model."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import safetensors.torch
import torch
from torch import nn

from touchstone import provenance
from touchstone.data.prepare import Dataset
from touchstone.files import read_sealed, sum_of, write_bytes, write_sealed
from touchstone.jobs.common import load_data, load_weights, make_defense, make_fresh, make_model, set_up
from touchstone.models.classifier import Given
from touchstone.models.given import read
from touchstone.paths import ModelFiles, Results
from touchstone.plan.jobs import Options, TrainJob
from touchstone.training import Checkpoint, Fit, fit_redrawn

LIBRARIES = ("torch", "torchvision", "timm")  # other ones may give other weights
GIVEN = {"flag": "given_weights", "detail": "others trained it: what is measured is theirs, and it has no history"}


class Start(NamedTuple):
    """The model whose weights a training starts from: its files, and what its run.json says."""

    files: ModelFiles
    run: dict[str, Any]

    @property
    def sha256(self) -> str:
        """Of its weights."""
        return str(self.run["model_sha256"])


def train(
    job: TrainJob,
    results: Results,
    every: Mapping[str, float | None] | None = None,
    given_file: str | Path | None = None,
) -> None:
    """Train one model and write its weights, history and run.json.

    Given weights without a phase are copied: that is the whole training. `given_file` is where they lie.

    A training that fails by its recipe (a loss that is not finite, no usable candidate, a start that failed) is a
    result: status "failed" with the reason. One that is killed goes on from what it saved, which is
    kept until the training is done; `every` is how often it saves, {epochs, minutes} (None: never).

    Raises:
        WeightsError: if the file of given weights cannot be used, or does not fit the model.
    """
    device = set_up(job.device, job.threads)
    data = load_data(job.subject.data, device)
    files = results.model(job.subject.model)
    given = _given(job, given_file)
    chosen, start, reason = _chosen(job, results), _start(job, results), ""
    if job.selects and chosen is None:
        reason = "no candidate met the selection criterion (see selection.json)"
    if start is not None and start.run["status"] != "ok":
        reason = f"the model it starts from failed: {start.run['reason']}"
    versions = provenance.versions()
    decides = {
        **job.to_params(),
        "dataset_sha256": data.sha256,
        "selected_options": chosen,
        "start_sha256": start.sha256 if start else None,
        "versions": {name: versions[name] for name in LIBRARIES},
    }
    checkpoint = Checkpoint(results.unfinished(job.subject.model), decides, **(every or {}))
    started = time.monotonic()
    if reason:
        model = make_model(job.net, data.name, job.subject.model.seed, given)
        result = Fit(status="failed", reason=reason)
    elif given is not None and not job.phases:
        model = make_fresh(job.net, data.name, job.subject.model.seed, data.train.x, given)
        result = Fit(status="ok", flags=[GIVEN])
    else:
        model, result = _fit(job, data, start, given, chosen or {}, checkpoint)
    history = result.history
    columns = ["epoch", "phase", "loss", "zero_gradients", "train_accuracy", "lr", "seconds"]
    frame = pd.DataFrame(history, columns=None if history else columns)
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
            "epochs": len(history),
            "epochs_kept": result.kept,  # per phase, the epoch whose weights it ended with
            "selected_options": chosen or None,
            "weights": params["weights"] and {"file": Path(str(given_file)).name, **params["weights"]},
            **{k: params[k] for k in ("net", "objective", "phases", "amp", "compile", "threads", "code")},
            "seconds": round(history[-1]["seconds"] if history else time.monotonic() - started, 1),
            "device": job.device if device.type == "cpu" else torch.cuda.get_device_name(device),
            "versions": versions,
            "dataset_sha256": data.sha256,
            "model_sha256": sum_of(content),
            "history_sha256": sum_of(table),
        },
    )
    checkpoint.remove()


def _chosen(job: TrainJob, results: Results) -> Options | None:
    """Return the options that were selected, {} where nothing had to be, None where no candidate was good enough."""
    if not job.selects:
        return {}
    return read_sealed(results.selection(job.subject.model).choice, "select")["selected_options"]


def _given(job: TrainJob, file: str | Path | None) -> Given | None:
    """Read the weights that it starts from, or that stand in its place, if there are any."""
    if job.weights is None:
        return None
    if file is None:
        raise ValueError("the training begins with given weights: say where their file lies")
    return Given(read(Path(file), job.weights.sha256, job.weights.form, job.weights.key), str(file))


def _start(job: TrainJob, results: Results) -> Start | None:
    """Return the model whose weights it starts from, if it does."""
    if job.start is None:
        return None
    files = results.model(job.start)
    return Start(files, read_sealed(files.run, "train"))


def _fit(
    job: TrainJob,
    data: Dataset,
    start: Start | None,
    given: Given | None,
    chosen: Options,
    checkpoint: Checkpoint,
) -> tuple[nn.Module, Fit]:
    """Train from the start that the job names, or go on from the checkpoint."""
    # rows that select an epoch are not trained on; the test set selects nothing
    share = max((p.validation_share for p in job.phases), default=0.0)
    selects = any(p.keep == "best_val" for p in job.phases)
    rows, validation = data.held_out(share) if share or selects else (data.train, None)
    if job.phases and not len(rows.y):
        raise ValueError(f"{data.name} has no training images: give the model's weights (`weights` of the study)")

    def build(seed: int) -> nn.Module:
        model = make_fresh(job.net, data.name, seed, rows.x, given)
        if start is not None:
            load_weights(model, start.files.weights, start.sha256)
        if job.compile:
            model.net.compile(dynamic=False)  # or a resumed training would meet other kernels than a whole one
        return model

    return fit_redrawn(
        build,
        make_defense(job.objective, chosen),
        rows.x,
        rows.y,
        job.phases,
        seed=job.subject.model.seed,
        redraws=job.redraws if start is None and given is None else 0,
        validation=validation,
        bf16=job.amp == "bf16",
        checkpoint=checkpoint,
    )
