"""The job that chooses constants that no text and no code states, by a criterion that reads no claim.

Candidates are listed from weak to strong. The last one is taken whose training does not fail, whose weights the
objective keeps bounded, and whose validation accuracy is at most `tolerance` below the reference's. Everything else
that is measured shows the sensitivity.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from touchstone.data.prepare import Dataset, Split, to_float
from touchstone.evaluation import published
from touchstone.evaluation.result import Member
from touchstone.files import write_json
from touchstone.findings.weights import fuzziness, max_abs, near_zero
from touchstone.jobs.common import load_data, make_defense, make_model, make_threat, set_up
from touchstone.paths import Results
from touchstone.plan.jobs import Objective, Options, Probe, SelectJob
from touchstone.training import accuracy, fit_redrawn

log = logging.getLogger(__name__)

Candidate = dict[str, Any]  # {options, and what was measured}, a row of selection.csv


def select(job: SelectJob, results: Results) -> None:
    """Train the reference and every candidate of a defense, choose one by the criterion, and write selection.json."""
    device = set_up(job.device, job.threads)
    data = load_data(job.subject.data, device)
    reference = try_out(job, job.reference, {}, data, device)
    tried = [try_out(job, job.objective, options, data, device) for options in job.candidates]
    accuracy = reference["validation_accuracy"]
    index = choose(tried, accuracy, job.tolerance) if reference["status"] == "ok" else None
    write_json(
        results.selection(job.subject.model),
        {
            "cell": job.subject.words(),
            "criterion": "the last candidate, from weak to strong, whose training does not fail, whose weights the "
            "objective keeps bounded, and which loses at most `tolerance` of validation accuracy against the reference",
            "tolerance": job.tolerance,
            "reference_accuracy": accuracy,
            "reference": reference,
            "selected": index,
            "selected_options": None if index is None else tried[index]["options"],
            "candidates": tried,
        },
    )


def choose(candidates: Sequence[Candidate], reference_accuracy: float, tolerance: float) -> int | None:
    """Return the index of the last candidate that meets the criterion, or None."""
    good = [
        index
        for index, candidate in enumerate(candidates)
        if candidate["status"] == "ok"
        and candidate["bounded"]
        and candidate["validation_accuracy"] >= reference_accuracy - tolerance
    ]
    return good[-1] if good else None


def try_out(job: SelectJob, objective: Objective, options: Options, data: Dataset, device: torch.device) -> Candidate:
    """Train on the training part less the validation split and measure one candidate on that split.

    The test part is not touched. Accuracies are shares of the validation images, those of the probe of its first ones.
    """
    log.info("candidate %s %s", objective.fn, options)
    rows, validation = data.held_out()
    defense = make_defense(objective, options)
    model, result = fit_redrawn(
        lambda seed: make_model(job.net, data.name, seed).to(device),
        defense,
        rows.x,
        rows.y,
        job.phases,
        seed=job.subject.model.seed,
        redraws=job.redraws,
        validation=validation,
        bf16=job.amp == "bf16",
    )
    found = {
        "status": result.status,
        "reason": result.reason,
        "bounded": defense.bounded(model),
        "validation_accuracy": accuracy(model, validation.x, validation.y),
        "robust_accuracy": _under(job.probe, model, validation, job.subject.model.seed),
        **_of_weights(model, job.near_zero),
        "epochs": len(result.history),
        "flags": result.flags,
    }
    log.info("candidate %s: %s", options, found)
    return {"options": options, **found}


def _of_weights(model: nn.Module, threshold: float | None) -> dict[str, float | None]:
    """Return what is measured of the first convolution; None where there is none, or no threshold."""
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        return dict.fromkeys(("fuzziness", "near_zero", "max_abs"))
    w = first.weight.detach().cpu().numpy()
    share = None if threshold is None else near_zero(w, threshold)
    return {"fuzziness": fuzziness(w), "near_zero": share, "max_abs": max_abs(w)}


def _under(probe: Probe, model: nn.Module, validation: Split, seed: int) -> float:
    """Return the accuracy under the probe, for the sensitivity table only."""
    x, y = to_float(validation.x[: probe.samples]), validation.y[: probe.samples]
    member = Member(probe.member.slug, probe.member.fn, probe.member.options)
    threat = make_threat(probe.threat)
    found = published.run(
        model, x, y, member, threat=threat, seed=seed, batch_size=probe.batch_size, examples=0, probes=False
    )
    return float(1 - found.records["success"].mean())
