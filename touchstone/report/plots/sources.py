"""Read what the plots draw: weights and loss histories of model runs, and tables.

A training that failed is not left out: it becomes a sentence that the plot prints.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from touchstone import records
from touchstone.findings.inputs import read_table
from touchstone.findings.metrics import RHO
from touchstone.findings.metrics import ratios as rho_of
from touchstone.findings.weights import read
from touchstone.models import FIRST_CONV
from touchstone.paths import Results
from touchstone.plan.jobs import Drawing, Shown
from touchstone.report.plots import PLOTS
from touchstone.runs import Run, read_run

T = TypeVar("T")
NOT_PART = "not part of this run"
TEXTS = ("stand_in", "suite", "space", "reason")  # columns of tables that may be empty
Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Series(Generic[T]):
    """What one kind of model contributes: data by seed, and a reason for every seed without a finished model.

    Attributes:
        label: what tells it from the others on its dataset.
        dataset: that the study names.
        defense: how it is trained.
        model: its architecture.
        runs: seed -> data.
        missing: seed -> why it has no finished model.
        space: of the attack's radii, where it is one.
    """

    label: str
    dataset: str
    defense: str
    model: str
    runs: dict[str, T] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    space: str = "pixel"

    @property
    def gaps(self) -> list[str]:
        """Say which seeds are missing and why, an entry per reason: "seed 1 failed in epoch 3"."""
        reasons: dict[str, list[str]] = {}
        for seed, reason in self.missing.items():
            reasons.setdefault(reason, []).append(seed)
        return [f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)} {reason}" for reason, seeds in reasons.items()]

    @property
    def notes(self) -> list[str]:
        """As `gaps`, with the label; one sentence "std+l1: failed in epoch 3" where all seeds share the reason."""
        reasons = set(self.missing.values())
        if len(reasons) == 1 and set(self.runs) <= set(self.missing):
            return [f"{self.label}: {reason}" for reason in reasons]
        return [f"{self.label}: {gap}" for gap in self.gaps]


def weights(drawing: Drawing, results: Results, *, parameter: str = FIRST_CONV) -> list[Series[Weights]]:
    """Return, per kind of model, the array of one tensor of each seed's finished model.

    Args:
        drawing: of models.
        results: where their files lie.
        parameter: name of the tensor.
    """

    def layer(run: Run) -> Weights:
        return read(run.checkpoint(), parameter)

    return [_series(shown, results, layer) for shown in drawing.shown]


def histories(drawing: Drawing, results: Results) -> list[Series[pd.DataFrame]]:
    """Return, per kind of model, each seed's history, a row per epoch; of a failed run, the epochs before it failed."""
    return [_series(shown, results, Run.history, keep_failed=True) for shown in drawing.shown]


def table(drawing: Drawing, results: Results) -> pd.DataFrame:
    """Return the rows of the drawing's table that are about what it names, in the order in which it does."""
    path = results.table(drawing.study, PLOTS[drawing.plot].data)
    # an empty text is text, no missing number
    found = read_table(path, dtype=dict.fromkeys(TEXTS, str)).fillna(dict.fromkeys(TEXTS, ""))
    for column in ("attack", "defense", "model", "dataset"):
        if names := getattr(drawing, f"{column}s"):
            found = found[found[column].isin(names)].sort_values(column, key=_in_order(names), kind="stable")
    return found


def _in_order(names: Sequence[str]) -> "Callable[[pd.Series[Any]], pd.Series[int]]":
    """Return what sorts a column as the names stand."""
    return lambda column: column.map({name: place for place, name in enumerate(names)})


class Swept(NamedTuple):
    """Cells along options of the defenses.

    Attributes:
        cells: rows of cells.csv about what the drawing names.
        along: option -> defense -> its value.
        datasets: in the order of drawing.
        attacks: whose numbers are drawn, in the order in which the drawing names them.
    """

    cells: pd.DataFrame
    along: Mapping[str, Mapping[str, float]]
    datasets: tuple[str, ...]
    attacks: tuple[str, ...]


def swept(drawing: Drawing, results: Results) -> Swept:
    """Return the published numbers of the nets whose defenses differ in one option."""
    cells = table(drawing, results)
    return Swept(cells[cells["protocol"] == "published"], drawing.along, drawing.datasets, drawing.attacks)


def ratios(drawing: Drawing, results: Results, *, metric: str = "rho_adv") -> list[Series[Weights]]:
    """Return, per kind of model, the ratios ||r|| / ||x|| of each seed's images under the drawing's one attack.

    Args:
        drawing: of attacks.
        results: where their records lie.
        metric: over which images, a name of `metrics.RHO`.

    Raises:
        ValueError: unless the drawing names one attack.
    """
    (attack,) = drawing.attacks
    found = []
    for shown in drawing.shown:
        series = Series[Weights](shown.label, shown.dataset, shown.defense, shown.model)
        if not shown.models:
            series.missing["-"] = NOT_PART
        for model, batches in zip(shown.models, shown.batches, strict=True):
            files = [results.attack(model, batch).records for batch in batches]
            attacked = [one for file in files for one in records.read(file).attacks if one.header.attack == attack]
            for header, frame in attacked:
                if header.status == "ok":
                    series.runs[str(model.seed)] = np.asarray(rho_of(frame, RHO[metric]), dtype=np.float64)
                else:
                    series.missing[str(model.seed)] = f"failed: {header.reason}"
            if not attacked:
                series.missing[str(model.seed)] = NOT_PART
        found.append(series)
    return found


def _series(shown: Shown, results: Results, read: Callable[[Run], T], *, keep_failed: bool = False) -> Series[T]:
    series = Series[T](shown.label, shown.dataset, shown.defense, shown.model)
    if not shown.models:
        series.missing["-"] = NOT_PART
    for model in shown.models:
        run = read_run(results.model(model).run)
        seed = str(model.seed)
        if run.status != "ok":
            failed = f" in epoch {run.epoch_failed}" if run.epoch_failed is not None else f": {run.reason}"
            series.missing[seed] = f"failed{failed}"
        if run.status == "ok" or keep_failed:
            series.runs[seed] = read(run)
    return series
