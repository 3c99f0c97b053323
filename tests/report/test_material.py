"""Reading what a run left on disk: all of it, as it was written, or an error that says what to do."""

from typing import get_args

import pytest
from synthetic_results import ROOT, STAND_IN, STD, make_results, make_run

from touchstone.files import Rule
from touchstone.paths import Results
from touchstone.report import material
from touchstone.study.schema import RESULT_TABLES

pytestmark = pytest.mark.xdist_group("test_material")  # the folder of results is made once


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return make_results(tmp_path_factory.mktemp("synthetic"), seeds=1)


def test_everything_is_read_as_written(results: Results) -> None:
    found = material.gather(results.root, "minmax", ROOT)
    assert found.results == results
    assert found.study.study == "minmax"
    assert found.captions["figure2"].startswith("Weights of")
    assert (found.config.run, found.config.caps[0].epochs, found.config.caps[0].samples) == ("demo", 10, 300)
    assert found.provenance["cores"] == 2
    assert set(found.tables) == set(RESULT_TABLES)
    assert found.tables["claims"]["value"][5] == "0.7610"  # with its last digit
    assert len(found.runs) == 12
    assert found.runs[0].model.defense == "adv"


def test_models_of_an_earlier_run_are_left_out(results: Results) -> None:
    later = STD._replace(seed=7)
    make_run(results.model(later).run.parent, (6, 1, 5, 5), seed=7, model=later)
    found = material.gather(results.root, "minmax", ROOT).runs
    assert {run.model.seed for run in found} == {0}


def test_stand_ins_are_the_datasets_that_were_used_instead(results: Results) -> None:
    runs = material.gather(results.root, "minmax", ROOT).runs
    assert material.stand_ins(runs) == STAND_IN
    assert material.stand_ins([]) == {}


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        ("minmax/tables/flags.csv", "tables"),
        ("minmax/tables/paper.csv", "tables"),
        ("minmax/models/mnist/lenet/std/0/run.json", "train"),
        ("minmax/provenance.json", "tables"),
        ("config.yaml", "resolved_config"),
    ],
)
def test_missing_file_names_the_rule(results: Results, file: str, rule: str) -> None:
    path = results.root / file
    kept = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(FileNotFoundError, match=rf"{file} is missing; `snakemake .*` makes it \(rule {rule}\)"):
            material.gather(results.root, "minmax", ROOT)
    finally:
        path.write_bytes(kept)


@pytest.mark.parametrize(
    ("file", "content", "rule"),
    [
        ("minmax/tables/claims.csv", b"id,verdict\n\xff,reproduced\n", "tables"),
        ("minmax/tables/flags.csv", b"", "tables"),
        ("minmax/tables/paper.csv", b'a,"b', "tables"),
        ("minmax/models/mnist/lenet/std/0/run.json", b'{"cell": {', "train"),
        ("minmax/provenance.json", b'{"git": "0123', "tables"),
        ("config.yaml", b"config:\n  run: demo\n", "resolved_config"),
        ("config.yaml", b"jobs: {}\n", "resolved_config"),
        ("config.yaml", b"\xff", "resolved_config"),
    ],
)
def test_a_damaged_file_names_itself_and_the_rule(results: Results, file: str, content: bytes, rule: str) -> None:
    path = results.root / file
    kept = path.read_bytes()
    path.write_bytes(content)
    try:
        with pytest.raises(ValueError, match=rf"(?s){file} cannot be used: .*\(rule {rule}\)"):
            material.gather(results.root, "minmax", ROOT)
    finally:
        path.write_bytes(kept)


def test_rules_that_messages_name_exist() -> None:
    declared = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    for rule in get_args(Rule):
        assert f"rule {rule}:" in declared or f'f"{rule}_{{study}}"' in declared
