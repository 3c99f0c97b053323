"""The job that chooses constants that no text and no code states, by a criterion that reads no claim.

Candidates are listed from weak to strong. The last one is taken whose training does not fail, whose weights the
objective keeps bounded, and whose validation accuracy is at most `tolerance` below the reference's. What else can be
measured of the candidates chooses nothing and is another job's (`touchstone.jobs.sensitivity`), which reads their
weights: trainings wait for the choice alone.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import safetensors.torch
from torch import Tensor

from touchstone.data.prepare import Dataset
from touchstone.files import sum_of, write_bytes, write_sealed
from touchstone.jobs.common import load_data, make_defense, make_fresh, set_up
from touchstone.paths import Results
from touchstone.plan.jobs import Objective, Options, SelectJob
from touchstone.records import Flag
from touchstone.training import accuracy, fit_redrawn

log = logging.getLogger(__name__)

Weights = dict[str, Tensor]  # state of a candidate's net, on the CPU


@dataclass(frozen=True)
class Candidate:
    """Options of an objective, and what decides about them.

    Attributes:
        bounded: whether the objective keeps the weights from growing without end.
        validation_accuracy: in [0, 1], on the validation split.
        epochs: that were begun.
    """

    options: Options
    status: Literal["ok", "failed"]
    reason: str
    bounded: bool
    validation_accuracy: float
    epochs: int
    flags: list[Flag]


def select(job: SelectJob, results: Results) -> None:
    """Train the reference and every candidate of a defense, and choose one by the criterion.

    Writes selection.json, and candidates.safetensors with the weights of all of them.
    """
    device = set_up(job.device, job.threads)
    data = load_data(job.subject.data, device)
    reference, weights = try_out(job, job.reference, {}, data)
    trained = [try_out(job, job.objective, options, data) for options in job.candidates]
    tried = [candidate for candidate, _ in trained]
    accuracy = reference.validation_accuracy
    index = choose(tried, accuracy, job.tolerance) if reference.status == "ok" else None
    files, nets = results.selection(job.subject.model), [weights, *(state for _, state in trained)]
    content = safetensors.torch.save({f"{n}/{name}": w for n, state in enumerate(nets) for name, w in state.items()})
    write_bytes(files.weights, content)
    write_sealed(
        files.choice,
        {
            "cell": job.subject.words(),
            "criterion": "the last candidate, from weak to strong, whose training does not fail, whose weights the "
            "objective keeps bounded, and which loses at most `tolerance` of validation accuracy against the reference",
            "tolerance": job.tolerance,
            "reference_accuracy": accuracy,
            "reference": asdict(reference),
            "selected": index,
            "selected_options": None if index is None else tried[index].options,
            "candidates": [asdict(one) for one in tried],
            "weights_sha256": sum_of(content),
        },
    )


def choose(candidates: Sequence[Candidate], reference_accuracy: float, tolerance: float) -> int | None:
    """Return the index of the last candidate that meets the criterion, or None."""
    good = [
        index
        for index, candidate in enumerate(candidates)
        if candidate.status == "ok"
        and candidate.bounded
        and candidate.validation_accuracy >= reference_accuracy - tolerance
    ]
    return good[-1] if good else None


def try_out(job: SelectJob, objective: Objective, options: Options, data: Dataset) -> tuple[Candidate, Weights]:
    """Train one candidate on the training part less the validation split; its accuracy is that on this split.

    The test part is not touched.
    """
    log.info("candidate %s %s", objective.fn, options)
    rows, validation = data.held_out()
    defense = make_defense(objective, options)
    model, result = fit_redrawn(
        lambda seed: make_fresh(job.net, data.name, seed, rows.x),
        defense,
        rows.x,
        rows.y,
        job.phases,
        seed=job.subject.model.seed,
        redraws=job.redraws,
        validation=validation,
        bf16=job.amp == "bf16",
    )
    found = Candidate(
        options=options,
        status=result.status,
        reason=result.reason,
        bounded=defense.bounded(model),
        validation_accuracy=accuracy(model, validation.x, validation.y),
        epochs=len(result.history),
        flags=result.flags,
    )
    log.info("%s", found)
    return found, {k: v.cpu().contiguous().clone() for k, v in model.state_dict().items()}
