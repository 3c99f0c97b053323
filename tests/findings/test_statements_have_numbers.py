"""Every number that a statement reads is written by some job of a whole run, as configs/paper.yaml plans it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from test_published_statements import COUNTS
from toy_records import points

from touchstone.cell import ModelId, ThreatSpec
from touchstone.findings import cells, clusters, people, statements
from touchstone.findings.cells import Cell
from touchstone.findings.evidence import Trial
from touchstone.findings.statements.measured import Samples, Training, Trainings, What, of_samples
from touchstone.paths import study_files
from touchstone.plan import build, targets
from touchstone.plan.jobs import AttackJob, TrainJob
from touchstone.plan.tables import TablesJob
from touchstone.records import Attacked, Batch, Header
from touchstone.runs import Run
from touchstone.study import claims
from touchstone.study import statements as written

if TYPE_CHECKING:
    from touchstone.plan.plan import Plan

NAN = float("nan")
IMAGES = 4


def failed(job: AttackJob, model: ModelId) -> Attacked:
    """An attack that failed: it has a cell for each number that it would have, without a value."""
    return Attacked(header(job, model, status="failed", reason="made up"), pd.DataFrame())


def header(job: AttackJob, model: ModelId, **more: Any) -> Header:
    members = {one.slug: {} for one in job.members}
    (rule,) = {one.budget_rule for one in job.members[:1]}
    about = {"suite": job.suite, "budget_rule": rule if job.protocol == "published" else "ball", **more}
    return Header("toy", model, "", job.attack, job.protocol, job.kind, members, job.threat, IMAGES, **about)


def of_attacks(plan: "Plan", job: TablesJob, model: ModelId) -> Iterator[Cell]:
    worst = {w.attack: {j.epsilon: (j.attack, j.radius) for j in w.judges} for w in job.worst if w.dataset == model[1]}
    attacks = [failed(build.attack_job(plan, model, name), model) for name in plan.attacks(model)]
    yield from cells.of_attacks(Batch(attacks, []), worst)


def of_weights(job: TablesJob, model: ModelId) -> list[Cell]:
    run = Run(Path(), model, "", "failed", "made up", 1, 1, 1.0, None, (), "", "")
    return cells.of_weights(run, job.near_zero.thresholds, job.near_zero.parameters) if job.near_zero else []


def of_features(plan: "Plan", study: str) -> Iterator[Cell]:
    drawn = (build.features_job(plan, study, one.name) for one in targets.of_features(plan, study))
    nets = (net.subject.model for job in drawn for net in job.nets)
    return cells.of_features(clusters.Apart(model, "", IMAGES, 0.5, "") for model in nets)


def of_people(plan: "Plan", model: ModelId) -> Iterator[Cell]:
    seen = [attack for attack in plan.attacks(model) if plan.shown(model, attack)]
    about = {"failed": "", "images": IMAGES, "people": 2, "rated": IMAGES}
    shares = dict.fromkeys(("human_change", "human_no_change", "human_kappa"), 0.5)
    return cells.of_people(people.Numbers(model, "", one, "l2", "pixel", **about, **shares) for one in seen)


def history(job: TrainJob) -> pd.DataFrame:
    """The columns that the job writes of which statements speak."""
    held_out = any(phase.validation_share or phase.keep == "best_val" for phase in job.phases)
    columns: Mapping[str, list[float]] = {
        **{"epoch": [1, 2, 3, 4], "loss": [2.0, 1.0, 0.6, 0.5], "seconds": [1, 2, 3, 4]},
        **({"validation_accuracy": [0.5] * 4} if held_out else {}),
        **({"test_robust": [0.5, NAN, 0.5, 0.5]} if job.watched else {}),
    }
    return pd.DataFrame(columns)


def measured(job: AttackJob, model: ModelId) -> dict[What, Any]:
    """What is kept of every sample: at each radius one more of them is broken."""
    radii = job.threat.epsilons if job.kind == "fixed" and job.threat else (NAN,)
    count = max(IMAGES, len(radii))
    sample, place = np.tile(range(count), len(radii)), np.repeat(range(len(radii)), count)
    about = {"epsilon": np.take(radii, place), "sample": sample, "success": sample <= place, "adv_rank": 2 + 0 * sample}
    frame = points(**about, norm=job.threat.norm if job.threat else "none")
    return dict(of_samples(Batch([Attacked(header(job, model), frame)], []), [job.attack])[model])


@pytest.mark.slow
@pytest.mark.parametrize("study", COUNTS)
def test_every_number_that_a_statement_reads_is_written(study: str, paper: "Plan", root: Path) -> None:
    files, job = study_files(study, root), build.tables_job(paper, study)
    table = claims.load(claims.read(files.claims), study, job.slugs)
    said = written.load(written.read(files.statements), study, job.slugs, table)
    models = [model for model in paper.models if model.study == study and model.seed == 0]
    found = [*of_features(paper, study)]
    kept: dict[tuple[str, ThreatSpec | None], dict[What, Any]] = {}
    samples: dict[ModelId, dict[What, Any]] = {}
    for model in models:
        found += [*of_attacks(paper, job, model), *of_weights(job, model), *of_people(paper, model)]
        for name in statements.sampled(said).intersection(paper.attacks(model)):
            if (place := (name, paper.threat(model, name))) not in kept:
                kept[place] = measured(build.attack_job(paper, model, name), model)
            samples[model] = samples.get(model, {}) | kept[place]
    draw = np.random.default_rng(0).random  # unequal numbers: equal ones have no rank correlation
    trained = [build.train_job(paper, model) for model in models]
    replies = statements.qualitative(
        said,
        table,
        cells.table(one._replace(value=draw(), n=IMAGES, status="ok", reason="") for one in found if one.seed == 0),
        worst={
            (w.dataset, w.attack): w.why_not or Trial(w.threat, {j.epsilon: (j.attack, j.radius) for j in w.judges})
            for w in job.worst
        },
        caps={},
        near_zero="near_zero_0.01",
        reference=job.reference,
        measured=Samples(samples),
        trained=Trainings(tuple(Training(one.subject.model, False, history(one)) for one in trained)),
    )
    for row in replies.to_dict("records"):
        assert row["verdict"] != "not run", (row["id"], row["why"])
        for case in ("", statements.WORST_CASE):
            assert "no number" not in row[f"{case}why"], (row["id"], row[f"{case}why"])
