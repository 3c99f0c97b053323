"""The report of one net: what its text names, from the tables of a run."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from findings.test_members import batch
from toy_records import points, save, save_run, worst

from touchstone.cell import ModelId
from touchstone.files import sum_of, write_sealed, write_yaml
from touchstone.findings import cells, flags, members
from touchstone.findings.inputs import write_tables
from touchstone.paths import Results
from touchstone.records import Attacked, Batch
from touchstone.report import model
from touchstone.report.material import Material, gather
from touchstone.report.render import _read, fill
from touchstone.study.config import read as read_yaml
from touchstone.study.schema import RESULT_TABLES

NET = ModelId("toy", "mnist", "lenet", "std", 0)


@pytest.fixture
def material(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Material]:
    monkeypatch.chdir(tmp_path)
    study = {
        **{"study": "toy", "title": "net.pt on mnist", "citation": "mine", "headline": "it", "report": "model"},
        **{"seeds": 1, "models": {"lenet": {"fn": "lenet"}}, "defenses": {"std": {"fn": "ce"}}},
        "recipes": {"mnist": {"optimizer": "adam", "lr": 0.1, "batch_size": 1, "epochs": 1}},
        "weights": [{"dataset": "mnist", "model": "lenet", "defense": "std",
                     "files": [{"file": "net.pt", "sha256": sum_of(b"")}]}],
        "threats": {"linf": {"norm": "linf", "space": "pixel", "epsilons": {"mnist": [0.1, 0.3]}}},
        **{"attacks": {"clean": {"fn": "clean"}}, "worst": {"linf": ["linf"]}},
    }  # fmt: skip
    folder = tmp_path / "studies-own" / "toy"
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    (folder / "net.pt").touch()
    results = Results.of("own-toy")
    config = {"run": "own-toy", "studies": ["toy"], "device": "cpu", "threads": 1, "jobs": "per_model"}
    config |= {"batch_size": 1, "data": {}}
    write_yaml(results.config, {"config": config, "jobs": {}})
    write_sealed(results.provenance("toy"), {"seconds": 12.0, "command": "snakemake --cores all"})

    def made(*flagged: flags.Flagged, asked: Batch | None = None, seeds: int = 1) -> Material:
        asked = asked or batch()
        tables = {name: pd.DataFrame(columns=["x"]) for name in RESULT_TABLES}
        tables["cells"] = _of_seeds(cells.table(cells.of_attacks(asked, {})).assign(stand_in=""), seeds)
        tables["members"] = _of_seeds(members.table(members.of_attacks(asked)), seeds)
        tables["flags"] = flags.table(flagged)
        write_tables({results.table("toy", name): table for name, table in tables.items()})
        save(results.attack(NET, "all").records, *asked.attacks)
        for net in (NET._replace(seed=seed) for seed in range(seeds)):
            cell = {"run": "own-toy", **net._asdict(), "stand_in": ""}
            save_run(results.model(net).run.parent, model=net, cell=cell)
        return gather(results.root, "toy")

    return made


def _of_seeds(table: pd.DataFrame, seeds: int) -> pd.DataFrame:
    """The numbers of seed 0 once more for every other one."""
    return pd.concat([table.assign(seed=seed) for seed in range(seeds)], ignore_index=True)


def test_it_says_how_many_images_are_right_at_each_radius(material: Callable[..., Material]) -> None:
    found = material()
    said = model.values(found)
    assert said["n"] == "4"
    assert said["answers"] == "50.0 % (15.0 to 85.0) at linf 0.1; 25.0 % (4.6 to 69.9) at linf 0.3"
    table = [line.split("|")[1:-1] for line in model.accuracies(found).splitlines()[2:]]
    assert [[cell.strip() for cell in row[:3]] for row in table] == [
        ["clean", "", "100.0"],
        ["linf", "0.1", "50.0"],
        ["linf", "0.3", "25.0"],
    ]


def test_several_nets_have_their_seeds_beside_their_numbers(material: Callable[..., Material]) -> None:
    raised = flags.Flagged(*NET._replace(seed=1), "", "preflight linf", "saturated", "31 %")
    found = material(raised, seeds=2)
    said = model.values(found)
    assert said["clean"] == "100.0 % (51.0 to 100.0), seed 0; 100.0 % (51.0 to 100.0), seed 1"
    assert said["answers"].split("; ")[:2] == [
        "50.0 % (15.0 to 85.0) at linf 0.1, seed 0",
        "50.0 % (15.0 to 85.0) at linf 0.1, seed 1",
    ]
    assert said["flags"] == "- *saturated* (preflight linf, seed 1): 31 %."
    columns = [[cell.strip() for cell in line.split("|")[1:-1]] for line in model.accuracies(found).splitlines()]
    assert columns[0][0] == "seed"
    assert [row[0] for row in columns[2:]] == ["0", "1"] * 3
    columns = [[cell.strip() for cell in line.split("|")[1:-1]] for line in model.members(found).splitlines()]
    assert columns[0][0] == "seed"
    assert {row[0] for row in columns[2:]} == {"0", "1"}
    assert "| 6.2 |" in " ".join(model.costs(found).split())  # of an image, as with one net


def test_a_worst_case_that_failed_has_its_reason_in_place_of_a_number(material: Callable[..., Material]) -> None:
    failed = Attacked(worst(status="failed", reason="model_failed: loss is nan"), points(epsilon=[0.1]).iloc[:0])
    found = material(asked=Batch([batch().attacks[0], failed], []))
    why = r"no number (model\_failed: loss is nan)"
    assert model.values(found)["answers"] == f"{why} at linf 0.1; {why} at linf 0.3"
    *_, last = model.accuracies(found).splitlines()
    assert [cell.strip() for cell in last.split("|")[1:-1]] == ["linf", "0.3", "–", r"model\_failed: loss is nan", "0"]


def test_it_says_who_broke_what_and_what_it_cost(material: Callable[..., Material]) -> None:
    found = material()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in model.members(found).splitlines()[2:]]
    assert rows[1] == ["linf 0.1", "pgd", "3", "1", "50.0", "15"]
    assert rows[3] == ["linf 0.3", "(wrong or broken before)", "–", "2", "50.0", "–"]
    assert "| 6.2 |" in " ".join(model.costs(found).split())  # 25 backward passes on 4 images
    assert "| 12 |" in " ".join(model.costs(found).split())
    found.provenance["broken_off"] = 1
    assert "| 12, not counting 1 attempt broken off before |" in " ".join(model.costs(found).split())


def test_flags_are_said_in_words_and_technical_ones_are_not(material: Callable[..., Material]) -> None:
    raised = flags.Flagged(*NET, "", "preflight linf", "saturated", "31 % of the samples have 1 - p_y == 0")
    technical = raised._replace(flag="given_weights", detail="others trained it")
    assert model.values(material(raised, technical))["flags"] == (
        r"- *saturated* (preflight linf): 31 % of the samples have 1 - p\_y == 0."
    )
    table = Results.of("own-toy").table("toy", "flags")
    assert model.looks_wrong(table, "lenet") == (
        "looks wrong: saturated (preflight linf): 31 % of the samples have 1 - p_y == 0"
    )
    assert model.looks_wrong(table, "other") == ""
    assert model.values(material())["flags"] == ""


def test_it_names_the_source_of_every_part(material: Callable[..., Material]) -> None:
    attacks = [{"slug": "pgd-ce", "fn": "pgd", "options": {}}, {"slug": "square", "fn": "square", "options": {}}]
    job = {
        "training": {
            "subject": {"model": [*NET], "stand_in": ""},
            "net": {"fn": "lenet"},
            "objective": {"fn": "ce"},
            "phases": [],
        },
        "attacks": [{"attacks": [{"members": attacks}]}],
    }
    resolved = Results.of("own-toy").config
    found = material()
    write_yaml(resolved, {**read_yaml(resolved)[0], "jobs": {NET.label: job}})
    shown = model.sources(gather(found.results.root, "toy"))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines()[2:]]
    assert [row[1] for row in rows] == ["mnist", "lenet", "pgd", "square"]
    assert "arXiv:1706.06083" in rows[2][3]


def test_the_template_names_what_there_is(material: Callable[..., Material], root: Path) -> None:
    from touchstone.paths import templates

    book = _read(templates(root).model)
    said = {"output_type": "display_data", "metadata": {}, "data": {"application/json": dict(model.values(material()))}}
    setup = next(cell for cell in book.cells if cell.id == "setup")
    setup.outputs = [said]
    fill(book)
    text = "\n".join(cell.source for cell in book.cells)
    assert "{{" not in text
    assert "Nothing: gradients are neither zero nor masked" in text
    assert "What the broken images look like" not in text  # the study has no such figure
    assert re.findall(r"\*\*Table (A\d)", text) == ["A1", "A2", "A3", "A4", "A5"]
    shown = {call for cell in book.cells for call in re.findall(r"Markdown\(report\.(\w+)", cell.source)}
    assert shown == {*model.__all__} - {"values"}
