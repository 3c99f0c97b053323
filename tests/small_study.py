"""A study with every optional key, of which any can be left out, and what a run of it leaves on disk."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from toy_claims import ROW, write
from toy_records import clean, header, points, save, save_run, worst

from touchstone.files import sum_of, write_sealed, write_yaml
from touchstone.jobs.tables import TableFiles, tables
from touchstone.paths import study_files
from touchstone.plan import build
from touchstone.plan.plan import Plan
from touchstone.records import Attacked
from touchstone.study.schema import Study

ADV = {"fn": "adv", "norm": "linf", "eps": 0.3, "attack_steps": 1, "step_size": 0.1}
PIXELS = {"norm": "linf", "space": "pixel", "epsilons": {"mnist": [0.1, 0.3]}}
NEEDED: dict[str, Any] = {
    "study": "small",
    "title": "A small study",
    "citation": "Nobody",
    "headline": "as it stands",
    "seeds": 1,
    "models": {"lenet": {"fn": "lenet"}},
    "recipes": {"mnist": {"optimizer": "adam", "lr": 0.001, "batch_size": 64, "epochs": 1}},
    "defenses": {"std": {"fn": "ce"}, "adv": ADV},
    "threats": {"linf": PIXELS},
    "attacks": {
        "clean": {"fn": "clean"},
        "near": {"fn": "deepfool", "threat": "linf"},
        **{f"pgd{n}": {"fn": "pgd", "threat": "linf", "steps": n} for n in (2, 4)},
    },
}
GIVEN = {"dataset": "mnist", "model": "lenet", "defense": "adv"}
OPTIONAL: dict[str, Any] = {
    "datasets": {
        "own": {"fn": "npz", "sha256": "0" * 64, "shape": [1, 8, 8], "classes": 2, "mean": [0.5], "std": [0.5]},
    },
    "weights": [GIVEN | {"files": [{"file": "adv.safetensors", "sha256": sum_of(b"")}]}],
    "report": "study",
    "redraws": 1,
    "samples": {"first": 4},
    "paired": {"match": ["clean"]},
    "selection": {
        **{"reference": "std", "tolerance": {"mnist": 0.1}, "seed": 1000, "epochs": {"mnist": 1}},
        **{"probe": "pgd2", "probe_samples": 10},
    },
    "worst": {"linf": ["linf"]},
    "plain": "lenet/std",
    "cells": [{"datasets": ["mnist"], "models": ["lenet"], "defenses": ["std", "adv"], "attacks": ["pgd2"]}],
    "people": {
        "cells": [{"datasets": ["mnist"], "models": ["lenet"], "defenses": ["adv"], "attacks": ["near"]}],
        **{"seeds": 1, "assignments": 1, "images": 2, "seed": 0},
    },
    "readings": {"headline": {}, "more": {"mark": "only with more steps", "attack": {"pgd2": "pgd4"}}},
    "near_zero": {"headline": 0.01, "thresholds": [0.01]},
    "monitor": {"defenses": ["std"], "attack": {"mnist": "pgd2"}, "every": 1, "samples": 4},
    "labels": {"std": "Std."},
    "tables": {"table1": {"source_table": "Table 1", "title": "Accuracy"}},
    "figures": {"worst-case": {"fn": "worst-case"}},
}
CLAIM = ROW | {"paper": "small", "epsilon_unit": "pixel01", "cell_attack": "pgd2"}
STATEMENT = {"paper": "small", "id": "s1", "claim": "adv is better", "evidence_table": "Table 1", "how_to_test": ""}
STATEMENT |= {"published_numbers_agree": "yes", "test": "above adv std"}
# what must go too where something is left out, since it is about that
ABOUT = {"claims.csv": {"tables", "qualitative.csv"}, "captions.yaml": {"figures"}}
FILES = ("claims.csv", "qualitative.csv", "captions.yaml")
ALONE = [*OPTIONAL, *FILES]  # what can be left out


def left_out(name: str) -> set[str]:
    """Return what goes with something that is left out."""
    return {name}.union(*map(left_out, ABOUT.get(name, ())))


def write_study(root: Path, without: Collection[str]) -> None:
    """Write studies/small."""
    folder = root / "studies" / "small"
    folder.mkdir(parents=True)
    study = NEEDED | {name: value for name, value in OPTIONAL.items() if name not in without}
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    (folder / "adv.safetensors").touch()  # nothing is trained or read here
    claims = [CLAIM, CLAIM | {"id": "b", "defense": "adv", "cell_defense": "adv"}]
    if "claims.csv" not in without:
        write(folder, *claims)
    if "qualitative.csv" not in without:
        write(folder, STATEMENT, name="qualitative.csv")
    if "captions.yaml" not in without:
        captions = {"claim": "It says so."} | ({"worst-case": "It falls."} if "figures" in study else {})
        (folder / "captions.yaml").write_text(yaml.safe_dump(captions))


def make_results(plan: Plan, failed: str = "", command: str = "") -> None:
    """Write what a run leaves: models, records, tables, figures, its config.

    Args:
        plan: of the run.
        failed: why `near` has failed on every net; by default it has not.
        command: what started the run.
    """
    results, records, runs = plan.results, [], []
    for model in plan.models:
        about: dict[str, Any] = {"model": model}
        made = [Attacked(clean(**about), points(epsilon=[np.nan] * 4, norm="none"))]
        for attack in plan.attacks(model)[1:]:
            threat = plan.threat(model, attack)
            assert threat is not None
            kind = worst if attack.startswith("worst") else header
            rows = [(sample, eps) for eps in threat.epsilons for sample in range(4)]
            frame = points(sample=[s for s, _ in rows], epsilon=[e for _, e in rows], success=[s < 1 for s, _ in rows])
            one = kind(**about, threat=threat) if kind is worst else kind(attack, **about, threat=threat)
            if failed and attack == "near":
                one, frame = replace(one, status="failed", reason=failed), frame.iloc[:0]
            made.append(Attacked(one, frame))
        records.append(save(results.attack(model, "all").records, *made))
        runs.append(save_run(results.model(model).run.parent, np.full((6, 1, 5, 5), 0.5), model))
    write_sealed(prepared := plan.root / "digits.json", {"name": "digits", "counts": {"test": 100}})
    job = build.tables_job(plan, "small")
    files = study_files("small", plan.root)
    written = {name: f if (f := getattr(files, name)).exists() else None for name in ("claims", "statements")}
    tables(job, TableFiles(**written, records=records, runs=runs, selections=[], prepared=[prepared]))
    study: Study = plan.studies["small"]
    for figure in study.figures:
        path = results.figure("small", figure)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<svg/>")
    write_yaml(results.config, {"config": plan.config.model_dump(exclude_none=True), "jobs": {}})
    for whose in ("", "small"):
        write_sealed(results.provenance(whose), {"command": command} if command else {})
