"""Folders of finished runs, as small as tests need them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from touchstone import records
from touchstone.findings import cells
from touchstone.findings.inputs import write_tables
from touchstone.paths import Results
from touchstone.records import Attacked, Batch

CLAIMS = pd.DataFrame(
    [("t1", "headline", "reproduced", "stands", "0.5"), ("t1", "coded", "lower", "", "0.25")],
    columns=["id", "reading", "verdict", "stands", "ours"],
)
STATEMENTS = pd.DataFrame([("s1", "holds", "undecided")], columns=["id", "verdict", "worst_verdict"])


def finished(
    folder: Path, attacked: Sequence[Attacked], claims: pd.DataFrame = CLAIMS, statements: pd.DataFrame = STATEMENTS
) -> Path:
    """Write the records of attacks on one model, and the tables of its study; return the folder."""
    results, model = Results(folder), attacked[0].header.model
    records.write(results.attack(model, "all").records, attacked)
    made = {
        "cells": cells.table(cells.of_attacks(Batch(list(attacked), []), {})),
        "claims": claims,
        "qualitative": statements,
    }
    write_tables({results.table(model.study, name): table for name, table in made.items()})
    return folder
