"""Choose constants that no text and no code states, by a criterion that reads no claim.

Candidates are listed from weak to strong. The last one is taken whose training does not fail, whose weights the
objective keeps bounded, and whose validation accuracy is at most `tolerance` below the reference's. Everything else
that is measured shows the sensitivity.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from touchstone.data.prepare import Dataset, to_float
from touchstone.defenses.base import Defense
from touchstone.findings.weights import fuzziness, max_abs, near_zero
from touchstone.training import Phase, accuracy, fit_redrawn


def choose(candidates: Sequence[dict[str, Any]], reference_accuracy: float, tolerance: float) -> int | None:
    """Return the index of the last candidate that meets the criterion, or None."""
    good = [
        index
        for index, candidate in enumerate(candidates)
        if candidate["status"] == "ok"
        and candidate["bounded"]
        and candidate["validation_accuracy"] >= reference_accuracy - tolerance
    ]
    return good[-1] if good else None


def try_out(
    build: Callable[[int], nn.Module],
    defense: Defense,
    data: Dataset,
    phases: Sequence[Phase],
    *,
    seed: int,
    redraws: int,
    probe: Callable[[nn.Module, Tensor, Tensor], float],
    probe_samples: int,
    threshold: float,
    bf16: bool = False,
) -> dict[str, Any]:
    """Train on the training part less the validation split and measure one candidate on that split.

    Args:
        build: seed -> untrained model.
        defense: the objective with the candidate's constants.
        data: prepared dataset; its test part is not touched.
        phases: as for the real training, with the selection's epochs.
        seed: of this training.
        redraws: as in `fit_redrawn`.
        probe: (model, x float in [0, 1], y) -> robust accuracy, for the sensitivity table only.
        probe_samples: validation images the probe sees.
        threshold: |w| below which a weight of the first convolution counts as near zero.
        bf16: as in `fit`.
    """
    rows, validation = data.held_out()
    model, result = fit_redrawn(
        build, defense, rows.x, rows.y, phases, seed=seed, redraws=redraws, validation=validation, bf16=bf16
    )
    w = next(m for m in model.modules() if isinstance(m, nn.Conv2d)).weight.detach().cpu().numpy()
    return {
        "status": result.status,
        "reason": result.reason,
        "bounded": defense.bounded(model),
        "validation_accuracy": accuracy(model, validation.x, validation.y),
        "robust_accuracy": probe(model, to_float(validation.x[:probe_samples]), validation.y[:probe_samples]),
        "fuzziness": fuzziness(w),
        "near_zero": near_zero(w, threshold),
        "max_abs": max_abs(w),
        "epochs": len(result.history),
        "flags": result.flags,
    }
