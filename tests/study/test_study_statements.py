"""Reading qualitative.csv: every wrong test is named; what is right is read as it is written."""

from pathlib import Path

import pandas as pd
import pytest
from toy_claims import FILES, printed, slugs, write

from touchstone.study import statements
from touchstone.study.config import ConfigError
from touchstone.study.statements import Clause, Question, Statement, Subject

KNOWN = {"dataset": {"mnist"}, "model": {"lenet"}, "defense": {"std", "adv", "l1"}, "attack": {"cw-l2"}}
ROW = {**dict.fromkeys(statements.COLUMNS, "x"), "id": "s1", "paper": "toy", "evidence_table": "Table 1; Figure 2"}
NAME = FILES.statements.name
CLAIMS = pd.DataFrame({"source_table": ["Table 1", "Table 2"]})


def load(folder: Path, *rows: dict[str, str]) -> tuple[Statement, ...]:
    (study := folder / "toy").mkdir()
    return statements.load(statements.read(write(study, *rows, name=NAME) / NAME), "toy", KNOWN, CLAIMS)


def test_statements_are_read_as_written() -> None:
    found = statements.load(statements.read(FILES.statements), "minmax", slugs(), printed())
    assert [one.id for one in found] == [f"mm{number:02}" for number in range(1, 14)]
    assert found[0].test == Question((Clause("above", ("minmax-printed", "std")),))
    assert (found[2].tables, found[2].datasets) == (("Table 1", "Table 2"), ())
    assert found[11].datasets == ("cifar10",), "Figure 6 is no table of claims"


def test_a_study_may_say_nothing(tmp_path: Path) -> None:
    assert statements.read(tmp_path / NAME) is None
    assert statements.load(None, "toy", KNOWN) == ()


@pytest.mark.parametrize(
    "test",
    [
        "not-testable people look at it; on paper",
        "above std adv; broken cw-l2",
        "above std adv under cw-l2 on lenet/std adv",
        "at-least 0.5 std",
        "falls-to 0.05",
        "decreasing fuzziness@net.conv2.weight std adv",
        "gain-above adv std mnist mnist",
        "training-above seconds_per_epoch adv std",
        "weaker-net std adv cw-l2",
        "in-turn human_change std adv",
        "best-on-most std adv",
        "best-on-most std adv l1",
        "mean-gain std adv",
        "above lenet/std adv",
        "broken cw-l2",
        "decreasing rho_extreme std adv",
        "more-robust rho_adv_all lenet/std adv",
        "costs-clean std mnist mnist",
    ],
)
def test_a_test_with_its_words_is_right(tmp_path: Path, test: str) -> None:
    (found,) = load(tmp_path, ROW | {"test": test, "threshold": "why"})
    assert str(found.test) == test
    assert found.datasets == (), "the column may be missing"


def test_a_word_for_a_defense_may_name_its_model() -> None:
    assert Subject.of("std") == Subject("std", "")
    assert Subject.of("lenet/std") == Subject("std", "lenet")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": "beats std adv mnist"}, "test: unknown test 'beats'; allowed: above"),
        ({"test": "above std"}, r"test: 'above' with 1 words: expected better worse \.\.\."),
        ({"test": "above std stdd"}, "test: unknown defense 'stdd'; .* did you mean 'std'"),
        ({"test": "above mnist std adv"}, "test: unknown defense 'mnist'; allowed: adv, l1, std"),
        ({"test": "above lenett/std adv"}, "test: unknown model 'lenett'; .* did you mean 'lenet'"),
        ({"test": "broken std"}, "test: unknown attack 'std'; allowed: cw-l2"),
        ({"test": "broken cw-l2 mnist"}, "test: 'broken' with 2 words: expected attack"),
        (
            {"test": "decreasing acuracy std adv"},
            "test: unknown metric without an attack 'acuracy'; .* did you mean 'acc",
        ),
        ({"test": "above std adv under cw-12"}, "test: unknown attack 'cw-12'; .* did you mean 'cw-l2'"),
        ({"test": "above std adv on lennet/std"}, "test: unknown model 'lennet'; .* did you mean 'lenet'"),
        ({"test": "at-least half std"}, "test: expected a number, got 'half'"),
        ({"test": "at-least nan std"}, "test: expected a number, got 'nan'"),
        ({"test": "above std adv; abov std adv"}, "test: unknown test 'abov'; .* did you mean 'above'"),
        ({"test": "above std adv;"}, "test: unknown test ''"),
        ({"test": "training-above seconds adv std"}, "test: unknown metric of trainings 'seconds'"),
        ({"test": "gain-above adv std mnits mnist"}, "test: unknown dataset 'mnits'"),
        (
            {"test": "more-robust rho_extreme std adv"},
            "test: unknown metric of distance 'rho_extreme'; allowed: mean_norm",
        ),
        ({"test": ""}, "test: unknown test ''"),
        ({"test": "not-testable"}, "test: unknown test 'not-testable'"),
        ({"test": "best-on-most"}, r"test: 'best-on-most' with 0 words: expected best others \.\.\."),
        ({"id": "S 1"}, "id: must match .*, got 'S 1'"),
        ({"paper": "tory"}, "paper: must be the study 'toy', got 'tory'"),
        ({"datasets": "mnist; cifar"}, "datasets: unknown dataset 'cifar'"),
        (
            {"evidence_table": "Figure 2"},
            "evidence_table: 'Figure 2': no claim has one of them .*: name `datasets`, or one of Table 1, Table 2",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"qualitative\.csv:2: {message}") as caught:
        load(tmp_path, ROW | {"test": "above std adv"} | changes)
    assert len(caught.value.problems) == 1


def test_a_number_in_a_test_needs_its_reason(tmp_path: Path) -> None:
    row = ROW | {"test": "above std adv; at-least 0.5 std"}
    with pytest.raises(ConfigError, match=r"qualitative\.csv:2: threshold: is empty: say why"):
        load(tmp_path, row)


def test_an_id_is_there_once(tmp_path: Path) -> None:
    row = ROW | {"test": "above std adv"}
    with pytest.raises(ConfigError, match=r"qualitative\.csv:3: id: must be unique, 's1' is already on line 2"):
        load(tmp_path, row, row)


def test_evidence_outside_the_claims_needs_datasets(tmp_path: Path) -> None:
    row = ROW | {"evidence_table": "Figure 2", "datasets": "mnist", "test": "decreasing rho_extreme std adv"}
    assert load(tmp_path, row)[0].datasets == ("mnist",)
