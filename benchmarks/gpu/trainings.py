"""How much is trained in a run, study by study, as the plan says: `python -m benchmarks.gpu.trainings CONFIG FILE`.

It imports no torch, and needs what planning needs; the file is read on a machine that need not have that.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from touchstone.cell import ModelId
from touchstone.files import write_json
from touchstone.plan.build import phases
from touchstone.plan.cost import counts
from touchstone.plan.plan import Plan, make_plan

ROOT = Path(__file__).parents[2]


class Training(NamedTuple):
    """Nets that are trained alike, but for their seeds.

    Attributes:
        study: whose they are.
        dataset: in use, a name in DATASETS.
        architecture: a name in MODELS, with its `options`.
        objective: a name in DEFENSES, with its `constants`.
        epochs: of one training, all phases together.
        images: of one epoch.
    """

    study: str
    dataset: str
    architecture: str
    options: dict[str, Any]
    objective: str
    constants: dict[str, Any]
    epochs: int
    images: int


def training(plan: Plan, model: ModelId) -> Training:
    """Return what one model of the plan asks for; an option that differs by dataset is taken for its dataset."""
    study = plan.studies[model.study]
    dataset = plan.stand_in(model.dataset) or model.dataset
    net, defense = study.models[model.model], study.defenses[model.defense]
    return Training(
        study=model.study,
        dataset=dataset,
        architecture=net.fn,
        options=_on(model.dataset, net.options),
        objective=defense.fn,
        constants=_on(model.dataset, defense.options),
        epochs=sum(phase.epochs for phase in phases(plan, model)[0]),
        images=counts(plan.dataset(dataset))[0],
    )


def _on(dataset: str, options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value[dataset] if isinstance(value, dict) and dataset in value else value
        for name, value in options.items()
    }


def table(plan: Plan) -> list[dict[str, Any]]:
    """Return a row per kind of training, with the number of its nets as `nets`."""
    kinds: dict[str, Training] = {}
    nets = Counter[str]()
    for model in plan.trained:
        one = training(plan, model)
        kinds.setdefault(repr(one), one)
        nets[repr(one)] += 1
    return [{**one._asdict(), "nets": nets[key]} for key, one in kinds.items()]


def main() -> None:
    """Write the table of a run."""
    config, out = sys.argv[1:]
    rows = table(make_plan(ROOT, Path(config)))
    write_json(Path(out), rows)
    epochs = sum(row["nets"] * row["epochs"] for row in rows)
    print(f"{out}: {sum(row['nets'] for row in rows)} nets, {epochs} epochs")


if __name__ == "__main__":
    main()
