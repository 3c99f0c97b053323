"""What stands on the first page, from claims in a few words."""

from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from touchstone.findings.vocabulary import ELSEWHERE, STANDS
from touchstone.paths import Results
from touchstone.report import glance
from touchstone.report.material import Material

BASE = {
    **{"id": "", "reading": "headline", "only": "", "cited": "", "certainty": "certain", "kind": "informative"},
    **{"verdict": "reproduced", "stands": "", "attack_gap": "", "replication_gap": "", "overstated_by": ""},
    **{"cell_dataset": "mnist", "cell_model": "lenet", "cell_defense": "std", "value": "98.0", "ours": "97.5"},
    **{"h": "0.5", "worst": "60.0", "worst_h": "1.0", "cell_metric": "accuracy", "unit": "percent", "norm": "linf"},
    **{"cell_attack": "pgd", "cell_epsilon": "0.3", "low": "98.0", "high": "98.0", "attack": "pgd", "n_runs": "1"},
    **{"source_table": "Table 1", "alternative": "", "std": "", "out_of_scope": ""},
}
CELL = {"dataset": "mnist", "model": "lenet", "defense": "std"}


def study(name: str, *claims: dict[str, str], flags: list[dict[str, str]] | None = None) -> Material:
    rows = [BASE | {"id": f"c{number}"} | claim for number, claim in enumerate(claims)]
    nets = [CELL, CELL | {"defense": "adv"}]
    raised = [CELL | flag for flag in flags or []]
    tables = {
        "claims": pd.DataFrame(rows, columns=[*BASE]),
        "cells": pd.DataFrame(nets),
        "flags": pd.DataFrame(raised, columns=[*CELL, "attack", "flag", "detail"]),
    }
    nothing: dict[str, Any] = {field.name: None for field in fields(Material)}
    shown: Any = SimpleNamespace(study=name)
    return Material(**nothing | {"results": Results.of("demo"), "study": shown, "tables": tables})


def counted(name: str, *claims: dict[str, str]) -> str:
    return glance.by_study({name: study(name, *claims).tables["claims"]})


def grid(table: str) -> list[dict[str, str]]:
    header, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_clean_floor_and_all_others_are_counted_apart_and_so_is_what_was_not_run() -> None:
    claims = [
        {"stands": "stands"},
        {"verdict": "higher", "stands": "attack gap"},
        {"verdict": "within spread", "stands": "overstated", "cell_defense": "adv"},
        {"verdict": "inconclusive", "stands": "not tested"},
        {"verdict": "not run", "stands": "not tested", "cell_defense": "l1"},
        {"verdict": "failed", "kind": "floor", "stands": "not tested"},
        {"verdict": "not comparable", "kind": "clean"},
        {"verdict": "out of scope", "kind": "", "cell_dataset": "", "cell_model": "", "cell_defense": ""},
        {"verdict": "reproduced", "cited": "Chen"},
    ]
    shown = grid(counted("a", *claims))
    assert [row["numbers"] for row in shown] == ["attacked", "floor", "clean", "others"]
    first = [list(row.values())[2:] for row in shown]
    assert first == [
        ["2", "4", "1", "1", "", "2", "", "", "1", "1", "1", "1", "1", ""],
        ["1", "1", "", "", "", "", "", "1", "", "", "", "1", "", ""],
        ["1", "1", "", "", "", "", "1", "", "", "", "", "", "", ""],
        ["", "", "", "", "", "", "", "", "", "", "", "", "", "1"],
    ]
    assert list(shown[0])[4:10] == ["reproduced", "higher", "lower", "cannot tell", "not comparable", "other"]
    assert list(shown[0])[10:] == ["stands", "overstated", "attack gap", "not tested", "not run", "out of scope"]


def test_what_occurs_nowhere_has_no_column() -> None:
    (row,) = grid(counted("a", {}))
    assert list(row)[2:7] == ["nets", "run", "reproduced", "higher", "lower"]
    assert list(row)[7:] == [*(word for word, said in STANDS.items() if said.usual), "not run"]


def test_a_claim_counts_once_whatever_other_readings_say() -> None:
    coded = {"id": "c0", "reading": "coded", "verdict": ELSEWHERE, "only": "only as coded"}
    (row,) = grid(counted("a", {"verdict": "lower"}, coded))
    assert (row["run"], row["lower"], row["other"]) == ("1", "", "1")


def test_nets_have_rows_of_their_own_in_a_study() -> None:
    shown = grid(glance.by_net(study("a", {}, {"cell_model": "mlp"}, {"cell_model": ""})))
    assert [(row["net"], row["run"]) for row in shown] == [("–", "1"), ("lenet", "1"), ("mlp", "1")]


def test_without_claims_nothing_is_counted() -> None:
    nothing = study("a")
    assert [counted("a"), glance.by_net(nothing), glance.gaps([nothing]), glance.flags([nothing])] == [""] * 4


