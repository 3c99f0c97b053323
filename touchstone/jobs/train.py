"""The job that trains one model."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from torch import nn

from touchstone import provenance
from touchstone.data.prepare import load as load_dataset
from touchstone.files import write_bytes, write_json
from touchstone.jobs.common import load_weights, make_defense, make_model, make_phases, run_json, set_up, to_device
from touchstone.training import fit_redrawn

log = logging.getLogger(__name__)


def train(
    params: Mapping[str, Any],
    cell: Mapping[str, Any],
    prepared: Path,
    selection: Path | None,
    init: Path | None,
    out: Path,
) -> None:
    """Train one model and write model.safetensors, history.csv and run.json under `out`.

    A training that fails by its recipe (a loss that is not finite, no usable candidate, a start that failed) is a
    result: status "failed" with the reason.
    """
    device = set_up(params["device"], params["threads"])
    data = to_device(load_dataset(prepared), device)
    model = make_model(params["model"], params["dataset"], params["seed"]).to(device)
    chosen, reason = {}, ""
    if selection is not None:
        chosen = json.loads(selection.read_text())["selected_options"]
        reason = "" if chosen is not None else "no candidate met the selection criterion (see selection.json)"
    if init is not None:
        before = run_json(init.with_name("run.json"))
        if before["status"] != "ok":
            reason = f"the model it starts from failed: {before['reason']}"
    started = time.monotonic()
    history, flags, failed_in, status = [], [], None, "failed" if reason else "ok"
    if not reason:

        def start(seed: int) -> nn.Module:
            fresh = make_model(params["model"], params["dataset"], seed).to(device)
            if init is not None:
                load_weights(fresh, init)
            return fresh

        model, result = fit_redrawn(
            start,
            make_defense(params["defense"], **(chosen or {})),
            data.train.x,
            data.train.y,
            make_phases(params["phases"]),
            seed=params["seed"],
            redraws=params["redraws"] if init is None else 0,
            on_epoch=log.info,
        )
        history, flags, failed_in = result.history, result.flags, result.epoch_failed
        status, reason = result.status, result.reason
    columns = ["epoch", "phase", "loss", "train_accuracy", "lr", "seconds"]
    frame = pd.DataFrame(history, columns=None if history else columns)
    weights = {k: v.cpu().contiguous() for k, v in model.state_dict().items()}
    content = safetensors.torch.save(weights)
    write_bytes(out / "model.safetensors", content)
    write_bytes(out / "history.csv", frame.to_csv(index=False).encode())
    write_json(
        out / "run.json",
        {
            "cell": dict(cell),
            "status": status,
            "reason": reason,
            "epoch_failed": failed_in,
            "flags": flags,
            "epochs": len(history),
            "selected_options": chosen or None,
            **{k: params[k] for k in ("dataset", "model", "defense", "phases", "seed", "caps", "code")},
            "seconds": round(time.monotonic() - started, 1),
            "device": params["device"] if device.type == "cpu" else torch.cuda.get_device_name(device),
            "threads": params["threads"],
            "versions": provenance.versions(),
            "dataset_sha256": data.sha256,
            "model_sha256": hashlib.sha256(content).hexdigest(),
        },
    )
