"""Read what the job of a figure kept of features."""

from collections.abc import Iterable, Mapping
from typing import Any

from safetensors import safe_open

from touchstone.files import read_sealed, verified
from touchstone.paths import Results
from touchstone.plan.jobs import Drawing, Shown
from touchstone.report.plots.embedding import Cloud
from touchstone.report.plots.sources import NOT_PART


def features(drawing: Drawing, results: Results) -> list[Cloud]:
    """Return the features of each kind of model: the plane of its first trained net, silhouettes of all.

    Raises:
        DamagedError: if a file is not as the job left it.
    """
    files = results.features(drawing.study, drawing.name)
    if not any(shown.models for shown in drawing.shown):
        return [Cloud(_label(shown, drawing), NOT_PART) for shown in drawing.shown]
    measured = read_sealed(files.measured, "features")
    with safe_open(verified(files.points, measured["points_sha256"], "features"), framework="np") as kept:
        return [_cloud(shown, drawing, measured["nets"], kept) for shown in drawing.shown]


def _cloud(shown: Shown, drawing: Drawing, measured: Mapping[str, Any], kept: Any) -> Cloud:
    nets = {model.label: measured[model.label] for model in shown.models}
    good = {label: net for label, net in nets.items() if net["status"] == "ok"}
    if not good:
        why = "; ".join(dict.fromkeys(f"failed: {net['reason']}" for net in nets.values())) or NOT_PART
        return Cloud(_label(shown, drawing), why)
    first = next(iter(good))
    return Cloud(
        _label(shown, drawing),
        plane=kept.get_tensor(f"{first}/plane"),
        classes=kept.get_tensor(f"{first}/label"),
        adversarial=kept.get_tensor(f"{first}/adversarial").astype(bool),
        silhouettes={kind: _silhouettes(good.values(), kind) for kind in ("clean", "all")},
    )


def _silhouettes(nets: Iterable[Mapping[str, Any]], kind: str) -> list[float]:
    """Return the silhouettes that there are: one class alone has none."""
    return [value for net in nets if (value := net["silhouette"][kind]) is not None]


def _label(shown: Shown, drawing: Drawing) -> str:
    """Name a kind of model, with its dataset where there are several."""
    return f"{shown.dataset}: {shown.label}" if len(drawing.datasets) > 1 else shown.label
