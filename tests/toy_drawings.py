"""Drawings as tests need them."""

from typing import Any

from touchstone.cell import ModelId
from touchstone.plan.jobs import Drawing, Shown


def drawing(plot: str, *shown: Shown, study: str = "minmax", **changes: Any) -> Drawing:
    """A figure of a plot, which names nothing unless a test says so."""
    nothing: dict[str, Any] = dict.fromkeys(("datasets", "models", "defenses", "attacks"), ())
    named = nothing | {"options": {}, "samples": None, "epsilon": None, "along": {}} | changes
    return Drawing(study=study, name="one", plot=plot, shown=shown, **named)


def shown(label: str, *models: ModelId, **changes: Any) -> Shown:
    """A kind of model with its trainings."""
    kind = {"dataset": "mnist", "model": "lenet", "defense": label, "batches": ((),) * len(models)}
    return Shown(label=label, models=models, **kind | changes)
