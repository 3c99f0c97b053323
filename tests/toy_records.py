"""Records as tests need them: points, and the header of what made them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from touchstone import records
from touchstone.cell import ModelId, ThreatSpec
from touchstone.files import sum_of, write_sealed
from touchstone.paths import model_files
from touchstone.records import Attacked, Header

MODEL = ModelId("toy", "mnist", "lenet", "std", 0)
LINF = ThreatSpec("linf", epsilons=(0.1, 0.3))
PGD = {"pgd": {"fn": "pgd", "options": {}}}
SUITE = {slug: {"fn": slug, "options": {}} for slug in ("pgd", "square")}


def points(**columns: Any) -> pd.DataFrame:
    """Records with the given columns; the rest is what a clean, unbroken sample 0, 1, ... has."""
    rows = max(len(value) for value in columns.values() if not isinstance(value, str))
    blank = {
        name: {"int": 0, "float": 0.0, "bool": False, "text": "linf"}[kind] for name, kind in records.COLUMNS.items()
    }
    made = pd.DataFrame({**blank, "sample": np.arange(rows), "member": "a", **columns}, index=range(rows))
    # what is measured in the space of the threat, which is that of the pixels unless a test says otherwise
    own = {"x_l2_space": made["x_l2"], "dist": made["dist_l2"] if (made["norm"] == "l2").all() else made["dist_linf"]}
    return made.assign(**{name: values for name, values in own.items() if name not in columns})


def header(attack: str, **changes: Any) -> Header:
    """A fixed attack as published, in pixels, on the toy model with digits in place of mnist."""
    base = Header(
        run="demo",
        model=MODEL,
        stand_in="digits",
        attack=attack,
        protocol="published",
        kind="fixed",
        members=PGD,
        threat=LINF,
        samples=4,
    )
    return replace(base, **changes)


def clean(**changes: Any) -> Header:
    members = {"clean": {"fn": "clean", "options": {}}}
    return header("clean", **{"kind": "none", "members": members, "threat": None} | changes)


def worst(**changes: Any) -> Header:
    return header("worst-linf", **{"protocol": "worst", "members": SUITE, "suite": "quick"} | changes)


def save_run(folder: Path, weights: Any = (0.5,), model: ModelId = MODEL, **changes: Any) -> Path:
    """Write model.safetensors and run.json of a training."""
    files = model_files(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"net.conv1.weight": np.asarray(weights, dtype="float32")}, files.weights)
    run = {"cell": {"run": "demo", **model._asdict(), "stand_in": "digits"}, "status": "ok", "reason": ""}
    run |= {"epoch_failed": None, "epochs": 10, "selected_options": None, "seconds": 12.5, "flags": []}
    files.history.write_text("epoch,loss\n1,2.3\n")
    sums = {"model_sha256": sum_of(files.weights.read_bytes()), "history_sha256": sum_of(files.history.read_bytes())}
    write_sealed(files.run, {**run, **sums, **changes})
    return files.run


def save(path: Path, *attacked: Attacked, **more: Any) -> Path:
    records.write(path, attacked, **more)
    return path
