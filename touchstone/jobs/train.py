"""The job that trains one model."""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from torch import nn

from touchstone import provenance
from touchstone.data.prepare import Dataset
from touchstone.data.prepare import load as load_dataset
from touchstone.files import write_bytes, write_json
from touchstone.jobs.common import load_weights, make_defense, make_model, make_phases, run_json, set_up, to_device
from touchstone.training import Checkpoint, Fit, fit_redrawn

CHECKPOINT = "unfinished.safetensors"


def train(
    params: Mapping[str, Any],
    cell: Mapping[str, Any],
    prepared: Path,
    selection: Path | None,
    init: Path | None,
    out: Path,
    every: Mapping[str, float | None] | None = None,
) -> None:
    """Train one model and write model.safetensors, history.csv and run.json under `out`.

    A training that fails by its recipe (a loss that is not finite, no usable candidate, a start that failed) is a
    result: status "failed" with the reason. One that is killed goes on from CHECKPOINT, which stays under `out` until
    the training is done; `every` is how often it is written, {epochs, minutes} (None: never).
    """
    device = set_up(params["device"], params["threads"])
    data = to_device(load_dataset(prepared), device)
    model = make_model(params["model"], params["dataset"], params["seed"]).to(device)
    chosen, start, reason = {}, None, ""
    if selection is not None:
        chosen = json.loads(selection.read_text())["selected_options"]
        reason = "" if chosen is not None else "no candidate met the selection criterion (see selection.json)"
    if init is not None:
        start = run_json(init.with_name("run.json"))
        if start["status"] != "ok":
            reason = f"the model it starts from failed: {start['reason']}"
    versions = provenance.versions()
    decides = {
        **{k: v for k, v in params.items() if k != "caps"},
        "dataset_sha256": data.sha256,
        "selected_options": chosen,
        "start_sha256": start and start["model_sha256"],
        "versions": {name: versions[name] for name in ("torch", "torchvision", "timm")},
    }
    checkpoint = Checkpoint(out / CHECKPOINT, decides, **(every or {}))
    started = time.monotonic()
    if reason:
        result = Fit(status="failed", reason=reason)
    else:
        model, result = _fit(params, data, device, init, chosen or {}, checkpoint)
    history = result.history
    columns = ["epoch", "phase", "loss", "zero_gradients", "train_accuracy", "lr", "seconds"]
    frame = pd.DataFrame(history, columns=None if history else columns)
    weights = {k: v.cpu().contiguous().clone() for k, v in model.state_dict().items()}  # cloned: layers may be tied
    content = safetensors.torch.save(weights)
    write_bytes(out / "model.safetensors", content)
    write_bytes(out / "history.csv", frame.to_csv(index=False).encode())
    write_json(
        out / "run.json",
        {
            "cell": dict(cell),
            "status": result.status,
            "reason": result.reason,
            "epoch_failed": result.epoch_failed,
            "flags": result.flags,
            "epochs": len(history),
            "epochs_kept": result.kept,  # per phase, the epoch whose weights it ended with
            "selected_options": chosen or None,
            **{k: params[k] for k in ("dataset", "model", "defense", "phases", "seed", "caps", "code")},
            "seconds": round(history[-1]["seconds"] if history else time.monotonic() - started, 1),
            **{k: params[k] for k in ("amp", "compile")},
            "device": params["device"] if device.type == "cpu" else torch.cuda.get_device_name(device),
            "threads": params["threads"],
            "versions": versions,
            "dataset_sha256": data.sha256,
            "model_sha256": hashlib.sha256(content).hexdigest(),
        },
    )
    checkpoint.remove()


def _fit(
    params: Mapping[str, Any],
    data: Dataset,
    device: torch.device,
    init: Path | None,
    chosen: Mapping[str, Any],
    checkpoint: Checkpoint,
) -> tuple[nn.Module, Fit]:
    """Train from the start that the params name, or go on from the checkpoint."""
    phases = make_phases(params["phases"])
    # rows that select an epoch are not trained on; the test set selects nothing
    share = max((p.validation_share for p in phases), default=0.0)
    selects = any(p.keep == "best_val" for p in phases)
    rows, validation = data.held_out(share) if share or selects else (data.train, None)

    def build(seed: int) -> nn.Module:
        model = make_model(params["model"], params["dataset"], seed).to(device)
        if init is not None:
            load_weights(model, init)
        if params["compile"]:
            model.net.compile(dynamic=False)  # or a resumed training would meet other kernels than a whole one
        return model

    return fit_redrawn(
        build,
        make_defense(params["defense"], **chosen),
        rows.x,
        rows.y,
        phases,
        seed=params["seed"],
        redraws=params["redraws"] if init is None else 0,
        validation=validation,
        bf16=params["amp"] == "bf16",
        checkpoint=checkpoint,
    )
