from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from toy_jobs import flip
from toy_records import MODEL, clean, header, points, save

from touchstone.cell import ThreatSpec
from touchstone.files import DamagedError
from touchstone.findings.inputs import by_model, places, read_table, write_tables
from touchstone.records import Attacked, Header, Preflight

LINF, L2 = ThreatSpec("linf", epsilons=(0.1,)), ThreatSpec("l2", epsilons=(0.1,))


# ---- tables


TABLE = pd.DataFrame({"id": ["a", "b"], "ours": [0.71, 0.5], "why": ["", "x; y"]})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two tables in a folder; the path of one of them."""
    write_tables({tmp_path / "claims.csv": TABLE, tmp_path / "flags.csv": TABLE[:0]})
    return tmp_path / "claims.csv"


def test_a_table_is_plain_csv_and_is_read_as_written(table: Path) -> None:
    assert table.read_text() == "id,ours,why\na,0.71,\nb,0.5,x; y\n"
    assert read_table(table).to_numpy().tolist() == [["a", "0.71", ""], ["b", "0.5", "x; y"]]
    assert read_table(table, dtype={"id": str})["ours"].tolist() == [0.71, 0.5]
    assert read_table(table.with_name("flags.csv")).empty


def other_digit(file: Path) -> None:
    """One bit: 0.71 becomes 0.51, which is a number as well."""
    file.write_bytes(file.read_bytes().replace(b"0.71", b"0.51"))


@pytest.mark.parametrize("damage", [other_digit, lambda file: file.write_bytes(b""), lambda file: file.unlink()])
def test_a_changed_table_is_no_other_number(table: Path, damage: Any) -> None:
    damage(table)
    with pytest.raises(DamagedError, match=r"claims\.csv cannot be used: .*\(rule tables\)"):
        read_table(table)
    assert read_table(table.with_name("flags.csv")).empty, "the others are as they were"


@pytest.mark.parametrize("damage", [flip, lambda file: file.unlink()])
def test_a_table_without_its_sum_is_not_believed(table: Path, damage: Any) -> None:
    damage(table.with_name("sums.json"))
    with pytest.raises(DamagedError, match=r"sums\.json cannot be used: .*\(rule tables\)"):
        read_table(table)


def test_a_table_that_nobody_wrote_has_no_sum(table: Path) -> None:
    (table.with_name("mine.csv")).write_text("id\na\n")
    with pytest.raises(DamagedError, match=r"sums\.json cannot be used: expected the sum of mine\.csv.*rule tables"):
        read_table(table.with_name("mine.csv"))


# ---- records


def attacked(one: Header) -> Attacked:
    return Attacked(one, points(epsilon=[0.1]))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Attacks on two models: those on the first in two files, which share a preflight."""
    other: dict[str, Any] = {"model": MODEL._replace(seed=1)}
    first = [attacked(clean()), attacked(header("pgd", threat=LINF))]
    preflights = [Preflight(LINF, {}, []), Preflight(L2, {}, [])]
    return [
        save(tmp_path / "b.parquet", attacked(header("cw", threat=LINF)), preflights=preflights),
        save(tmp_path / "c.parquet", attacked(clean(**other))),
        save(tmp_path / "a.parquet", *first, preflights=preflights[:1]),
    ]


def test_all_attacks_on_a_model_come_together_whatever_their_files(files: list[Path]) -> None:
    first, second = by_model(files)
    assert [one.header.attack for one in first.attacks] == ["cw", "clean", "pgd"]
    assert [one.threat for one in first.preflights] == [LINF, L2], "the shared one once"
    assert [one.header.model.seed for one in second.attacks] == [1]
    assert second.preflights == []


def test_every_attack_is_found_in_its_file(files: list[Path]) -> None:
    found = places(files)
    assert {(model.seed, attack): path.name for (model, attack), path in found.items()} == {
        (0, "cw"): "b.parquet",
        (1, "clean"): "c.parquet",
        (0, "clean"): "a.parquet",
        (0, "pgd"): "a.parquet",
    }
