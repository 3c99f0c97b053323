"""The job that runs one attack over all its epsilons on one model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import nn

from touchstone import provenance, records
from touchstone.attacks import ATTACKS
from touchstone.data.prepare import load as load_dataset
from touchstone.data.prepare import spread, to_float
from touchstone.evaluation import loop
from touchstone.files import write_bytes
from touchstone.jobs.common import load_weights, make_defense, make_model, run_json, set_up, threat_of, to_device
from touchstone.log import progress
from touchstone.threat import in_space

SOMETIMES = ("substitute", "defense", "budget_rule")  # params that only some attacks have


class Trained(NamedTuple):
    """A model with its weights, what run.json says of its training, and the sha256 of the weights."""

    model: nn.Module
    run: dict[str, Any]
    sha256: str


def attack(
    params: Mapping[str, Any],
    cell: Mapping[str, Any],
    prepared: Path,
    model_file: Path,
    out: Path,
    models: Path | None = None,
) -> None:
    """Run one attack over all its epsilons on one model; write records.parquet and examples.safetensors under `out`.

    Args:
        params: the attack as the plan resolved it. `defense` is there only if its own loss is asked for.
        cell: of the model, and the attack's slug.
        prepared: the dataset.
        model_file: the model's weights, with run.json beside them.
        out: where the results go.
        models: folder of the study's models; a substitute is found there by its path.

    Raises:
        ValueError: if a file cannot be used; names it and the rule that makes it.
    """
    device = set_up(params["device"], params["threads"])
    data = to_device(load_dataset(prepared), device)
    target = _load(params, params["dataset"], model_file, device)
    wanted = [part["substitute"] for part in [params, *params["options"].get("members", [])] if "substitute" in part]
    substitutes = {s["path"]: _load(s, params["dataset"], models / s["path"] / model_file.name, device) for s in wanted}
    reason = _failure(target, substitutes)
    index = spread(data.test.y.cpu())[: params["samples"]].to(device)
    threat = threat_of(params["threat"])
    if reason:
        frame, examples, info = loop.empty(reason)
    else:
        own_loss = None
        if "defense" in params:
            own_loss = make_defense(params["defense"], **(target.run["selected_options"] or {})).loss
        views = {path: in_space(trained.model, threat).model for path, trained in substitutes.items()}
        frame, examples, info = loop.run(
            target.model.eval(),
            to_float(data.test.x[index]),
            data.test.y[index],
            spec_name=params["fn"],
            options=_ready(params, views),
            threat=threat,
            protocol=params["protocol"],
            seed=params["seed"],
            batch_size=params["batch_size"],
            grid=params.get("grid"),
            budget_rule=params.get("budget_rule"),
            own_loss=own_loss,
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
        **{k: params[k] for k in SOMETIMES if k in params},
        "kind": spec.kind,
        "status": "ok",
        "reason": "",
        **info,
        "samples": len(index),
        "versions": provenance.versions(),
        "dataset_sha256": data.sha256,
        "model_sha256": target.sha256,
        **({"substitute_sha256": {path: s.sha256 for path, s in substitutes.items()}} if substitutes else {}),
    }
    records.write(out / "records.parquet", frame, metadata)
    write_bytes(
        out / "examples.safetensors", safetensors.torch.save({k: v.cpu().contiguous() for k, v in examples.items()})
    )


def _load(definition: Mapping[str, Any], dataset: str, file: Path, device: torch.device) -> Trained:
    model = make_model(definition["model"], dataset, definition["seed"]).to(device)
    sha256 = load_weights(model, file)
    return Trained(model, run_json(file.with_name("run.json")), sha256)


def _failure(target: Trained, substitutes: Mapping[str, Trained]) -> str:
    """Say why there is nothing to attack, or nothing to start from; empty if there is."""
    if target.run["status"] != "ok":
        return target.run["reason"]
    failed = {path: trained.run for path, trained in substitutes.items() if trained.run["status"] != "ok"}
    return "; ".join(f"the substitute {path} failed: {run['reason']}" for path, run in failed.items())


def _ready(part: Mapping[str, Any], substitutes: Mapping[str, nn.Module]) -> dict[str, Any]:
    """Return the options of an attack with the substitutes themselves, in its members too."""
    options = dict(part["options"])
    if "members" in options:
        options["members"] = [{**member, "options": _ready(member, substitutes)} for member in options["members"]]
    if "substitute" in part:
        options["substitute"] = substitutes[part["substitute"]["path"]]
    return options
