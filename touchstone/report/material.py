"""What a study's report is written from: everything that a run left on disk, read once."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from touchstone.study.config import read as read_yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = {
    "tables": "tables",
    "models": "train",
    "figures": "figure",
    "config.yaml": "resolved_config",
    "provenance.json": "provenance",
}


@dataclass(frozen=True)
class Material:
    """All that a study's report is written from, as read from disk; tables hold strings, digits as written."""

    folder: Path
    run: str
    study: Mapping[str, Any]
    captions: Mapping[str, str]
    config: Mapping[str, Any]
    provenance: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]
    models: Sequence[Mapping[str, Any]]


def gather(results_dir: str | Path, study: str, root: str | Path = ROOT) -> Material:
    """Read a study's results.

    Args:
        results_dir: results/<run>.
        study: slug; its definition and captions are read from root/studies.
        root: the checkout.

    Raises:
        FileNotFoundError: for a file that is not there; names it and the rule that makes it.
    """
    results, root = Path(results_dir), Path(root)
    folder = results / study
    definition, captions = (
        read_yaml(path)[0] for path in (root / f"studies/{study}/study.yaml", root / f"studies/{study}/captions.yaml")
    )
    names = ["cells", "claims", "qualitative", "flags", "selection", "failures", "worst"]
    files = {name: folder / "tables" / f"{name}.csv" for name in names}
    files |= {name: folder / "tables" / "paper" / f"{name}.csv" for name in definition.get("tables", {})}
    return Material(
        folder=folder,
        run=results.name,
        study=definition,
        captions=captions,
        config=_config(results),
        provenance=json.loads(existing(results / "provenance.json").read_text(encoding="utf-8")),
        tables=(tables := {name: _table(path) for name, path in files.items()}),
        models=_models(folder / "models", tables["cells"]),
    )


def existing(path: Path) -> Path:
    """Return the path of a file that is there.

    Raises:
        FileNotFoundError: naming the file and the rule that makes it.
    """
    if not path.exists():
        rule = next((rule for part, rule in RULES.items() if part in path.parts), "all")
        raise FileNotFoundError(f"{path} is missing; `snakemake {path}` makes it (rule {rule})")
    return path


def _table(path: Path) -> pd.DataFrame:
    table = pd.read_csv(existing(path), dtype=str, keep_default_na=False)
    return table.rename(columns=lambda name: re.sub(r"^Unnamed: \d+$", "", name))  # a header left empty


def _models(folder: Path, cells: pd.DataFrame) -> list[Mapping[str, Any]]:
    """Return run.json of every model of this run; what an earlier run left in the folder is none of it."""
    places = cells[["dataset", "model", "defense", "seed"]].drop_duplicates().itertuples(index=False, name=None)
    paths = sorted(existing(folder.joinpath(*place, "run.json")) for place in places)
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def _config(results: Path) -> Mapping[str, Any]:
    """Return the run's configuration; the resolved file holds it under `config`, beside every job."""
    values = read_yaml(existing(results / "config.yaml"))[0]
    return values.get("config", values)


def substitutes(cells: pd.DataFrame) -> list[tuple[str, str]]:
    """Return (dataset that was used, dataset of the paper) where they differ."""
    pairs = cells[["dataset", "original_dataset"]].drop_duplicates().itertuples(index=False, name=None)
    return [pair for pair in pairs if pair[0] != pair[1]]
