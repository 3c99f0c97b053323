"""The tree is known in one place, and every file in it is another one."""

import ast
from dataclasses import astuple
from pathlib import Path

from touchstone import paths
from touchstone.cell import ModelId
from touchstone.paths import Results

MODEL = ModelId("minmax", "mnist", "lenet", "std", 0)


def test_every_file_has_a_place_of_its_own() -> None:
    results = Results.of("demo")
    files = [
        *results.model(MODEL),
        *results.model(MODEL._replace(seed=1)),
        *results.selection(MODEL),
        *results.attack(MODEL, "all"),
        *results.attack(MODEL, "pgd"),
        *results.part(MODEL, "1a2b"),
        results.unfinished(MODEL),
        results.table("minmax", "cells"),
        results.figure("minmax", "figure2"),
        results.figure("minmax", "figure2", "png"),
        *results.report("minmax"),
        *results.report(),
        *(results.claims, results.config, results.provenance),
        results.log("claims"),
        results.log("attack", *map(str, MODEL), "all"),
        results.benchmark("claims"),
        results.benchmark("attack", *map(str, MODEL), "all"),
    ]
    assert len(set(files)) == len(files)
    assert all(file.is_relative_to("results/demo") for file in files)
    assert results.selection(MODEL) == results.selection(MODEL._replace(seed=1))


def test_names_with_dots_are_kept() -> None:
    """A slug may hold what looks like a suffix."""
    assert Results.of("demo").log("train", "c1.5").name == "c1.5.log"
    assert Results.of("demo").table("s", "a.b").name == "a.b.csv"


def test_wildcards_are_names() -> None:
    model = ModelId("{study}", "{dataset}", "{model}", "{defense}", "{seed}")
    records = Results.of("demo").attack(model, "{batch}").records
    assert str(records) == "results/demo/{study}/attacks/{dataset}/{model}/{defense}/{seed}/{batch}/records.parquet"


def test_a_study_is_one_folder() -> None:
    study, *files = astuple(paths.study_files("minmax"))
    assert study == "minmax"
    assert {file.parent for file in files} == {Path("studies/minmax")}


def test_studies_are_the_folders_with_a_definition(tmp_path: Path, root: Path) -> None:
    for name in ("b", "a", "draft"):
        (tmp_path / "studies" / name).mkdir(parents=True)
        if name != "draft":
            paths.study_files(name, tmp_path).definition.touch()
    assert list(paths.studies(tmp_path)) == ["a", "b"]
    assert paths.studies(tmp_path)["a"] == paths.study_files("a", tmp_path)
    assert "minmax" in paths.studies(root)
    assert paths.suites(root).is_file()
    assert all(file.is_file() for file in paths.templates(root))


def test_seconds_are_found_by_rule(tmp_path: Path) -> None:
    results = Results(tmp_path)
    files = [results.benchmark("claims"), results.benchmark("train", "a", "0"), results.benchmark("train", "a", "1")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert (results.benchmarks("claims"), results.benchmarks("train")) == (files[:1], files[1:])
    assert results.benchmarks("attack") == []


def test_nobody_else_reads_names_out_of_paths(root: Path) -> None:
    """`parents[2]` and the like take a tree for granted; what a checkout is, is not one of results."""
    for path in [*(root / "touchstone").rglob("*.py"), *(root / "workflow").rglob("*.py"), *(root / "rules").iterdir()]:
        if path.suffix not in (".py", ".smk") or path.name == "paths.py":
            continue
        text = path.read_text()
        assert "relative_to(" not in text or path.parent.name == "report", path  # a link beside a report is one
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(text)):
                deep = isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith(".parents")
                assert not deep or "__file__" in text or "module_path(" in text, f"{path}:{node.lineno}"
