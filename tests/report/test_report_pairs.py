"""What the report shows of two attacks on one net."""

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from toy_claims import ROW

from touchstone.findings.inputs import read_table, write_tables
from touchstone.findings.paired import Pair, Verdict, table
from touchstone.findings.vocabulary import PAIRED
from touchstone.paths import Results, study_files
from touchstone.report import pairs, words
from touchstone.report.material import Material
from touchstone.study.checks import load_study
from touchstone.study.claim import Claim, Place
from touchstone.study.config import Config, read

ROOT = Path(__file__).resolve().parents[2]
HEADER = ["attack", "restarts", "against", "restarts", "metric", "ε", "published", "ours", "n", "τ", "verdict"]


def claim(name: str, norm: str, value: str, **changes: str) -> dict[str, str]:
    row = {"id": name, "norm": norm, "value": value, "certainty": "certain", "epsilon": "", "epsilon_unit": ""}
    return row | changes


CLAIMS = [
    claim("norm", "linf", "0.82"),
    claim("share", "linf", "29.1", epsilon="8", epsilon_unit="255", certainty="inferred"),
    claim("far", "l2", "1.13"),
]
NORM = ("mnist", "madry-mnist", "linf-at", "deepfool-linf", "mean_norm")
SHARE = ("cifar10", "fab-cnn8-nobias", "linf-at", "pgd100-linf", "accuracy")


def pair(name: str, place: tuple[str, ...], against: str, reading: str = "headline", **changes: Any) -> Pair:
    given = {"epsilon": math.nan, "published": 0.019, "unit": "x1e-1"} | changes
    row = ROW | {f"cell_{slot}": word for slot, word in zip(Place._fields, place, strict=True)} | {"id": name}
    row |= {"cell_epsilon": given["epsilon"], "unit": given["unit"], "low": 3.0, "high": 3.0}
    return Pair(Claim.of(row, reading), against, given["published"], row["norm"])


def material(folder: Path, *rows: tuple[Pair, Verdict, tuple[str, ...]]) -> Material:
    results = Results(folder)
    write_tables({results.table("pdpgd", "paired"): table(rows)})
    tables = {"paired": read_table(results.table("pdpgd", "paired")), "claims": pd.DataFrame([*CLAIMS, CLAIMS[0]])}
    study = load_study(study_files("pdpgd", ROOT))
    config = Config.model_validate(read(ROOT / "tests" / "minmax.yaml")[0])
    return Material(results, study, {}, {}, config, {}, tables, [], [])


@pytest.fixture
def shown(tmp_path: Path) -> Material:
    share = {"epsilon": 0.031373, "published": 0.058, "unit": "percent"}
    return material(
        tmp_path,
        (pair("norm", NORM, "pdpgd100-linf"), Verdict("reproduced", ("on our net",), 0.02, 0.004, 1, 93), ()),
        (pair("share", SHARE, "pdpgd100-linf", **share), Verdict("not run"), ("restarts 1 of 100",)),
        (pair("share", SHARE, "pdpgd1-linf", **share), Verdict("failed", ("loss is nan",)), ()),
        (pair("far", (*NORM[:3], "ddn-l2", "mean_norm"), "cw-l2"), Verdict("too small to test", ("small",)), ()),
        (pair("norm", NORM, "pdpgd100-linf-coded", "coded"), Verdict("lower", (), -0.1, 0.01, 1, 93), ()),
    )


def lines(markdown: str) -> list[list[str]]:
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in markdown.splitlines()]


def test_pairs_are_shown_net_by_net_and_norm_by_norm(shown: Material) -> None:
    norm, share, coded = pairs.tables(shown)
    assert pairs.number(shown) == 3
    assert [(one["other"], one["net"], one["norm"]) for one in (norm, share, coded)] == [
        ("", "MNIST, madry-mnist, l∞-AT", "l∞"),
        ("", "CIFAR-10, fab-cnn8-nobias, l∞-AT", "l∞"),
        ("coded", "MNIST, madry-mnist, l∞-AT", "l∞"),
    ]
    header, _, row = lines(norm["table"])
    assert header == HEADER
    first = ["deepfool-linf", "1", "pdpgd100-linf", "100", "mean norm", "", "0.19", "0.20 ±0.04", "93", "0.095"]
    assert row == [*first, "✓ reproduced (a)"]
    assert norm["notes"] == "- (a) on our net"
    *_, row, _ = lines(share["table"])
    assert row[:4] == ["pgd100-linf", "100", "pdpgd100-linf", "100"]
    assert row[4:] == ["accuracy", "8/255", "5.8‡", "–", "–", "2.00", "· not run (a)"]
    assert share["notes"] == "- (a) restarts 1 of 100\n- (b) loss is nan"


def test_a_net_of_which_nothing_was_run_has_no_table_and_its_pairs_are_counted(shown: Material) -> None:
    assert "l2" not in {one["norm"] for one in pairs.tables(shown)}
    assert pairs.left_out(shown) == "1 pair of attacks"


def test_words_of_pairs_are_counted_in_the_headline_reading(shown: Material) -> None:
    _, _, *rows = lines(pairs.counts(shown))
    assert [row[:3] for row in rows] == [
        ["✓", "reproduced", "1"],
        ["s", "too small to test", "1"],
        ["·", "not run", "1"],
        ["✗", "failed", "1"],
    ]
    assert [row[3] for row in rows] == [PAIRED[row[1]].meaning for row in rows]
    said = words.pairs(shown.tables["paired"])
    assert said == {
        "pairs": "4 pairs of attacks",
        "pair_verdicts": "1 reproduced, 1 too small to test, 1 not run, 1 failed",
    }


def test_a_study_without_pairs_shows_none(tmp_path: Path) -> None:
    none = material(tmp_path)
    assert (pairs.tables(none), pairs.counts(none)) == ([], "")
    assert words.pairs(none.tables["paired"]) == {"pairs": "", "pair_verdicts": ""}


def test_an_unknown_verdict_on_a_pair_is_an_error(shown: Material) -> None:
    paired = shown.tables["paired"].replace({"verdict": {"not run": "not runn"}})
    wrong = Material(shown.results, shown.study, {}, {}, shown.config, {}, {**shown.tables, "paired": paired}, [], [])
    for show in (pairs.tables, pairs.counts):
        with pytest.raises(ValueError, match=r"unknown verdict 'not runn'.*did you mean 'not run'"):
            show(wrong)


def test_every_word_of_a_pair_has_a_mark_of_its_own() -> None:
    assert len({word.mark for word in PAIRED.values()}) == len(PAIRED)
