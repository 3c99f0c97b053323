"""What a study says of printed tables, without the file that holds the printed numbers."""

from pathlib import Path

from touchstone.paths import study_files
from touchstone.study.checks import load_study
from touchstone.study.checks.checker import Checker
from touchstone.study.checks.printed import Printed
from touchstone.study.config import read

FILES = study_files("pdpgd", Path(__file__).resolve().parents[2])


def test_only_a_lost_table_needs_no_published_numbers() -> None:
    study, check = load_study(FILES), Checker(read(FILES.definition)[1])
    Printed(check, study, "claims.csv", None).run()
    named = {name for name in study.tables for problem in check.problems if f"tables.{name}: shows what is" in problem}
    assert named == {f"table5-{number}" for number in (1, 3, 5, 7, 8)}
    assert {study.tables[name].label for name in study.tables.keys() - named} == {"Table 5.2", "Table 5.4", "Table 5.6"}
