"""The job that turns records and models into numbers, verdicts and tables. Torch is not imported."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from touchstone.files import read_sealed
from touchstone.findings import cells, flags, paired, selection, verdicts
from touchstone.findings import statements as answers
from touchstone.findings import tables as people
from touchstone.findings.evidence import Caps, Trial, Worst
from touchstone.findings.inputs import by_model, places, write_tables
from touchstone.paths import Results
from touchstone.plan.tables import CutShort, TablesJob, WorstCase
from touchstone.records import Batch
from touchstone.runs import read_run
from touchstone.study import claims as claim_table
from touchstone.study import statements as written


def tables(
    job: TablesJob,
    *,
    claims: Path | None,
    statements: Path | None,
    records: Iterable[Path],
    runs: Iterable[Path],
    selections: Iterable[Path],
    prepared: Iterable[Path],
) -> None:
    """Write every table of a study (`RESULT_TABLES`) as CSV, and their sums.

    Args:
        job: which study, and what its verdicts need besides numbers.
        claims: its claims; None if it has none.
        statements: what it says in words; None if nothing.
        records: of every batch of attacks on every model.
        runs: what is said of the training of every model.
        selections: what is shown of every choice of constants.
        prepared: facts of the prepared datasets (sizes of the test sets).
    """
    sizes = {facts["name"]: facts["counts"]["test"] for facts in (read_sealed(p, "prepare") for p in prepared)}
    results = Results.of(job.run)
    files, near_zero = list(records), job.near_zero
    published = claim_table.load(claim_table.read(claims) if claims else None, job.study, job.slugs)
    pairs = paired.pairs(published, job.readings)
    apart: dict[paired.Pair, list[paired.Difference]] = {pair: [] for pair in pairs}
    numbers: list[cells.Cell] = []
    flagged: list[flags.Flagged] = []
    trained = [read_run(run) for run in runs]
    if near_zero:
        cells.check_measured(trained, near_zero.parameters)
    for run in trained:
        numbers += cells.of_weights(run, near_zero.thresholds, near_zero.parameters) if near_zero else []
        flagged += flags.of_training(run)
    for batch in by_model(files):
        numbers += cells.of_attacks(batch, _judges(job, batch))
        flagged += flags.of_attacks(batch)
        for pair, found in paired.measure(batch, pairs):
            apart[pair].append(found)
    measured = cells.table(numbers)

    said = written.load(written.read(statements) if statements else None, job.study, job.slugs)
    about = {"near_zero": f"near_zero_{near_zero.headline:g}" if near_zero else "", "reference": job.reference}
    worst = _worst(job)
    caps = _caps(job, sizes)
    judged = verdicts.verdicts(published, measured, readings=job.readings, worst=worst, caps=caps, **about)
    nets = paired.matching(published, cells.index(measured), job.match)
    frames = {
        "cells": measured,
        "claims": judged,
        "qualitative": answers.qualitative(said, published, measured, worst=worst, **about),
        "flags": flags.table(flagged),
        "selection": selection.candidates(selections),
        "failures": people.failures(measured, results, places(files)),
        "worst": people.worst_cases(measured),
        "attacks": people.attacks(measured),
        "paper": people.paper(judged, job.tables, job.labels),
        "paired": paired.table(
            (pair, paired.decide(pair, found, nets.get(pair.place[:3]), caps.get(pair.place[:4], Caps()).population))
            for pair, found in apart.items()
        ),
    }
    write_tables({results.table(job.study, name): frame for name, frame in frames.items()})


def _judges(job: TablesJob, batch: Batch) -> cells.Judges:
    """Return what tests each published attack on the dataset of a model."""
    datasets = {attacked.header.model.dataset for attacked in batch.attacks}
    return {w.attack: _by_radius(w) for w in job.worst if w.dataset in datasets}


def _by_radius(worst: WorstCase) -> dict[float, tuple[str, float]]:
    return {judge.epsilon: (judge.attack, judge.radius) for judge in worst.judges}


def _worst(job: TablesJob) -> Worst:
    """Return what tests each published attack, which is the same in every reading."""
    return {
        (w.dataset, w.attack, reading): w.why_not or Trial(w.threat, _by_radius(w))
        for w in job.worst
        for reading in job.readings
    }


def _caps(job: TablesJob, sizes: Mapping[str, int]) -> dict[tuple[str, str, str, str], Caps]:
    def caps(cut: CutShort) -> Caps:
        everything = sizes[cut.data]
        return Caps(cut.model, cut.attack, cut.size, min(cut.population or everything, everything), cut.given)

    return {(cut.dataset, cut.name, cut.defense, cut.slug): caps(cut) for cut in job.cut_short}
