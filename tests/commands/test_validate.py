"""`touchstone validate`: what it takes, and what it finds."""

from argparse import Namespace
from pathlib import Path

import pytest
from small_study import write_study

from touchstone import paths
from touchstone.commands import validate
from touchstone.study.config import ConfigError


def said(file: str) -> str:
    return validate.run(Namespace(file=Path(file)))


def test_a_study_is_named_by_its_folder_or_a_file_in_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    found = said("studies/minmax")
    assert found.startswith("studies/minmax/study.yaml: nothing is wrong; 67 published numbers, ")
    assert said("studies/minmax/claims.csv") == found
    monkeypatch.chdir(root / "studies" / "minmax")
    assert said("study.yaml").startswith("study.yaml: nothing is wrong; 67 published numbers, ")


def test_suites_are_checked_with_every_study_beside_them(tmp_path: Path) -> None:
    write_study(tmp_path, without=())
    path = paths.suites(tmp_path)
    path.write_text("quick:\n  linf:\n    near: {fn: deepfool, steps: 50}\n")
    assert said(str(path)) == f"{path}: nothing is wrong with its suites quick; studies beside it: small"
    path.write_text(path.read_text().replace("deepfool", "deepfol"))
    with pytest.raises(ConfigError, match=r"^1 problem.*\n.*worst\.yaml:3: .*deepfol.*did you mean 'deepfool'"):
        said(str(path))


def test_a_config_is_checked_with_its_studies(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert said("configs/cifar10.yaml").endswith("and its studies minmax")


@pytest.mark.parametrize(
    ("file", "old", "new", "needle"),
    [
        ("study.yaml", "fn: lenet}", "fn: lennet}", r"study\.yaml:\d+: models\.lenet.*did you mean 'lenet'"),
        (
            "qualitative.csv",
            ",above minmax-printed std,",
            ",abov minmax-printed std,",
            r"qualitative\.csv.*did you mean 'above'",
        ),
    ],
)
def test_what_is_wrong_is_found_in_every_file(project: Path, file: str, old: str, new: str, needle: str) -> None:
    path = project / "studies" / "minmax" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=needle):
        said(str(project / "studies" / "minmax"))


def test_a_file_that_is_not_there_comes_with_the_nearest(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"studies/minmx: there is no such file or folder; did you mean 'minmax'"):
        said(str(root / "studies" / "minmx"))


def test_a_folder_of_studies_is_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(ConfigError, match=r"studies: a folder without study.yaml; these in it have one: .*minmax"):
        said("studies")
    with pytest.raises(ConfigError, match=r"rules: a folder without study.yaml$"):
        said("rules")
