import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from touchstone import records
from touchstone.cell import ModelId, ThreatSpec
from touchstone.files import DamagedError
from touchstone.records import Attacked, Choice, Header, Preflight

HEADER = Header(
    run="demo",
    model=ModelId("toy", "mnist", "lenet", "std", 0),
    stand_in="digits",
    attack="pgd40-linf",
    protocol="published",
    kind="fixed",
    members={"pgd40-linf": {"fn": "pgd", "options": {"steps": 40}}},
    threat=ThreatSpec("linf", epsilons=(0.1,)),
    samples=3,
    flags=[{"flag": "rejected", "detail": "one point"}],
    grid=[Choice(0.1, {"step_size": 0.01}, {"accuracy": 0.25}, True), Choice(None, {}, {"mean_norm": None}, False)],
    made={"code": "0"},
)


def frame(rows: int = 3, **columns: Any) -> pd.DataFrame:
    base = {
        name: {"int": 0, "float": 0.5, "bool": False, "text": "linf"}[kind] for name, kind in records.COLUMNS.items()
    }
    return pd.DataFrame({**base, "sample": np.arange(rows), **columns}, index=range(rows))


def write(path: Path, table: pd.DataFrame, **changes: Any) -> None:
    records.write(path, [Attacked(replace(HEADER, **changes), table)])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a" / "records.parquet"
    written = frame(epsilon=[0.1, np.nan, 0.3], dist_l2=[np.inf, 0.0, 1.5], success=[True, False, True])
    other = replace(HEADER, attack="clean", kind="none", threat=None)
    preflight = Preflight(HEADER.threat, {"saturated_x": 0.5, "randomised": False}, [])
    records.write(path, [Attacked(HEADER, written), Attacked(other, frame(2, epsilon=np.nan))], [preflight])
    (first, second), preflights = records.read(path)
    pd.testing.assert_frame_equal(first.frame, written[list(records.COLUMNS)], check_dtype=False)
    pd.testing.assert_frame_equal(second.frame, frame(2, epsilon=np.nan)[list(records.COLUMNS)], check_dtype=False)
    assert [first.header, second.header] == [HEADER, other] == records.read_headers(path)
    assert preflights == [preflight]
    assert os.listdir(tmp_path / "a") == ["records.parquet"]


def test_members_stay_in_the_order_of_their_turns(tmp_path: Path) -> None:
    members = {slug: {"fn": "pgd", "options": {}} for slug in ("pgd-ce", "apgd-t", "square", "noise")}
    write(tmp_path / "records.parquet", frame(), attack="worst-linf", protocol="worst", members=members)
    (header,) = records.read_headers(tmp_path / "records.parquet")
    assert list(header.members) == list(members)


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    table = frame()
    write(tmp_path / "a.parquet", table)
    write(tmp_path / "b.parquet", table[table.columns[::-1]])
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_narrow_numbers_are_widened(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", frame().astype({"dist_l2": "float32", "label": "int32"}))
    (attacked,) = records.read(tmp_path / "a.parquet").attacks
    assert attacked.frame.dtypes[["dist_l2", "label"]].tolist() == ["float64", "int64"]


def test_a_failed_attack_is_empty_and_says_why_beside_others(tmp_path: Path) -> None:
    failed = replace(HEADER, attack="cw-l2", status="failed", reason="loss is nan")
    records.write(tmp_path / "a.parquet", [Attacked(failed, records.empty()), Attacked(HEADER, frame())])
    (first, second), _ = records.read(tmp_path / "a.parquet")
    assert first.frame.empty
    assert list(first.frame) == list(records.COLUMNS)
    assert first.header.reason == "loss is nan"
    assert len(second.frame) == 3


def test_a_file_may_hold_failed_attacks_only(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", records.empty(), status="failed", reason="loss is nan")
    assert records.read(tmp_path / "a.parquet").attacks[0].frame.empty


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
    with pytest.raises(ValueError, match=rf"a\.parquet: pgd40-linf: .*{message}"):
        write(tmp_path / "a.parquet", table)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "fine"}, "status: expected ok or failed, got 'fine'"),
        ({"protocol": "both"}, "protocol: expected published or worst, got 'both'"),
        ({"status": "failed"}, "reason: expected why it failed"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "a.parquet", frame(), **changes)


