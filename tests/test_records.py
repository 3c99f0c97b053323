import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from touchstone import records


def metadata(**changes: Any) -> dict[str, Any]:
    cell = {
        "run": "demo",
        "study": "toy",
        "original": "mnist",
        "dataset": "mnist",
        "model": "lenet",
        "defense": "std",
        "seed": 0,
        "attack": "pgd40-linf",
    }
    threat = {"norm": "linf", "space": "pixel", "epsilons": [0.1], "bounds": [0.0, 1.0]}
    rest = {
        "protocol": "published",
        "fn": "pgd",
        "kind": "fixed",
        "options": {"steps": 40},
        "status": "ok",
        "reason": None,
    }
    return {"cell": cell, "threat": threat, **rest, **changes}


def frame(rows: int = 3, **columns: Any) -> pd.DataFrame:
    base = {
        name: {"int": 0, "float": 0.5, "bool": False, "text": "linf"}[kind] for name, kind in records.COLUMNS.items()
    }
    return pd.DataFrame({**base, "sample": np.arange(rows), **columns}, index=range(rows))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = frame(epsilon=[0.1, np.nan, 0.3], dist_l2=[np.inf, 0.0, 1.5], success=[True, False, True])
    records.write(tmp_path / "a" / "records.parquet", written, metadata())
    read, meta = records.read(tmp_path / "a" / "records.parquet")
    pd.testing.assert_frame_equal(read, written[list(records.COLUMNS)], check_dtype=False)
    assert meta == metadata()
    assert records.read_metadata(tmp_path / "a" / "records.parquet") == meta
    assert os.listdir(tmp_path / "a") == ["records.parquet"]


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    table = frame()
    records.write(tmp_path / "a.parquet", table, metadata())
    records.write(tmp_path / "b.parquet", table[table.columns[::-1]], dict(reversed(metadata().items())))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_narrow_numbers_are_widened(tmp_path: Path) -> None:
    records.write(tmp_path / "a.parquet", frame().astype({"dist_l2": "float32", "label": "int32"}), metadata())
    assert records.read(tmp_path / "a.parquet")[0].dtypes[["dist_l2", "label"]].tolist() == [
        "float64",
        "int64",
    ]


def test_a_failed_run_is_empty_and_says_why(tmp_path: Path) -> None:
    records.write(tmp_path / "a.parquet", records.empty(), metadata(status="failed", reason="loss is nan"))
    read, meta = records.read(tmp_path / "a.parquet")
    assert read.empty
    assert list(read) == list(records.COLUMNS)
    assert meta["reason"] == "loss is nan"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (frame().drop(columns="dist_l2"), "missing column dist_l2"),
        (frame(colour=1), "unknown column colour; allowed: sample, label"),
        (frame(label="3"), "column label: expected int, got dtype"),
        (frame(label=1.0), "column label: expected int, got dtype float64"),
        (frame(success=1), "column success: expected bool, got dtype int64"),
        (frame(norm=[None, "l2", "l2"]), "column norm: expected no gaps, got 1"),
        (frame(sample=[0, 1, 1]), r"one row per sample, epsilon, restart, member; got \{'sample': 1"),
        (records.empty(), "got status 'ok' with 0 rows"),
    ],
)
def test_a_wrong_frame_is_refused_by_name(tmp_path: Path, table: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.parquet: .*{message}"):
        records.write(tmp_path / "a.parquet", table, metadata())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": {"run": "demo"}}, "metadata lack cell.study, cell.original, cell.dataset"),
        ({"threat": {}}, "metadata lack threat.norm, threat.space"),
        ({"status": "fine"}, "status: expected ok or failed, got 'fine'"),
        ({"protocol": "both"}, "protocol: expected published or worst, got 'both'"),
        ({"status": "failed"}, "reason: expected why the run failed"),
    ],
)
def test_wrong_metadata_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        records.write(tmp_path / "a.parquet", frame(), metadata(**changes))


def test_an_attack_may_have_no_threat(tmp_path: Path) -> None:
    records.write(tmp_path / "a.parquet", frame(epsilon=np.nan), metadata(threat=None))
    assert records.read(tmp_path / "a.parquet")[1]["threat"] is None


@pytest.mark.parametrize("reader", [records.read, records.read_metadata])
@pytest.mark.parametrize("keep", [0, 7, 0.5, 0.99])
def test_a_truncated_file_names_itself_and_the_cure(tmp_path: Path, reader: Any, keep: float) -> None:
    path = tmp_path / "records.parquet"
    records.write(path, frame(50), metadata())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else int(keep)])
    with pytest.raises(ValueError, match=r"records\.parquet: .*delete it and run .* \(rule attack\)"):
        reader(path)


def test_a_foreign_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.Table.from_pandas(frame()[list(records.COLUMNS)].astype(object))
    place = table.column_names.index("epsilon")
    pq.write_table(table.set_column(place, "epsilon", table["epsilon"].cast(pa.float32())), path)
    with pytest.raises(ValueError, match=r"a\.parquet: column epsilon: expected double, got float;"):
        records.read(path)
    table = table.replace_schema_metadata()
    pq.write_table(table, path)
    with pytest.raises(ValueError, match="expected metadata under 'touchstone', got none"):
        records.read(path)
    pq.write_table(table.replace_schema_metadata({"touchstone": json.dumps({"cell": {}})}), path)
    with pytest.raises(ValueError, match="metadata lack threat, protocol, fn"):
        records.read(path)


def test_a_missing_file_stays_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        records.read(tmp_path / "none.parquet")


def test_a_file_is_replaced_and_not_written_over(tmp_path: Path) -> None:
    """A reader that has the old file open keeps it whole."""
    path, opened = tmp_path / "a.parquet", tmp_path / "opened"
    records.write(path, frame(), metadata())
    os.link(path, opened)
    before = opened.read_bytes()
    records.write(path, frame(5), metadata())
    assert opened.read_bytes() == before


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    records.write(path, frame(), metadata())
    before = path.read_bytes()

    def full_disk(_table: pa.Table, target: Path, **_: Any) -> None:
        Path(target).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(pq, "write_table", full_disk)
    with pytest.raises(OSError, match="no space"):
        records.write(path, frame(5), metadata())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
