"""The job that turns records and models into numbers, verdicts and tables. Torch is not imported."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from touchstone.cell import ModelId
from touchstone.files import read_sealed
from touchstone.findings import cells, clusters, flags, members, paired, people, selection, verdicts
from touchstone.findings import paper as papers
from touchstone.findings import statements as answers
from touchstone.findings import tables as for_people
from touchstone.findings.evidence import Caps, Cut, Trial, Worst
from touchstone.findings.inputs import by_model, places, write_tables
from touchstone.findings.statements.measured import Samples, Trainings, Values, What, of_samples
from touchstone.paths import Results
from touchstone.plan.tables import CutShort, TablesJob, WorstCase
from touchstone.records import Batch
from touchstone.runs import read_run
from touchstone.study import claims as claim_table
from touchstone.study import statements as written
from touchstone.weight_metrics import near_zero_name


class TableFiles(NamedTuple):
    """What the tables of a study are made from.

    Attributes:
        claims: its claims; None if it has none.
        statements: what it says in words; None if nothing.
        records: of every batch of attacks on every model.
        runs: what is said of the training of every model.
        selections: what is shown of every choice of constants.
        prepared: facts of the prepared datasets (sizes of the test sets).
        features: what is measured of features for each figure that draws them.
        answers: what those of people come to; None where nobody was asked.
    """

    claims: Path | None
    statements: Path | None
    records: Sequence[Path]
    runs: Sequence[Path]
    selections: Sequence[Path]
    prepared: Sequence[Path]
    features: Sequence[Path] = ()
    answers: Path | None = None


class Numbers(NamedTuple):
    """What records and models give: numbers, flags, members of worst cases, each pair's differences, and samples."""

    cells: pd.DataFrame
    flags: pd.DataFrame
    members: pd.DataFrame
    pairs: Mapping[paired.Pair, Sequence[paired.Difference]]
    samples: Samples


def tables(job: TablesJob, files: TableFiles) -> None:
    """Write every table of a study (`RESULT_TABLES`) as CSV, and their sums.

    Args:
        job: which study, and what its verdicts need besides numbers.
        files: what they are made from.
    """
    results, worst, caps = Results.of(job.run), _worst(job), _caps(job, _sizes(files.prepared))
    published = claim_table.load(claim_table.read(files.claims) if files.claims else None, job.study, job.slugs)
    said = written.load(written.read(files.statements) if files.statements else None, job.study, job.slugs)
    measured = _measure(job, files, paired.pairs(published, job.readings), answers.sampled(said))
    trained = Trainings.of(map(read_run, files.runs)) if answers.of_trainings(said) else Trainings()
    about = {"near_zero": near_zero_name(job.near_zero.headline) if job.near_zero else "", "reference": job.reference}
    judged = verdicts.verdicts(published, measured.cells, readings=job.readings, worst=worst, caps=caps, **about)
    accuracies = paired.matching(published, cells.index(measured.cells), job.match, caps)
    found = places(files.records)
    frames = {
        "cells": measured.cells,
        "claims": judged.assign(records=verdicts.records(judged, measured.cells, results, found)),
        "qualitative": answers.qualitative(
            said, published, measured.cells, worst=worst, caps=caps, measured=measured.samples, trained=trained, **about
        ),
        "flags": measured.flags,
        "members": measured.members,
        "selection": selection.candidates(files.selections),
        "failures": for_people.failures(measured.cells, results, found),
        "worst": for_people.worst_cases(measured.cells),
        "attacks": for_people.attacks(measured.cells),
        "paper": papers.paper(judged, measured.cells, job.tables, labels=job.labels, readings=job.readings),
        "paired": paired.table(
            (
                pair,
                paired.decide(pair, found, paired.like(accuracies, pair), caps.get(pair.place[:4], Caps()).population),
                paired.cut_short(pair, caps),
            )
            for pair, found in measured.pairs.items()
        ),
    }
    write_tables({results.table(job.study, name): frame for name, frame in frames.items()})


def _measure(job: TablesJob, files: TableFiles, pairs: Iterable[paired.Pair], sampled: Collection[str]) -> Numbers:
    """Measure trainings and attacks; one model is read at a time. sampled: attacks of which every sample is kept."""
    numbers: list[cells.Cell] = []
    flagged: list[flags.Flagged] = []
    suites: list[members.Member] = []
    apart: dict[paired.Pair, list[paired.Difference]] = {pair: [] for pair in pairs}
    samples: dict[ModelId, dict[What, Values]] = {}
    runs = [read_run(file) for file in files.runs]
    if job.near_zero:
        cells.check_measured(runs, job.near_zero.parameters)
    for run in runs:
        numbers += cells.of_weights(run, job.near_zero.thresholds, job.near_zero.parameters) if job.near_zero else []
        flagged += flags.of_training(run)
    numbers += cells.of_features(net for file in files.features for net in clusters.read(file))
    numbers += cells.of_people(people.read(files.answers) if files.answers else ())
    for batch in by_model(files.records):
        numbers += cells.of_attacks(batch, _judges(job, batch))
        flagged += flags.of_attacks(batch)
        suites += members.of_attacks(batch)
        for pair, found in paired.measure(batch, apart):
            apart[pair].append(found)
        samples |= of_samples(batch, sampled)
    return Numbers(cells.table(numbers), flags.table(flagged), members.table(suites), apart, Samples(samples))


def _sizes(prepared: Iterable[Path]) -> dict[str, int]:
    """Return the sizes of the test sets."""
    return {facts["name"]: facts["counts"]["test"] for facts in (read_sealed(p, "prepare") for p in prepared)}


def _judges(job: TablesJob, batch: Batch) -> cells.Judges:
    """Return what tests each published attack on the dataset of a model."""
    datasets = {attacked.header.model.dataset for attacked in batch.attacks}
    return {w.attack: _by_radius(w) for w in job.worst if w.dataset in datasets}


def _by_radius(worst: WorstCase) -> dict[float, tuple[str, float]]:
    return {judge.epsilon: (judge.attack, judge.radius) for judge in worst.judges}


def _worst(job: TablesJob) -> Worst:
    """Return what tests each published attack."""
    return {(w.dataset, w.attack): w.why_not or Trial(w.threat, _by_radius(w)) for w in job.worst}


def _caps(job: TablesJob, sizes: Mapping[str, int]) -> dict[Cut, Caps]:
    def caps(cut: CutShort) -> Caps:
        everything = sizes[cut.data]
        population = min(cut.population or everything, everything)
        return Caps(cut.cut_model, cut.cut_attack, cut.cut_size, population, cut.given)

    return {(cut.dataset, cut.model, cut.defense, cut.attack): caps(cut) for cut in job.cut_short}
