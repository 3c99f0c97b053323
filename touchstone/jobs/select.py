"""The job that chooses unstated constants."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from touchstone.data.prepare import load as load_dataset
from touchstone.evaluation import loop
from touchstone.files import write_json
from touchstone.jobs.common import make_defense, make_model, make_phases, set_up, threat_of, to_device
from touchstone.jobs.selection import choose, try_out

log = logging.getLogger(__name__)


def select(params: Mapping[str, Any], prepared: Path, out: Path) -> None:
    """Train every candidate of a defense, choose one by the criterion, and write selection.json."""
    device = set_up(params["device"], params["threads"])
    data = to_device(load_dataset(prepared), device)
    probe, seed = params["probe"], params["seed"]

    def measure(model: nn.Module, x: Tensor, y: Tensor) -> float:
        frame, _, _ = loop.run(
            model,
            x,
            y,
            spec_name=probe["fn"],
            options=probe["options"],
            threat=threat_of(probe["threat"]),
            protocol="published",
            seed=seed,
            batch_size=probe["batch_size"],
            checks=False,
        )
        return float(1 - frame["success"].mean())

    def candidate(definition: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
        log.info("candidate %s %s", definition["fn"], dict(options))
        found = try_out(
            lambda start: make_model(params["model"], params["dataset"], start).to(device),
            make_defense(definition, **options),
            data,
            make_phases(params["phases"]),
            seed=seed,
            redraws=params["redraws"],
            probe=measure,
            probe_samples=params["probe_samples"],
            threshold=params["near_zero"],
            bf16=params["amp"] == "bf16",
        )
        log.info("candidate %s: %s", dict(options), found)
        return {"options": dict(options), **found}

    reference = candidate(params["reference"], {})
    tried = [candidate(params["defense"], options) for options in params["candidates"]]
    accuracy = reference["validation_accuracy"]
    index = choose(tried, accuracy, params["tolerance"]) if reference["status"] == "ok" else None
    write_json(
        out,
        {
            "criterion": "the last candidate, from weak to strong, whose training does not fail, whose weights the "
            "objective keeps bounded, and which loses at most `tolerance` of validation accuracy against the reference",
            "tolerance": params["tolerance"],
            "reference_accuracy": reference["validation_accuracy"],
            "reference": reference,
            "selected": index,
            "selected_options": None if index is None else tried[index]["options"],
            "candidates": tried,
        },
    )
