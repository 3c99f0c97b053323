"""One row per judged point, and how the rows of attacks on one model are written and read.

A row is one (attack, sample, epsilon, restart, member). What was attacked, how, and on what travels in the same file,
as JSON under the key "touchstone", so that a record cannot lose its origin, and the sum of all that is read of it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from touchstone.cell import ModelId, ThreatSpec
from touchstone.files import DamagedError, write_bytes
from touchstone.registry import BudgetRule

# Distances are in [0, 1] pixels of the judged point, whatever space the attack worked in, but for `dist`.
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
    "x_l2_space": "float",  # in the space of the threat
    "adv_pred": "int",
    "adv_conf": "float",
    "adv_margin": "float",  # largest other logit minus the label's
    "adv_rank": "int",  # of adv_pred among the clean classes, 1 the first
    "success": "bool",  # the judge's word: criterion met, inside the threat
    "found": "bool",  # the attack's own word
    "carried": "bool",  # the point comes from a smaller epsilon
    "dist": "float",  # in the norm and the space of the threat
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
TOLERANCE = 1e-6  # absolute, on distances and on the box: float32 rounding of x + delta
SAMPLE = "sample"  # beside the points of an attack that are kept: whose they are
NO_ANSWER = -1  # the prediction where a logit is NaN
CLEAN = "clean"  # the member of a worst case that has what is wrong by itself
STATUS = ("ok", "failed")
PROTOCOLS = ("published", "worst")

Flag = dict[str, str]  # {flag, detail}

_KEY = b"touchstone"
_SUM_KEY = b"touchstone_sha256"
_ARROW = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "text": pa.string()}
_KINDS = {"int": "iu", "float": "fiu", "bool": "b", "text": "OUT"}  # dtype.kind of pandas columns
_SCHEMA = pa.schema([pa.field(name, _ARROW[kind]) for name, kind in {"attack": "text", **COLUMNS}.items()])


@dataclass(frozen=True)
class Choice:
    """One choice of the options that a paper tuned, and how it did.

    Attributes:
        epsilon: radius that it was tried at; None where the attack has no budget.
        options: what was chosen from.
        measures: what choices are compared by, the smaller the better; None for infinite.
        chosen: whether it was kept.
    """

    epsilon: float | None
    options: Mapping[str, Any]
    measures: Mapping[str, float | None]
    chosen: bool


@dataclass(frozen=True)
class Header:
    """What the rows of one attack on one model are, and what made them.

    Attributes:
        run: of which they are a result.
        model: that was attacked.
        stand_in: dataset used in the place of the model's own, "" if none.
        attack: its slug in the study; that of a worst case is worst-<norm>.
        protocol: published or worst.
        kind: none (clean samples), fixed (rows per epsilon) or minimal (rows without an epsilon).
        members: slug -> {fn, options}: the attack itself, or those of a suite in their order.
        suite: its name, "" for a published attack.
        budget_rule: how the points of a published minimal-norm attack count at a radius; ball for all others.
        threat: None for the clean pass.
        samples: how many were attacked.
        status: "ok", or "failed": without rows, for `reason`.
        flags: what has to be said beside the numbers.
        grid: what was tried of options that a paper tuned, one per epsilon and combination.
        doubled_steps_gain: share of samples that twice the steps break more; None if not measured.
        made: by which code, versions, device, and from which files.
    """

    run: str
    model: ModelId
    stand_in: str
    attack: str
    protocol: Literal["published", "worst"]
    kind: Literal["none", "fixed", "minimal"]
    members: Mapping[str, Mapping[str, Any]]
    threat: ThreatSpec | None
    samples: int
    suite: str = ""
    budget_rule: Literal["ball"] | BudgetRule = "ball"
    status: Literal["ok", "failed"] = "ok"
    reason: str = ""
    flags: list[Flag] = field(default_factory=list)
    grid: list[Choice] = field(default_factory=list)
    doubled_steps_gain: float | None = None
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def norm(self) -> str:
        """The norm of the threat; none without one."""
        return self.threat.norm if self.threat else "none"


class Attacked(NamedTuple):
    """What one attack did to one model: a header, and a frame with the columns of COLUMNS."""

    header: Header
    frame: pd.DataFrame


@dataclass(frozen=True)
class Preflight:
    """What was measured of a model under a threat before any attack, and what looks wrong."""

    threat: ThreatSpec
    measured: Mapping[str, float | bool]
    flags: list[Flag]


class Batch(NamedTuple):
    """Everything in one file: attacks on one model, and the preflights of their threats."""

    attacks: list[Attacked]
    preflights: list[Preflight]


def empty() -> pd.DataFrame:
    """Return a frame without rows: what an attack on a failed model writes."""
    table: pd.DataFrame = _SCHEMA.empty_table().to_pandas()
    return table[list(COLUMNS)]


def write(path: Path, attacks: Iterable[Attacked], preflights: Iterable[Preflight] = ()) -> None:
    """Write what attacks did to one model; the file appears whole or not at all, equal content as equal bytes.

    Raises:
        ValueError: if a column is missing, unknown or of another type, a row or an attack occurs twice, attacks are not
            on one model, or a header contradicts itself or its rows; the message names file, attack and column.
    """
    attacks, preflights = list(attacks), list(preflights)
    _check_batch(path, [attacked.header for attacked in attacks])
    tables = [_table(path, attacked) for attacked in attacks]
    about = {"attacks": [asdict(a.header) for a in attacks], "preflights": [asdict(p) for p in preflights]}
    table, told = pa.concat_tables(tables) if tables else _SCHEMA.empty_table(), json.dumps(about).encode()
    schema = _SCHEMA.with_metadata({_KEY: told, _SUM_KEY: _sum(told, table.to_pandas())})
    sink = pa.BufferOutputStream()
    pq.write_table(table.cast(schema), sink, compression="zstd")
    write_bytes(Path(path), sink.getvalue().to_pybytes())


def read(path: Path) -> Batch:
    """Return what `write` was given.

    Raises:
        DamagedError: if what it says is not what `write` was given.
    """
    path = Path(path)
    try:
        table = pq.read_table(path, partitioning=None)
        columns = table.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last of the name of a column
        raise _unreadable(path, error) from error
    if wrong := _wrong_columns(columns, _SCHEMA.names):
        raise DamagedError(path, "attack", wrong)
    for name in _SCHEMA.names:
        if (got := table.schema.field(name).type) != (wanted := _SCHEMA.field(name).type):
            raise DamagedError(path, "attack", f"column {name}: expected {wanted}, got {got}")
    headers, preflights = _about(path, table.schema)
    rows = table.to_pandas()
    if table.schema.metadata.get(_SUM_KEY) != _sum(table.schema.metadata[_KEY], rows):
        raise DamagedError(path, "attack", "its rows or headers are not those that were written")
    frames = dict(list(rows.groupby("attack", sort=False)))
    attacked = [Attacked(h, frames[h.attack][list(COLUMNS)].reset_index(drop=True) if h.attack in frames else empty())
                for h in headers]  # fmt: skip
    return Batch(attacked, preflights)


def read_headers(path: Path) -> list[Header]:
    """Return what a file is about without reading its rows, so that only `read` knows whether it is whole."""
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    return _about(Path(path), schema)[0]


def _sum(told: bytes, rows: pd.DataFrame) -> bytes:
    """Return the sha256 of the headers and of every value of the rows as they are read, whatever bytes hold them."""
    digest = hashlib.sha256(told)
    for name in _SCHEMA.names:
        column = rows[name].to_numpy()
        digest.update("\n".join(column).encode() if column.dtype.kind == "O" else column.tobytes())
    return digest.hexdigest().encode()


def _unreadable(path: Path, error: Exception) -> Exception:
    if isinstance(error, FileNotFoundError):
        return error
    return DamagedError(path, "attack", error)


def _about(path: Path, schema: pa.Schema) -> tuple[list[Header], list[Preflight]]:
    stored = (schema.metadata or {}).get(_KEY)
    if stored is None:
        raise DamagedError(path, "attack", f"expected headers under {_KEY.decode()!r}, got none")
    try:
        about = json.loads(stored)
        headers = [_header(values) for values in about["attacks"]]
        return headers, [Preflight(**{**p, "threat": _threat(p["threat"])}) for p in about["preflights"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(path, "attack", error) from error


def _header(values: dict[str, Any]) -> Header:
    known = [f.name for f in fields(Header)]
    if set(values) != set(known):
        raise ValueError(f"expected a header of {', '.join(known)}, got {', '.join(values)}")
    grid = [Choice(**tried) for tried in values["grid"]]
    return Header(**{**values, "model": ModelId(*values["model"]), "threat": _threat(values["threat"]), "grid": grid})


def _threat(values: dict[str, Any] | None) -> ThreatSpec | None:
    return None if values is None else ThreatSpec(**{**values, "epsilons": tuple(values["epsilons"])})


def _check_batch(path: Path, headers: Sequence[Header]) -> None:
    for header in headers:
        for key, allowed in {"status": STATUS, "protocol": PROTOCOLS}.items():
            if (got := getattr(header, key)) not in allowed:
                raise ValueError(f"{path}: {header.attack}: {key}: expected {' or '.join(allowed)}, got {got!r}")
        if header.status == "failed" and not header.reason:
            raise ValueError(f"{path}: {header.attack}: reason: expected why it failed, got {header.reason!r}")
    attacks = [header.attack for header in headers]
    if len(set(attacks)) < len(attacks):
        raise ValueError(f"{path}: expected each attack once, got {', '.join(attacks)}")
    if len(models := {header.model for header in headers}) > 1:
        raise ValueError(f"{path}: expected attacks on one model, got {len(models)}")


def _table(path: Path, attacked: Attacked) -> pa.Table:
    header, frame = attacked
    where = f"{path}: {header.attack}"
    if wrong := _wrong_columns(frame.columns, COLUMNS):
        raise ValueError(f"{where}: {wrong}")
    if (header.status == "ok") == frame.empty:
        raise ValueError(
            f"{where}: expected rows unless it failed, got status {header.status!r} with {len(frame)} rows"
        )
    if (twice := frame.duplicated(ROW)).any():
        first = frame.loc[twice, ROW].iloc[0].to_dict()
        raise ValueError(f"{where}: expected one row per {', '.join(ROW)}; got {first} twice")
    columns = [_column(where, frame[name], kind) for name, kind in COLUMNS.items()]
    return pa.Table.from_arrays([pa.array([header.attack] * len(frame), type=pa.string()), *columns], schema=_SCHEMA)


def _wrong_columns(names: Iterable[str], wanted: Iterable[str]) -> str:
    """Say which columns are missing or unknown; empty if none are."""
    names, wanted = list(names), list(wanted)
    if missing := [name for name in wanted if name not in names]:
        return f"missing column {', '.join(missing)}"
    if unknown := [name for name in names if name not in wanted]:
        return f"unknown column {', '.join(unknown)}; allowed: {', '.join(wanted)}"
    return ""


def _column(where: str, values: pd.Series, kind: str) -> pa.Array:
    # pyarrow alone would parse the text "1" as a number and take 1.0 for an integer
    if len(values) and values.dtype.kind not in _KINDS[kind]:
        raise ValueError(f"{where}: column {values.name}: expected {kind}, got dtype {values.dtype}")
    try:
        array = pa.array(values, type=_ARROW[kind], from_pandas=True)
    except pa.ArrowException as error:
        raise ValueError(f"{where}: column {values.name}: expected {kind}: {error}") from error
    if kind != "float" and array.null_count:
        raise ValueError(f"{where}: column {values.name}: expected no gaps, got {array.null_count}")
    return array
