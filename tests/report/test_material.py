"""Reading what a run left on disk: all of it, as it was written, or an error that says what to do."""

from pathlib import Path

import pytest
from synthetic_results import ROOT, make_results, make_run

from touchstone.report import material


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_results(tmp_path_factory.mktemp("synthetic"), seeds=1)


def test_everything_is_read_as_written(results: Path) -> None:
    found = material.gather(results, "minmax")
    assert found.run == "demo"
    assert found.folder == results / "minmax"
    assert found.study["study"] == "minmax"
    assert found.captions["figure2"].startswith("Weights of")
    assert found.config["caps"][0] == {"epochs": 10, "samples": 300}
    assert found.provenance["cores"] == 2
    assert set(found.tables) == {
        *["cells", "claims", "qualitative", "flags", "selection", "failures", "worst", "table1", "table2", "table3"]
    }
    assert found.tables["claims"]["value"][5] == "0.7610"  # with its last digit
    assert found.tables["table1"].columns[0] == ""
    assert len(found.models) == 12


def test_models_of_an_earlier_run_are_left_out(results: Path) -> None:
    make_run(results / "minmax/models/digits/lenet/std/7", (6, 1, 5, 5), seed=7)
    found = material.gather(results, "minmax").models
    assert {run["cell"]["seed"] for run in found} == {0}


def test_config_may_be_the_plain_file(results: Path) -> None:
    (results / "config.yaml").write_text("run: demo\ncaps: []\n")
    assert material.gather(results, "minmax").config == {"run": "demo", "caps": []}


def test_substitutes_are_the_datasets_that_differ(results: Path) -> None:
    cells = material.gather(results, "minmax").tables["cells"]
    assert material.substitutes(cells) == [("digits", "mnist"), ("digits-rgb", "cifar10")]
    assert material.substitutes(cells.assign(dataset=cells["original_dataset"])) == []


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        ("minmax/tables/flags.csv", "tables"),
        ("minmax/tables/paper/table2.csv", "tables"),
        ("minmax/models/digits/lenet/std/0/run.json", "train"),
        ("provenance.json", "provenance"),
        ("config.yaml", "resolved_config"),
    ],
)
def test_missing_file_names_the_rule(results: Path, file: str, rule: str) -> None:
    path = results / file
    kept = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(FileNotFoundError, match=rf"{file} is missing; `snakemake .*` makes it \(rule {rule}\)"):
            material.gather(results, "minmax")
    finally:
        path.write_bytes(kept)


def test_rules_that_messages_name_exist() -> None:
    declared = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    for rule in material.RULES.values():
        assert f"rule {rule}:" in declared
