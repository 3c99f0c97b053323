"""The job that turns records and models into numbers, verdicts and tables. Torch is not imported."""

import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from touchstone import records
from touchstone.attacks import ATTACKS
from touchstone.evaluation import flags as flag_rules
from touchstone.files import write_bytes
from touchstone.findings import metrics, statements, verdicts
from touchstone.findings import tables as table
from touchstone.findings.weights import FIRST_CONV
from touchstone.study import claims as claim_table
from touchstone.study.checks import load_study


def tables(
    params: Mapping[str, Any],
    study_file: Path,
    record_files: Iterable[Path],
    *,
    runs: Iterable[Path],
    selections: Iterable[Path],
    prepared: Iterable[Path],
    out: Path,
) -> None:
    """Write cells, claims, qualitative, flags, selection, failures and worst as CSV under `out`, the paper's in paper/.

    Args:
        params: `Plan.evaluation` of the study.
        study_file: its study.yaml; claims.csv and qualitative.csv lie beside it, unless it lists its cells.
        record_files: records.parquet of every attack on every model.
        runs: run.json of every model.
        selections: selection.json files.
        prepared: JSON of the prepared datasets (sizes of the test sets).
        out: results/<run>/<study>/tables.
    """
    study = load_study(study_file)
    record_files = list(record_files)
    sizes = {facts["name"]: facts["counts"]["test"] for facts in (json.loads(p.read_text()) for p in prepared)}
    thresholds, first_conv = (study.near_zero.thresholds, FIRST_CONV) if study.near_zero else ((), None)
    cells = metrics.cells(record_files, runs, thresholds=thresholds, first_conv=first_conv)
    known, required = claim_table.known(study), not study.cells
    published = claim_table.load(study_file.parent, known, required=required)
    near_zero = f"near_zero_{study.near_zero.headline:g}" if study.near_zero else ""
    shared = {"near_zero": near_zero, "reference": study.reference}
    judged = verdicts.verdicts(
        published,
        cells,
        readings=params["readings"],
        worst={tuple(key): _judges(value) for key, value in params["worst"]},
        caps={tuple(row["cell"]): _caps(row, sizes) for row in params["caps"]},
        **shared,
    )
    written = statements.load(study_file.parent, statements.words(known), required=required)
    frames = {
        "cells": cells,
        "claims": judged,
        "qualitative": statements.qualitative(written, published, cells, **shared),
        "flags": flags(record_files, runs),
        "selection": selection(selections),
        "failures": table.failures(cells, str(out.parent)),
        "worst": table.worst_cases(cells),
    }
    for name, definition in study.tables.items():
        frames[f"paper/{name}"] = table.paper_table(judged, definition.source_table, labels=study.labels)
    for name, frame in frames.items():
        write_bytes(out / f"{name}.csv", frame.to_csv(index=False).encode())


def flags(record_files: Iterable[Path], runs: Iterable[Path]) -> pd.DataFrame:
    """Return what looks wrong: flags of trainings, of attacks, and of attacks on one model against each other."""
    rows = []
    for path in runs:
        run = json.loads(Path(path).read_text())
        rows += [{**run["cell"], "attack": "training", "flag": f.partition(":")[0], "detail": f} for f in run["flags"]]
    read = [(Path(path), *records.read(path)) for path in sorted(record_files)]
    for _, group in groupby(read, key=lambda item: item[0].parents[1]):
        members = list(group)
        for _, _, metadata in members:
            rows += [{**metadata["cell"], **flag} for flag in metadata["flags"]]
        rows += _between(members)
    return pd.DataFrame(rows, columns=["dataset", "model", "defense", "seed", "attack", "flag", "detail"])


def _between(members: list[tuple[Path, pd.DataFrame, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Compare the published attacks on one model that share a threat."""
    threats: dict[str, dict[str, tuple[pd.DataFrame, dict]]] = {}
    for _, frame, metadata in members:
        if _comparable(metadata):
            threats.setdefault(json.dumps(metadata["threat"], sort_keys=True), {})[metadata["cell"]["attack"]] = (
                frame,
                metadata,
            )
    rows = []
    for group in threats.values():
        cell, threat = next(iter(group.values()))[1]["cell"], next(iter(group.values()))[1]["threat"]
        found = flag_rules.between({name: frame for name, (frame, _) in group.items()}, space=threat["space"])
        rows += [{**cell, "attack": " / ".join(group), **flag} for flag in found]
    return rows


def _comparable(metadata: Mapping[str, Any]) -> bool:
    """Say whether the attack ran as published, under a threat, and breaks what it misclassifies."""
    ran = metadata["protocol"] == "published" and metadata["threat"] is not None and metadata["status"] == "ok"
    return ran and ATTACKS[metadata["fn"]].criterion == "misclassified"


def selection(paths: Iterable[Path]) -> pd.DataFrame:
    """Return a row per candidate of every selection.json, the reference first."""
    rows = []
    for path in map(Path, paths):
        found = json.loads(path.read_text())
        defense, dataset = path.parent.name, path.parents[2].name
        tried = [("reference", found["reference"], False)]
        tried += [(_text(c["options"]), c, i == found["selected"]) for i, c in enumerate(found["candidates"])]
        rows += [{"dataset": dataset, "defense": defense, "candidate": n, **c, "selected": s} for n, c, s in tried]
    measured = ["status", "bounded", "validation_accuracy", "robust_accuracy", "fuzziness", "near_zero", "max_abs"]
    return pd.DataFrame(rows, columns=["dataset", "defense", "candidate", *measured, "selected"])


def _text(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value:g}" for name, value in options.items())


def _judges(value: str | list[list[Any]]) -> str | dict[float, tuple[str, float]]:
    return value if isinstance(value, str) else {epsilon: (attack, radius) for epsilon, attack, radius in value}


def _caps(row: Mapping[str, Any], sizes: Mapping[str, int]) -> verdicts.Caps:
    return verdicts.Caps(tuple(row["model"]), tuple(row["attack"]), tuple(row["size"]), sizes[row["dataset"]])
