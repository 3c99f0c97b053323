"""The job that shows what the choice of unstated constants does to robustness and weights. It chooses nothing.

No training reads what it writes, so that another probe, or another threshold, trains nothing again.
"""

from typing import Any

import safetensors.torch
from torch import nn

from touchstone.data.prepare import Split
from touchstone.files import read_sealed, verified, write_sealed
from touchstone.findings.weights import WHOLE, near_zero
from touchstone.jobs.common import load_data, make_model, set_up
from touchstone.jobs.probe import under
from touchstone.paths import Results
from touchstone.plan.jobs import SensitivityJob
from touchstone.weight_metrics import IN_SELECTION


def sensitivity(job: SensitivityJob, results: Results) -> None:
    """Measure the reference and every candidate of a selection; write sensitivity.json, the selection with that added.

    Accuracies are those of the first validation images under the probe.

    Raises:
        DamagedError: if the selection or the weights of its candidates are not as they were left.
    """
    device = set_up(job.device, job.threads)
    data = load_data(job.subject.data, device)
    _, validation = data.held_out()
    files = results.selection(job.subject.model)
    chosen = read_sealed(files.choice, "select")
    weights = safetensors.torch.load_file(verified(files.weights, chosen["weights_sha256"], "select"))

    def measured(place: int, candidate: dict[str, Any]) -> dict[str, Any]:
        model = make_model(job.net, data.name, job.subject.model.seed).to(device)
        model.load_state_dict({k.partition("/")[2]: v for k, v in weights.items() if k.startswith(f"{place}/")})
        return candidate | _measure(job, model, validation)

    reference, *candidates = (measured(n, one) for n, one in enumerate([chosen["reference"], *chosen["candidates"]]))
    write_sealed(files.sensitivity, {**chosen, "reference": reference, "candidates": candidates})


def _measure(job: SensitivityJob, model: nn.Module, validation: Split) -> dict[str, float | None]:
    robust = under(job.probe, model, validation, job.subject.model.seed).robust
    return {"robust_accuracy": robust, **_of_weights(model, job.near_zero)}


def _of_weights(model: nn.Module, threshold: float | None) -> dict[str, float | None]:
    """Return what is measured of the first convolution; None where there is none, or no threshold."""
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        return dict.fromkeys(IN_SELECTION)
    w = first.weight.detach().cpu().numpy()
    shares = {} if threshold is None else {"near_zero": near_zero(w, threshold)}
    measured = shares | {name: metric(w) for name, metric in WHOLE.items()}
    return {name: measured.get(name) for name in IN_SELECTION}
