"""What people answered: counted as in the thesis' Table 4.2, and refused where it is not answers to our pages."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from touchstone.cell import ModelId
from touchstone.files import write_sealed
from touchstone.findings import cells, people
from touchstone.findings.evidence import Caps, Evidence
from touchstone.findings.people import AnswersError, Numbers, fleiss_kappa
from touchstone.study.claim import Place

NET = {"model": ["critic", "mnist", "mlp-1200", "std", 0], "stand_in": "digits", "attack": "high-confidence-l2"}
NET |= {"norm": "l2", "space": "pixel", "failed": ""}
# sample, label, adversarial target; the attack did not break the last one
PAGE = [[7, 7, 1], [3, 4, 9], [5, 0, 6], [2, 2, 2]]
HEAD = "page,person,image,answer\n"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    other = NET | {"model": ["critic", "mnist", "mlp-1200", "vat", 0]}
    pages = {"0001-aa": {"net": 0, "images": PAGE}, "0002-bb": {"net": 1, "images": PAGE}}
    write_sealed(tmp_path / "key.json", {"nets": [NET, other], "pages": pages})
    return tmp_path / "key.json"


def answered(folder: Path, answers: str, person: str = "ann", page: str = "0001-aa", name: str = "") -> Path:
    rows = [f"{page},{person},{number},{answer}\n" for number, answer in enumerate(answers, start=1)]
    path = folder / f"{name or page + person}.csv"
    path.write_text(HEAD + "".join(rows))
    return path


def counted(key: Path, *returned: Path) -> list[Numbers]:
    people.count(key, returned, key.with_name("answers.json"))
    return people.read(key.with_name("answers.json"))


def test_an_image_is_changed_where_its_target_is_seen_and_not_where_its_label_is(key: Path) -> None:
    std, vat = counted(key, answered(key.parent, "19?2"))
    assert std.model == ModelId(*NET["model"])
    assert (std.human_change, std.human_no_change) == (0.5, 0.25), "an unbroken image has no target to be seen"
    assert (std.images, std.people, std.human_kappa) == (4, 1, None), "one person cannot disagree"
    assert (vat.images, vat.human_change) == (0, None), "nothing is said of what nobody has answered"


def test_an_image_counts_once_however_many_people_saw_it(key: Path) -> None:
    files = [answered(key.parent, "19?2"), answered(key.parent, "7962", "bob")]
    std, _ = counted(key, *files)
    assert std.human_change == pytest.approx((0.5 + 1 + 0.5 + 0) / 4)
    assert (std.images, std.people, std.rated) == (4, 2, 4)
    # 1 and 7, 9 and 9, ? and 6, 2 and 2: half of the pairs agree
    shares = [1 / 8, 1 / 8, 2 / 8, 1 / 8, 1 / 8, 2 / 8]
    chance = sum(share**2 for share in shares)
    assert std.human_kappa == pytest.approx((0.5 - chance) / (1 - chance))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "missing column 'page'"),
        ("page,person,image,digit\n", "unknown column 'digit'"),
        (HEAD, "page: expected one in all lines, got none"),
        (HEAD + "0001-aa,ann,1\n", ":2: expected 4 fields, got 3"),
        (HEAD + "0009-cc,ann,1,1\n", "page: '0009-cc' is none of this run's pages"),
        (HEAD + "0001-aa,ann,1,1\n0002-bb,ann,1,1\n", "page: expected one in all lines, got '0001-aa', '0002-bb'"),
        (HEAD + "0001-aa,,1,1\n", "person: expected one in all lines, got ''"),
        (HEAD + "0001-aa,ann,1,12\n", ":2: answer: expected one of 0 1 2 3 4 5 6 7 8 9 ?, got '12'"),
        (HEAD + "0001-aa,ann,1,\n", ":2: answer: expected one of"),
        (HEAD + "0001-aa,ann,1,1\n", "image: '4' is missing"),
        (HEAD + "0001-aa,ann,5,1\n", "image: '5' is not on this page"),
        (HEAD + "0001-aa,ann,1,1\n" * 2, "image: '1' is there twice"),
    ],
)
def test_what_is_no_answer_to_a_page_is_refused(key: Path, text: str, said: str) -> None:
    (path := key.with_name("back.csv")).write_text(text)
    with pytest.raises(AnswersError) as refused:
        counted(key, answered(key.parent, "19?2", "bob"), path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)
    assert not key.with_name("answers.json").exists()


def test_a_file_that_is_sent_twice_is_refused(key: Path) -> None:
    first, again = answered(key.parent, "19?2"), answered(key.parent, "19?2", name="copy")
    with pytest.raises(
        AnswersError, match=r"copy\.csv: the answers of 'ann' to page 0001-aa are in .*ann\.csv already"
    ):
        counted(key, first, again)


# Fleiss (1971), table 1: 30 patients, each diagnosed by 6 psychiatrists as one of 5 kinds
DIAGNOSES = """00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031
               00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006"""


def test_kappa_is_that_of_fleiss_worked_example() -> None:
    votes = np.array([[*map(int, row)] for row in DIAGNOSES.split()])
    assert votes.sum(axis=0).tolist() == [26, 26, 30, 55, 43]
    assert fleiss_kappa(votes) == pytest.approx(0.430, abs=5e-4)


def test_kappa_at_its_ends() -> None:
    assert fleiss_kappa([[3, 0], [0, 3]]) == 1.0
    assert fleiss_kappa([[2, 0], [2, 0]]) == 1.0, "all say the same of everything"
    assert fleiss_kappa([[1, 1], [1, 1]]) == -1.0
    with pytest.raises(ValueError, match="at least 2 raters"):
        fleiss_kappa([[2, 0], [1, 0]])


def evidence(*seen: Numbers) -> Evidence:
    return Evidence.of(cells.derive(cells.table(cells.of_people(seen)), near_zero="", reference=""), {}, {}, "")


def measured(found: Evidence, metric: str = "human_change") -> Any:
    return found.measured(Place("mnist", "mlp-1200", "std", "high-confidence-l2", metric), np.nan, Caps().population)


def test_answers_are_numbers_that_claims_are_compared_with(key: Path) -> None:
    found = evidence(*counted(key, answered(key.parent, "19?2"), answered(key.parent, "19?2", "bob")))
    assert (measured(found).value, measured(found, "human_no_change").value) == (0.5, 0.25)
    assert measured(found).samples.n == 4
    table = cells.table(
        cells.of_people(counted(key, answered(key.parent, "19?2"), answered(key.parent, "19?2", "bob")))
    )
    assert dict(zip(table["metric"], table["value"], strict=True))["human_kappa"] == 1.0


def test_without_answers_there_is_no_number_and_the_reason_is_said() -> None:
    nothing = measured(evidence())
    assert (nothing.status, nothing.reasons) == ("not run", ("people have not answered",))


def test_a_net_whose_training_failed_has_no_number(key: Path) -> None:
    one, _ = counted(key)
    failed = measured(evidence(one._replace(failed="the loss is nan")))
    assert (failed.status, failed.reasons) == ("failed", ("the loss is nan",))
    assert isinstance(cells.table([]), pd.DataFrame)
