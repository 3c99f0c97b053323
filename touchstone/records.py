"""One row per judged point: the schema of records.parquet, and how it is written and read.

A row is one (sample, epsilon, restart, member). The metadata (who was attacked, how, on what) travel in the
same file, as JSON under the key "touchstone", so that a record cannot lose its origin.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

# Distances are in [0, 1] pixels of the judged point, whatever space the attack worked in.
COLUMNS = {
    "sample": "int",  # index in the test set
    "label": "int",
    "norm": "text",  # linf | l2 | l1 | l0 | none
    "epsilon": "float",  # empty for an attack without a budget
    "restart": "int",
    "member": "text",  # slug of the cascade's member, else the attack's own
    "clean_pred": "int",
    "clean_conf": "float",
    "clean_gap": "float",  # clean probability of the label minus the largest other one
    "x_l2": "float",
    "adv_pred": "int",
    "adv_conf": "float",
    "adv_margin": "float",  # largest other logit minus the label's
    "adv_rank": "int",  # of adv_pred among the clean classes, 1 the first
    "success": "bool",  # the judge's word: criterion met, inside the threat
    "found": "bool",  # the attack's own word
    "carried": "bool",  # the point comes from a smaller epsilon
    "dist_linf": "float",
    "dist_l2": "float",
    "dist_l1": "float",
    "dist_l0": "float",  # pixels that differ in any channel
    "dist_l0_values": "float",  # values that differ
    "forwards": "int",
    "backwards": "int",
    "zero_grad_steps": "int",
    "rejected": "bool",  # outside the budget or the bounds: counted, never a success
}
ROW = ["sample", "epsilon", "restart", "member"]
CELL = ("run", "study", "original", "dataset", "model", "defense", "seed", "attack")
THREAT = ("norm", "space", "epsilons", "bounds")
METADATA = ("cell", "threat", "protocol", "fn", "kind", "options", "status", "reason")

_KEY = b"touchstone"
_REBUILD = "delete it and run snakemake again (rule attack)"
_ARROW = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "text": pa.string()}
_KINDS = {"int": "iu", "float": "fiu", "bool": "b", "text": "OUT"}  # dtype.kind of pandas columns
_SCHEMA = pa.schema([pa.field(name, _ARROW[kind]) for name, kind in COLUMNS.items()])


def empty() -> pd.DataFrame:
    """Return a frame without rows: what an attack on a failed model writes."""
    return _SCHEMA.empty_table().to_pandas()


def write(path: Path, frame: pd.DataFrame, metadata: Mapping[str, Any]) -> None:
    """Write the records of one attack on one model; the file appears whole or not at all.

    Args:
        path: the .parquet file.
        frame: the columns of COLUMNS, in any order.
        metadata: at least the keys of METADATA. `cell` has those of CELL (`dataset` is the one in use,
            `original` the paper's); `threat` those of THREAT, or is None for an attack without one; `kind` is
            that of the attack's AttackSpec.

    Raises:
        ValueError: if a column is missing, unknown or of another type, a row occurs twice, or metadata are
            incomplete; the message names the file and the column.
    """
    path = Path(path)
    _check_metadata(path, metadata)
    _check_columns(path, frame.columns)
    if (metadata["status"] == "ok") == frame.empty:
        got = f"status {metadata['status']!r} with {len(frame)} rows"
        raise ValueError(f"{path}: expected rows unless the run failed, got {got}")
    if (twice := frame.duplicated(ROW)).any():
        first = frame.loc[twice, ROW].iloc[0].to_dict()
        raise ValueError(f"{path}: expected one row per {', '.join(ROW)}; got {first} twice")
    columns = [_column(path, frame[name], kind) for name, kind in COLUMNS.items()]
    text = json.dumps(dict(metadata), sort_keys=True)
    table = pa.Table.from_arrays(columns, schema=_SCHEMA.with_metadata({_KEY: text.encode()}))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(table, aside, compression="zstd")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def read(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return (records, metadata) of one file.

    Raises:
        ValueError: if the file is truncated, or its columns or metadata are not those of `write`.
    """
    path = Path(path)
    try:
        table = pq.read_table(path, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    _check_columns(path, table.column_names)
    for name, kind in COLUMNS.items():
        if (got := table.schema.field(name).type) != _ARROW[kind]:
            raise ValueError(f"{path}: column {name}: expected {_ARROW[kind]}, got {got}; {_REBUILD}")
    return table.select(list(COLUMNS)).to_pandas(), _metadata(path, table.schema)


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of one file without reading its rows; errors as in `read`."""
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    return _metadata(Path(path), schema)


def _unreadable(path: Path, error: Exception) -> Exception:
    if isinstance(error, FileNotFoundError):
        return error
    return ValueError(f"{path}: expected a whole parquet file, got: {error}; {_REBUILD}")


def _metadata(path: Path, schema: pa.Schema) -> dict[str, Any]:
    stored = (schema.metadata or {}).get(_KEY)
    if stored is None:
        raise ValueError(f"{path}: expected metadata under {_KEY.decode()!r}, got none; {_REBUILD}")
    metadata = json.loads(stored)
    _check_metadata(path, metadata)
    return metadata


def _check_metadata(path: Path, metadata: Mapping[str, Any]) -> None:
    absent = [key for key in METADATA if key not in metadata]
    absent += [f"cell.{key}" for key in CELL if key not in metadata.get("cell", {})]
    if (threat := metadata.get("threat")) is not None:
        absent += [f"threat.{key}" for key in THREAT if key not in threat]
    if absent:
        raise ValueError(f"{path}: metadata lack {', '.join(absent)}")
    for key, allowed in {"status": ("ok", "failed"), "protocol": ("published", "worst")}.items():
        if metadata[key] not in allowed:
            raise ValueError(f"{path}: metadata {key}: expected {' or '.join(allowed)}, got {metadata[key]!r}")
    if metadata["status"] == "failed" and not metadata["reason"]:
        raise ValueError(f"{path}: metadata reason: expected why the run failed, got {metadata['reason']!r}")


def _check_columns(path: Path, names: Iterable[str]) -> None:
    names = list(names)
    if missing := [name for name in COLUMNS if name not in names]:
        raise ValueError(f"{path}: missing column {', '.join(missing)}")
    if unknown := [name for name in names if name not in COLUMNS]:
        raise ValueError(f"{path}: unknown column {', '.join(unknown)}; allowed: {', '.join(COLUMNS)}")


def _column(path: Path, values: pd.Series, kind: str) -> pa.Array:
    # pyarrow alone would parse the text "1" as a number and take 1.0 for an integer
    if len(values) and values.dtype.kind not in _KINDS[kind]:
        raise ValueError(f"{path}: column {values.name}: expected {kind}, got dtype {values.dtype}")
    try:
        array = pa.array(values, type=_ARROW[kind], from_pandas=True)
    except pa.ArrowException as error:
        raise ValueError(f"{path}: column {values.name}: expected {kind}: {error}") from error
    if kind != "float" and array.null_count:
        raise ValueError(f"{path}: column {values.name}: expected no gaps, got {array.null_count}")
    return array
