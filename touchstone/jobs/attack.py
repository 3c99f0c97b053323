"""The job that runs one attack over all its epsilons on one model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch

from touchstone import provenance, records
from touchstone.attacks import ATTACKS
from touchstone.data.prepare import load as load_dataset
from touchstone.data.prepare import spread, to_float
from touchstone.evaluation import loop
from touchstone.files import write_bytes
from touchstone.jobs.common import load_weights, make_model, run_json, set_up, threat_of, to_device
from touchstone.log import progress


def attack(params: Mapping[str, Any], cell: Mapping[str, Any], prepared: Path, model_file: Path, out: Path) -> None:
    """Run one attack over all its epsilons on one model; write records.parquet and examples.safetensors under `out`."""
    device = set_up(params["device"], params["threads"])
    data = to_device(load_dataset(prepared), device)
    model = make_model(params["model"], params["dataset"], params["seed"]).to(device)
    sha256 = load_weights(model, model_file)
    training = run_json(model_file.with_name("run.json"))
    index = spread(data.test.y.cpu())[: params["samples"]].to(device)
    threat = threat_of(params["threat"])
    if training["status"] != "ok":
        frame, examples, info = loop.empty(training["reason"])
    else:
        frame, examples, info = loop.run(
            model.eval(),
            to_float(data.test.x[index]),
            data.test.y[index],
            spec_name=params["fn"],
            options=params["options"],
            threat=threat,
            protocol=params["protocol"],
            seed=params["seed"],
            batch_size=params["batch_size"],
            progress=progress(params["attack"]),
            slug=params["attack"],
            index=index,
            probe=params["protocol"] == "published",
        )
    spec = ATTACKS[params["fn"]]
    metadata = {
        "cell": dict(cell),
        **{k: params[k] for k in ("attack", "fn", "options", "protocol", "threat", "caps")},
        **{k: params[k] for k in ("device", "threads", "batch_size", "code")},
        "kind": spec.kind,
        "status": "ok",
        "reason": "",
        **info,
        "samples": len(index),
        "versions": provenance.versions(),
        "dataset_sha256": data.sha256,
        "model_sha256": sha256,
    }
    records.write(out / "records.parquet", frame, metadata)
    write_bytes(
        out / "examples.safetensors", safetensors.torch.save({k: v.cpu().contiguous() for k, v in examples.items()})
    )
