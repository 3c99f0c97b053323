"""The job that trains one model."""

import hashlib
import json
import time
from collections.abc import Mapping

import pandas as pd
import safetensors.torch
import torch
from torch import nn

from touchstone import provenance
from touchstone.data.prepare import Dataset
from touchstone.files import write_bytes, write_json
from touchstone.jobs.common import load_data, load_weights, make_defense, make_model, run_json, set_up
from touchstone.paths import CHECKPOINT, ModelFiles, Results
from touchstone.plan.jobs import Options, TrainJob
from touchstone.training import Checkpoint, Fit, fit_redrawn

LIBRARIES = ("torch", "torchvision", "timm")  # other ones may give other weights


def train(job: TrainJob, results: Results, every: Mapping[str, float | None] | None = None) -> None:
    """Train one model and write model.safetensors, history.csv and run.json.

    A training that fails by its recipe (a loss that is not finite, no usable candidate, a start that failed) is a
    result: status "failed" with the reason. One that is killed goes on from CHECKPOINT, which stays beside the outputs
    until the training is done; `every` is how often it is written, {epochs, minutes} (None: never).
    """
    device = set_up(job.device, job.threads)
    data = load_data(job.subject.data, device)
    files = results.model(job.subject.model)
    model = make_model(job.net, data.name, job.subject.model.seed).to(device)
    chosen, start, reason = _chosen(job, results), _start(job, results), ""
    if job.selects and chosen is None:
        reason = "no candidate met the selection criterion (see selection.json)"
    if start is not None and (run := run_json(start.run))["status"] != "ok":
        reason = f"the model it starts from failed: {run['reason']}"
    versions = provenance.versions()
    decides = {
        **job.to_params(),
        "dataset_sha256": data.sha256,
        "selected_options": chosen,
        "start_sha256": run_json(start.run)["model_sha256"] if start else None,
        "versions": {name: versions[name] for name in LIBRARIES},
    }
    checkpoint = Checkpoint(files.weights.with_name(CHECKPOINT), decides, **(every or {}))
    started = time.monotonic()
    if reason:
        result = Fit(status="failed", reason=reason)
    else:
        model, result = _fit(job, data, device, start, chosen or {}, checkpoint)
    history = result.history
    columns = ["epoch", "phase", "loss", "zero_gradients", "train_accuracy", "lr", "seconds"]
    frame = pd.DataFrame(history, columns=None if history else columns)
    weights = {k: v.cpu().contiguous().clone() for k, v in model.state_dict().items()}  # cloned: layers may be tied
    content, table = safetensors.torch.save(weights), frame.to_csv(index=False).encode()
    write_bytes(files.weights, content)
    write_bytes(files.history, table)
    params = job.to_params()
    write_json(
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
            **{k: params[k] for k in ("net", "objective", "phases", "amp", "compile", "threads", "code")},
            "seconds": round(history[-1]["seconds"] if history else time.monotonic() - started, 1),
            "device": job.device if device.type == "cpu" else torch.cuda.get_device_name(device),
            "versions": versions,
            "dataset_sha256": data.sha256,
            "model_sha256": hashlib.sha256(content).hexdigest(),
            "history_sha256": hashlib.sha256(table).hexdigest(),
        },
    )
    checkpoint.remove()


def _chosen(job: TrainJob, results: Results) -> Options | None:
    """Return the options that were selected, {} where nothing had to be, None where no candidate was good enough."""
    if not job.selects:
        return {}
    return json.loads(results.selection(job.subject.model).read_text())["selected_options"]


def _start(job: TrainJob, results: Results) -> ModelFiles | None:
    """Return the files of the model whose weights it starts from, if it does."""
    return results.model(job.start) if job.start else None


def _fit(
    job: TrainJob,
    data: Dataset,
    device: torch.device,
    start: ModelFiles | None,
    chosen: Options,
    checkpoint: Checkpoint,
) -> tuple[nn.Module, Fit]:
    """Train from the start that the job names, or go on from the checkpoint."""
    # rows that select an epoch are not trained on; the test set selects nothing
    share = max((p.validation_share for p in job.phases), default=0.0)
    selects = any(p.keep == "best_val" for p in job.phases)
    rows, validation = data.held_out(share) if share or selects else (data.train, None)

    def build(seed: int) -> nn.Module:
        model = make_model(job.net, data.name, seed).to(device)
        if start is not None:
            load_weights(model, start.weights, run_json(start.run)["model_sha256"])
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
        redraws=job.redraws if start is None else 0,
        validation=validation,
        bf16=job.amp == "bf16",
        checkpoint=checkpoint,
    )
