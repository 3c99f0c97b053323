"""The job that turns records and models into numbers, verdicts and tables. Torch is not imported."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from touchstone.files import read_sealed, write_bytes
from touchstone.findings import cells, flags, paired, selection, statements, verdicts
from touchstone.findings import tables as people
from touchstone.findings.evidence import Caps, Worst
from touchstone.findings.inputs import by_model, places, read_run
from touchstone.paths import Results
from touchstone.plan.jobs import CutShort, TablesJob
from touchstone.records import Batch
from touchstone.study import claims as claim_table
from touchstone.study import statements as written
from touchstone.study.checks import load_study


def tables(
    job: TablesJob,
    *,
    definition: Path,
    records: Iterable[Path],
    runs: Iterable[Path],
    selections: Iterable[Path],
    prepared: Iterable[Path],
) -> None:
    """Write every table of a study (`RESULT_TABLES`) as CSV.

    Args:
        job: which study, and what its verdicts need besides numbers.
        definition: study.yaml, beside its claims.
        records: records.parquet of every batch of attacks on every model.
        runs: run.json of every model.
        selections: sensitivity.json files.
        prepared: JSON of the prepared datasets (sizes of the test sets).
    """
    sizes = {facts["name"]: facts["counts"]["test"] for facts in (read_sealed(p, "prepare") for p in prepared)}
    results = Results.of(job.run)
    study, folder, files = load_study(definition), definition.parent, list(records)
    near_zero = study.near_zero
    known, required = claim_table.known(study), not study.cells
    published = claim_table.load(folder, known, required=required)
    pairs = paired.pairs(published, job.readings)
    apart: dict[paired.Pair, list[paired.Difference]] = {pair: [] for pair in pairs}
    numbers: list[cells.Cell] = []
    flagged: list[flags.Flagged] = []
    for run in map(read_run, runs):
        numbers += cells.of_weights(run, near_zero.thresholds, near_zero.parameters) if near_zero else []
        flagged += flags.of_training(run)
    for batch in by_model(files):
        numbers += cells.of_attacks(batch, _judges(job, batch))
        flagged += flags.of_attacks(batch)
        for pair, found in paired.measure(batch, pairs):
            apart[pair].append(found)
    measured = cells.table(numbers)

    said = written.load(folder, known, required=False)
    about = {"near_zero": f"near_zero_{near_zero.headline:g}" if near_zero else "", "reference": study.reference}
    worst = _worst(job)
    caps = _caps(job, sizes)
    judged = verdicts.verdicts(published, measured, readings=job.readings, worst=worst, caps=caps, **about)
    nets = paired.matching(published, cells.index(measured), study.paired.match if study.paired else [])
    frames = {
        "cells": measured,
        "claims": judged,
        "qualitative": statements.qualitative(said, published, measured, worst=worst, **about),
        "flags": flags.table(flagged),
        "selection": selection.candidates(selections),
        "failures": people.failures(measured, results, places(files)),
        "worst": people.worst_cases(measured),
        "attacks": people.attacks(measured),
        "paper": people.paper(judged, study.tables, study.labels),
        "paired": paired.table(
            (pair, paired.decide(pair, found, nets.get(pair.place[:3]), caps.get(pair.place[:4], Caps()).population))
            for pair, found in apart.items()
        ),
    }
    for name, frame in frames.items():
        write_bytes(results.table(study.study, name), frame.to_csv(index=False).encode())


def _judges(job: TablesJob, batch: Batch) -> cells.Judges:
    """Return what tests each published attack on the dataset of a model."""
    datasets = {attacked.header.model.dataset for attacked in batch.attacks}
    return {w.attack: {j.epsilon: (j.attack, j.radius) for j in w.judges} for w in job.worst if w.dataset in datasets}


def _worst(job: TablesJob) -> Worst:
    """Return what tests each published attack, which is the same in every reading."""
    return {
        (w.dataset, w.attack, reading): w.why_not or {j.epsilon: (j.attack, j.radius) for j in w.judges}
        for w in job.worst
        for reading in job.readings
    }


def _caps(job: TablesJob, sizes: Mapping[str, int]) -> dict[tuple[str, str, str, str], Caps]:
    def caps(cut: CutShort) -> Caps:
        everything = sizes[cut.data]
        return Caps(cut.model, cut.attack, cut.size, min(cut.population or everything, everything))

    return {(cut.dataset, cut.name, cut.defense, cut.slug): caps(cut) for cut in job.cut_short}
