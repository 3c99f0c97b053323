"""`touchstone ls`: every name with its source."""

import re
from argparse import Namespace
from pathlib import Path

import pytest

from touchstone import __version__, paths
from touchstone.attacks import ATTACKS
from touchstone.commands import ls
from touchstone.commands.text import WIDTH
from touchstone.data import DATASETS
from touchstone.defenses import DEFENSES
from touchstone.models import MODELS
from touchstone.study.config import ConfigError, read

NAMED = re.compile(r"arXiv:\d{4}\.\d{4,5}(?!\d)|doi:10\.\d{4,5}/\S+")


def test_every_name_is_there_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    tables = {"studies": paths.studies(), "datasets": DATASETS, "models": MODELS}
    for what, names in (tables | {"defenses": DEFENSES, "attacks": ATTACKS}).items():
        lines = ls.run(Namespace(what=what)).splitlines()
        assert [line.split()[0] for line in lines[1:] if not line.startswith(" ")] == list(names)
        assert max(map(len, lines)) <= WIDTH


def test_a_line_says_kind_norms_and_source() -> None:
    lines = ls.run(Namespace(what="attacks")).splitlines()
    found = next(line.split(maxsplit=2) for line in lines if line.startswith("cw "))
    assert found == ["cw", "minimal", "l2             Carlini, Wagner (2017), arXiv:1608.04644"]


def test_numbers_of_works_have_the_form_of_theirs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    sources = [spec.source for table in (ATTACKS, DEFENSES) for spec in table.values()]
    sources += [line[-1] for line in ls.studies()]
    for source in sources:
        assert len(NAMED.findall(source)) == source.count("arXiv") + source.count("doi")
    assert all(NAMED.search(line[-1]) for line in list(ls.studies())[1:])


def test_studies_need_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="start it in a checkout"):
        ls.run(Namespace(what="studies"))


def test_the_citation_file_names_every_work_that_is_re_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    cited = read(root / "CITATION.cff")[0]
    assert cited["version"] == __version__
    numbers = [NAMED.findall(line[-1]) for line in list(ls.studies())[1:]]
    named = {number.rstrip(".,") for found in numbers for number in found}
    works = cited["references"]
    identified = {one["value"] for work in works for one in work.get("identifiers", ())}
    assert named == identified | {f"doi:{work['doi']}" for work in works if "doi" in work}


def test_a_study_of_the_user_s_own_stands_apart_and_one_that_is_broken_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    mine = project / "studies-own" / "abc"
    mine.mkdir(parents=True)
    (mine / "study.yaml").write_text("fn: :Net: x")
    *_, last = ls.studies()
    assert last[:2] == ("studies-own/abc", "?")
    assert "studies-own/abc/study.yaml" in last[-1]


def test_a_study_says_what_becomes_of_its_numbers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    head, *lines = (line[:-1] for line in ls.studies())
    assert head == ("study", "numbers", "measured", "cited", "out of scope")
    assert [line for line in lines if line[0] in ("pcloss", "weightpen")] == [
        ("pcloss", "410", "374", "26", "36"),
        ("weightpen", "61", "52", "14", "2"),
    ]
    assert sum(int(line[1]) for line in lines) == 1326


def test_every_work_has_its_year(root: Path) -> None:
    """Digits of an arXiv number are year and month of its first version."""
    for work in read(root / "CITATION.cff")[0]["references"]:
        first = [2000 + int(one["value"][6:8]) for one in work.get("identifiers", ())]
        assert work.get("year", 0) >= max(first, default=2000), work["title"]
