import pandas as pd
import pytest

from touchstone.findings.statements import REPLY
from touchstone.findings.vocabulary import STANDS
from touchstone.report import words
from touchstone.study.config import Cap


def claims(**columns: list[str]) -> pd.DataFrame:
    rows = len(next(iter(columns.values())))
    blank = {"reading": "headline", "overstated_by": "1.0", "attack_gap": "2.0"}
    blank |= {"cited": "", "verdict": "lower"}
    return pd.DataFrame({**{name: [text] * rows for name, text in blank.items()}, **columns})


STANDING = claims(
    reading=["headline"] * 8 + ["pixel"],
    stands=["stands", "overstated", "overstated", "not tested", "", "label ambiguous", *["attack gap"] * 2, "stands"],
    overstated_by=["", "7.46", "41.0", *[""] * 6],
    attack_gap=["0.1", "7.0", "40.0", "", "", "3.0", "0.0", "2.33", "1.0"],
)


# what `words.result` reads besides
COUNTED = {"id": "a", "verdict": "reproduced", "only": "", "certainty": "certain"}


def result(given: pd.DataFrame) -> dict[str, str]:
    return words.result(given.assign(**{name: text for name, text in COUNTED.items() if name not in given}))


def test_stands_counts_the_headline_reading_only() -> None:
    said = result(STANDING)
    assert said["attacked"] == "7 numbers"
    assert said["stand"] == (
        "1 stand, 2 are overstated by 7.5 to 41 points, 2 are not reproduced and have an attack gap of 0 to 2.3 "
        "points, 1 hang on a doubtful label, 1 could not be tested"
    )
    counted = {"stands": 1, "overstated": 2, "attack gap": 2, "label ambiguous": 1, "not tested": 1}
    assert words.second_verdicts(STANDING) == counted
    none = result(STANDING[4:5])
    assert (none["attacked"], none["stand"]) == ("", "")
    assert "0 are overstated, " in result(STANDING[:1])["stand"]
    assert words.second_verdicts(STANDING[4:5]) == {}


def test_what_was_not_run_could_not_be_tested_either_and_is_not_counted() -> None:
    given = claims(stands=["stands", "not tested", "not tested"], verdict=["lower", "not run", "failed"])
    assert words.second_verdicts(given) == {**dict.fromkeys(STANDS, 0), "stands": 1, "not tested": 1}


def test_every_second_verdict_can_be_said() -> None:
    for word in STANDS:
        assert "1 " in result(claims(stands=[word]))["stand"]
    with pytest.raises(ValueError, match="unknown verdict 'overstated by 3 points'"):
        result(claims(stands=["overstated by 3 points"]))


def test_a_second_verdict_comes_with_its_points() -> None:
    rows = STANDING.to_dict("records")
    assert [words.second_verdict(row) for row in rows[:2]] == ["stands", "overstated by 7.5 points"]
    assert words.second_verdict(rows[7]) == "attack gap 2.3, claim not reproduced"
    assert (words.second_verdict(rows[3]), words.second_verdict(rows[4])) == ("not tested", "")


@pytest.mark.parametrize(
    ("cells", "verdict", "detail"),
    [
        (("holds", "3", "3", "", "a; b; c"), "holds", "3 of 3; a; b; c"),
        (("holds", "4", "4", "", "a; b; c; d"), "holds", "4 of 4"),
        (("undecided", "2", "3", "open: a", "a; b; c"), "undecided 2 of 3", "2 of 3; open: a"),
        (
            ("not run", "", "", "the run lacks a net or an attack of: above a b", ""),
            "not run",
            "the run lacks a net or an attack of: above a b",
        ),
        (("not testable", "", "", "people judge", ""), "not testable: people judge", ""),
        (("", "", "", "", ""), "", ""),
    ],
)
def test_the_verdict_on_a_statement_is_said(cells: tuple[str, ...], verdict: str, detail: str) -> None:
    row = dict(zip([f"worst_{name}" for name in REPLY], cells, strict=True))
    assert (words.statement_verdict(row, "worst_"), words.statement_detail(row, "worst_")) == (verdict, detail)


def test_an_unknown_verdict_on_a_statement_is_not_said() -> None:
    with pytest.raises(ValueError, match="unknown verdict 'undecided 2 of 3'"):
        words.statement_verdict({"verdict": "undecided 2 of 3", "right": "", "compared": "", "why": "", "numbers": ""})


def test_numbers_that_a_paper_cites_are_counted_apart() -> None:
    given = claims(
        id=["a", "b", "c"],
        verdict=["reproduced", "cited", "lower"],
        only=[""] * 3,
        certainty=["certain"] * 3,
        cited=["", "Chen 2019", "Chen 2019"],
        stands=["stands", "", "overstated"],
    )
    said = words.result(given)
    assert (said["printed"], said["verdicts"]) == ("1 published number", "1 reproduced")
    assert (said["repeated"], said["others"]) == ("2 numbers", "1 lower, 1 cited")
    assert (said["attacked"], said["stand"][:7]) == ("1 number", "1 stand")
    assert words.second_verdicts(given)["overstated"] == 0


def test_verdicts_are_counted_in_words() -> None:
    given = claims(
        id=["a", "b"], verdict=["reproduced", "failed"], only=["", ""], certainty=["certain"] * 2, stands=["", ""]
    )
    said = words.result(given)
    assert (said["printed"], said["verdicts"]) == ("2 published numbers", "1 reproduced, 1 failed")
    assert words.result(given[:1])["printed"] == "1 published number"
    assert not any(words.result(given[:0]).values())


def test_notes_have_letters() -> None:
    notes = words.letters(["b", "", "a", "b", *map(str, range(30))])
    assert (notes["b"], notes["a"], notes["23"], notes["24"]) == ("a", "b", "z", "aa")
    assert words.noted("failed", "a", notes) == "failed (b)"
    assert words.noted("", "a", notes) == ""
    assert words.noted("failed", "", notes) == "failed"
    assert words.explained(words.letters(["a | b", "c; a | b"])) == "- (a) a \\| b\n- (b) c"
    assert words.noted("failed", "a; b", notes) == "failed (b, a)", "each reason has a letter"
    assert words.explained({}) == ""


def test_reasons_of_several_columns_are_said_once() -> None:
    assert words.reasons("epochs 1 of 9; loss is nan", "", "epochs 1 of 9; 3 of 5 seeds") == (
        "epochs 1 of 9; loss is nan; 3 of 5 seeds"
    )


def test_lists_and_numbers() -> None:
    assert words.few(["a", "b", "a", "", "c"], 2) == "a, b, and 1 more"
    assert words.few(["a b", "c"]) == "a b; c"
    assert words.per_dataset({"mnist": 0.01, "cifar10": 0.05}) == "0.01 (mnist), 0.05 (cifar10)"
    assert (words.duration(424), words.duration(7380)) == ("7 min 4 s", "2 h 3 min")
    assert (words.counted(1, "core"), words.counted(0, "core")) == ("1 core", "0 cores")
    assert (words.fixed("0.98404", 4), words.fixed("", 4)) == ("0.9840", "")
    assert words.fixed("-0.04", 1) == "0.0"


def test_a_cap_is_said_with_where_it_applies() -> None:
    assert words.cap_words(Cap.model_validate({"epochs": 10, "samples": 300})) == "epochs 10, samples 300"
    some = Cap.model_validate({"where": {"attack": "cw-l2", "dataset": "mnist"}, "steps": 200})
    assert words.cap_words(some) == "steps 200 (dataset mnist, attack cw-l2)"