def test_the_largest_gaps_come_first_and_those_within_the_tolerance_not_at_all() -> None:
    claims = [
        {
            "attack_gap": "12.34",
            "replication_gap": "0.5",
            "stands": "overstated",
            "overstated_by": "38.0",
            "worst": "0.0",
        },
        {"attack_gap": "1.0", "replication_gap": "-30.0", "verdict": "higher", "cell_defense": "adv"},
        {"attack_gap": "1.9", "replication_gap": "1.0"},
        {"attack_gap": "1.0", "replication_gap": "80.0", "verdict": "not comparable"},
        {"attack_gap": "99.0", "cited": "Chen"},
        {"attack_gap": "90.0", "verdict": "not comparable", "norm": "l2"},
        {"attack_gap": "11.0"},
    ]
    shown = grid(glance.gaps([study("a", *claims)]))
    assert [row["claim"] for row in shown] == ["[c1](#claim-c1)", "[c0](#claim-c0)", "[c5](#claim-c5)"]
    assert shown[1] == {
        **{"claim": "[c0](#claim-c0)", "paper": "98.0", "ours": "97.5 ±0.5", "worst case": "0.0 +1.0"},
        **{"attack gap": "12.3", "replication gap": "0.5", "verdict": "✓ reproduced"},
        **{"in the worst case": "overstated by 38.0 points", "flags": ""},
    }
    (both, *_) = grid(glance.gaps([study("a", *claims)], of_run=True))
    assert (both["study"], both["claim"]) == ("a", "[c1](a/report.html#claim-c1)")
    many = study("a", *({"attack_gap": "10", "cell_defense": str(n)} for n in range(9)))
    assert len(grid(glance.gaps([many]))) == glance.MOST


def test_of_each_net_and_norm_the_claim_under_pgd_at_the_largest_radius_that_has_a_gap() -> None:
    claims = [
        {"high": "1.0", "cell_epsilon": "0.1"},
        {"high": "0.0", "attack": "bim"},
        {"high": "50.0"},
        {"high": "40.0"},
        {"high": "2.0", "worst": ""},
        {"high": "3.0", "cited": "Chen"},
        {"high": "4.0", "verdict": "not run"},
        {"high": "0.5", "kind": ""},
        {"high": "50.0", "norm": "l2"},
        {"high": "25.0", "norm": "l1", "attack": "fgsm", "cell_metric": "adv_error"},
        {"high": "30.0", "norm": "l1", "attack": "mim", "cell_metric": "adv_error"},
        {"high": "30.0", "norm": "l0", "attack_gap": "2.0"},
        {"high": "30.0", "cell_defense": "adv", "reading": "coded"},
        {"high": "30.0", "cell_defense": "adv", "kind": "floor", "stands": "stands"},
    ]
    with_gaps = [{"attack_gap": "40.0"} | claim for claim in claims]
    of = study("a", *with_gaps, flags=[{"attack": "preflight linf", "flag": "saturated"}])
    rows = grid(glance.masked(of.tables["claims"], of.tables["flags"]))
    assert [(row["net"], row["claim"], row["in the worst case"], row["flags"]) for row in rows] == [
        ("mnist lenet adv", "c13", "stands (printed at the floor)", ""),
        ("mnist lenet std", "c10", "", ""),
        ("mnist lenet std", "c8", "", ""),
        ("mnist lenet std", "c2", "", "saturated"),
    ]
    assert rows[3] == {
        **{"net": "mnist lenet std", "claim": "c2", "attack": "pgd 0.3", "paper": "98.0", "ours": "97.5 ±0.5"},
        **{"worst case": "60.0 ±1.0", "attack gap": "40.0", "replication gap": "", "verdict": "✓ reproduced"},
        **{"in the worst case": "", "flags": "saturated"},
    }
    nothing = of.tables["claims"]
    assert glance.masked(nothing.head(0), of.tables["flags"]) == ""
    assert glance.masked(nothing.assign(attack_gap="2.0"), of.tables["flags"]) == ""


def test_beside_a_gap_stand_the_flags_of_its_net_and_attack() -> None:
    raised = [
        {"attack": "training", "flag": "redrawn"},
        {"attack": "preflight linf", "flag": "saturated"},
        {"attack": "preflight linf", "flag": "saturated", "detail": "in the ball"},
        {"attack": "preflight l2", "flag": "randomised"},
        {"attack": "mim", "flag": "doubled_steps_gain"},
        {"attack": "fgsm / pgd", "flag": "one_step_stronger"},
        {"attack": "pgd", "flag": "out_of_memory_halved"},
        {"attack": "pgd", "flag": "noise_stronger", "defense": "adv"},
    ]
    (row,) = grid(glance.gaps([study("a", {"attack_gap": "9"}, flags=raised)]))
    assert row["flags"] == r"saturated, one\_step\_stronger"
    more = [*raised, {"attack": "pgd", "flag": "doubled_steps_gain"}]
    (row,) = grid(glance.gaps([study("a", {"attack_gap": "9"}, flags=more)]))
    assert row["flags"] == r"saturated, one\_step\_stronger, and 1 more"


@pytest.mark.parametrize("flag", ["given_weights", "out_of_memory_halved"])
def test_a_flag_that_says_how_a_job_ran_is_not_on_the_first_page(flag: str) -> None:
    assert glance.flags([study("a", {"stands": "stands"}, flags=[{"flag": flag, "detail": "x"}])]) == ""


def test_flags_that_touch_most_numbers_come_first() -> None:
    robust = {"stands": "stands"}
    one = {"flag": "saturated", "detail": "24 %: believe the | worst case"}
    other = {"flag": "randomised", "detail": "x", "defense": "adv"}
    whole = study("a", robust, robust, {}, flags=[other, one, one | {"detail": "later"}])
    assert grid(glance.flags([whole]).replace(r"\|", "/")) == [
        {
            **{"flag": "saturated", "nets": "1 of 2", "numbers": "2"},
            "for instance": "24 %: believe the / worst case",
        },
        {"flag": "randomised", "nets": "1 of 2", "numbers": "0", "for instance": "x"},
    ]
    again = replace(whole, tables=whole.tables)
    assert grid(glance.flags([whole, again]).replace(r"\|", "/"))[0]["nets"] == "2 of 4"
