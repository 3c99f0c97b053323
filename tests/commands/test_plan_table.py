"""`touchstone plan`: the table that it prints."""

from argparse import Namespace
from pathlib import Path

import pytest

from touchstone.commands import plan
from touchstone.plan.cost import StudyCost
from touchstone.study.config import ConfigError

ROWS = [
    StudyCost("margin", 300, 1900, 903, 12, 1, 13291.4, 31885.2, 3.34e10),
    StudyCost("pdpgd", 8, 396, 35, 0, 1, 0.123, 0.0, 999.0, lacks=("net x on 1x28x28: not measured",)),
    StudyCost("", jobs=19, disk=4.38e9),
]


def test_a_line_per_study_what_they_share_and_the_sum() -> None:
    assert plan.table(ROWS).splitlines() == [
        "study   trainings  attacks  jobs  done  figures  h training  h attacks     disk",
        "margin        300    1,900   903    12        1      13,291     31,885  33.4 GB",
        "pdpgd           8      396    35     0        1       0.12+         0+    999 B",
        "shared          0        0    19     0        0           0          0  4.38 GB",
        "all           308    2,296   957    12        2     13,292+    31,885+  37.8 GB",
        "",
        "not estimated: net x on 1x28x28: not measured",
    ]


def test_it_fits_the_screen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    for name in ("config.yaml", "configs/paper.yaml"):
        said = plan.run(Namespace(configfile=Path(name)))
        assert max(map(len, said.splitlines())) <= plan.WIDTH


def test_without_a_file_it_is_the_default_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert plan.run(Namespace(configfile=None)).startswith("config.yaml: run demo\n")


def test_a_file_that_is_not_there_is_an_error_of_the_config(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        plan.run(Namespace(configfile=Path("nowhere.yaml")))
    with pytest.raises(ConfigError, match=r"configs/papper\.yaml: there is no such file; did you mean 'paper\.yaml'"):
        plan.run(Namespace(configfile=Path("configs/papper.yaml")))
    with pytest.raises(ConfigError, match=r"study\.yaml: is of a study; expected a config"):
        plan.run(Namespace(configfile=Path("studies/minmax/study.yaml")))
    monkeypatch.chdir(root / "docs")
    with pytest.raises(ConfigError, match=r"config\.yaml: there is no such file: start it in a checkout"):
        plan.run(Namespace(configfile=None))