def test_a_file_is_about_one_model_and_each_attack_once(tmp_path: Path) -> None:
    again = Attacked(HEADER, frame())
    with pytest.raises(ValueError, match="expected each attack once, got pgd40-linf, pgd40-linf"):
        records.write(tmp_path / "a.parquet", [again, again])
    other = replace(HEADER, attack="clean", model=HEADER.model._replace(seed=1))
    with pytest.raises(ValueError, match="expected attacks on one model, got 2"):
        records.write(tmp_path / "a.parquet", [again, Attacked(other, frame())])


@pytest.mark.parametrize("reader", [records.read, records.read_headers])
@pytest.mark.parametrize("keep", [0, 7, 0.5, 0.99])
def test_a_truncated_file_names_itself_and_the_cure(tmp_path: Path, reader: Any, keep: float) -> None:
    path = tmp_path / "records.parquet"
    write(path, frame(50))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else int(keep)])
    with pytest.raises(ValueError, match=r"records\.parquet cannot be used: .*delete it and run .* \(rule attack\)"):
        reader(path)


def test_a_flipped_bit_changes_nothing_without_a_word(tmp_path: Path) -> None:
    """Parquet alone notices hardly any: of 800 flips in a file of a run, 286 were read as other numbers."""
    path = tmp_path / "records.parquet"
    write(path, frame(50))
    whole, was, seen = path.read_bytes(), records.read(path), 0
    places = np.random.default_rng(0).choice(8 * len(whole), 400, replace=False).tolist()
    for byte, bit in (divmod(place, 8) for place in places):
        path.write_bytes(whole[:byte] + bytes([whole[byte] ^ (1 << bit)]) + whole[byte + 1 :])
        try:
            found = records.read(path)
        except DamagedError:
            seen += 1
        else:
            assert found.attacks[0].header == was.attacks[0].header
            pd.testing.assert_frame_equal(found.attacks[0].frame, was.attacks[0].frame)
    assert seen > 200


def test_a_foreign_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.Table.from_pandas(frame(attack="a")[["attack", *records.COLUMNS]].astype(object))
    place = table.column_names.index("epsilon")
    pq.write_table(table.set_column(place, "epsilon", table["epsilon"].cast(pa.float32())), path)
    with pytest.raises(ValueError, match=r"a\.parquet cannot be used: column epsilon: expected double, got float;"):
        records.read(path)
    table = table.replace_schema_metadata()
    pq.write_table(table, path)
    with pytest.raises(ValueError, match="expected headers under 'touchstone', got none"):
        records.read(path)
    about = json.dumps({"attacks": [{"run": "demo"}], "preflights": []})
    pq.write_table(table.replace_schema_metadata({"touchstone": about}), path)
    with pytest.raises(ValueError, match=r"expected a header of run, model, stand_in, .*, got run;"):
        records.read(path)


def test_a_missing_file_stays_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        records.read(tmp_path / "none.parquet")


def test_a_file_is_replaced_and_not_written_over(tmp_path: Path) -> None:
    """A reader that has the old file open keeps it whole."""
    path, opened = tmp_path / "a.parquet", tmp_path / "opened"
    write(path, frame())
    os.link(path, opened)
    before = opened.read_bytes()
    write(path, frame(5))
    assert opened.read_bytes() == before


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    write(path, frame())
    before = path.read_bytes()

    def full_disk(target: Path, _content: bytes) -> None:
        with target.open("wb") as file:
            file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space"):
        write(path, frame(5))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
