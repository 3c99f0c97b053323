"""The tree is known in one place, and every file in it is another one."""

import ast
import re
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import pytest

from touchstone import paths
from touchstone.cell import ModelId
from touchstone.paths import Results

MODEL = ModelId("minmax", "mnist", "lenet", "std", 0)
RESULTS = Results.of("demo")
FILES = [
    *astuple(paths.study_files("minmax"))[1:],
    *(paths.suites(), paths.raw("mnist").fetched, *paths.templates(Path())),
    *(*RESULTS.model(MODEL), RESULTS.unfinished(MODEL), *RESULTS.selection(MODEL)),
    *(*RESULTS.attack(MODEL, "all"), *RESULTS.report(), RESULTS.claims, RESULTS.provenance()),
]
NAMES = "|".join(re.escape(file.name) for file in FILES)
# a file's name alone or in a folder, what lies in a folder of ours, and a suffix
TREE = re.compile(rf"{NAMES}|.*/({NAMES})\b.*|(data|results|studies|reports)/.*|\.(csv|parquet|tsv|ipynb)")
APART = (
    "parent",
    "parents",
    "stem",
    "with_name",
    "with_suffix",
    "with_stem",
    "relative_to",
    "glob",
    "rglob",
    "iterdir",
)
NO_TREE = {
    "files.py": "writes beside a file and renames",
    "log.py": "makes the folder of a log",
    "registry.py": "finds the source of modules",
    "provenance.py": "finds the source of modules",
    "commands/own.py": "a user's files name a study and a module",
    "commands/images.py": "a user's folder, likewise",
    "commands/evaluate.py": "names a study after a user's file",
    "plan/units.py": "its table lies beside it",
    "data/own.py": "a user's folder, a class in each of its folders",
    "image_folder.py": "likewise",
    "data/sources.py": "downloads, and reads a user's folder",
    "report/render.py": "a notebook and its images lie where a user says",
}


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
        results.figure("minmax", "figure2", "pdf"),
        *results.features("minmax", "figure2"),
        *results.report("minmax"),
        *results.report(),
        *(results.claims, results.config, results.provenance(), results.provenance("minmax")),
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


def test_studies_of_the_users_own_lie_apart(tmp_path: Path) -> None:
    for home in ("studies/a", "studies-own/b", "studies/c", "studies-own/c"):
        (tmp_path / home).mkdir(parents=True)
        (tmp_path / home / "study.yaml").touch()
    assert list(paths.studies(tmp_path)) == ["a", "c", "b"]
    assert paths.study_files("b", tmp_path) == paths.own_study("b", tmp_path)
    assert paths.twice(tmp_path) == {"c"}
    assert paths.suites_beside(paths.own_study("b", tmp_path)) == paths.suites(tmp_path)
    assert paths.own_config("b", tmp_path).parent == tmp_path / "studies-own"


def test_a_study_is_known_by_its_folder_and_by_its_files(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = paths.study_files("minmax", project)
    folder = project / "studies" / "minmax"
    assert paths.study_of(folder) == paths.study_of(study.claims) == study
    assert paths.study_of(project / "config.yaml") is None
    assert paths.suites_beside(study) == paths.suites(project)
    monkeypatch.chdir(folder)
    here = paths.study_of(Path("study.yaml"))
    assert here is not None
    assert here.study == "minmax"
    assert paths.suites_beside(here).is_file()


def test_a_run_may_be_given_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths.run_named(Path("demo")) == Path("results/demo")
    assert paths.run_named(Path("elsewhere/demo")) == Path("elsewhere/demo")
    Path("demo").mkdir()
    assert paths.run_named(Path("demo")) == Path("demo")


def test_seconds_are_found_by_rule(tmp_path: Path) -> None:
    results = Results(tmp_path)
    files = [results.benchmark("claims"), results.benchmark("train", "a", "0"), results.benchmark("train", "a", "1")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert (results.benchmarks("claims"), results.benchmarks("train")) == (files[:1], files[1:])
    assert results.benchmarks("attack") == []


def sources(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """What may know no tree: the package and the scripts."""
    for path in [*(root / "touchstone").rglob("*.py"), *(root / "workflow").rglob("*.py")]:
        name = str(path.relative_to(root)).removeprefix("touchstone/")
        if name != "paths.py":
            yield name, ast.parse(path.read_text())


def rules(root: Path) -> Iterator[tuple[str, str]]:
    for path in [root / "Snakefile", *(root / "rules").glob("*.smk")]:
        yield path.name, re.sub(r"#.*", "", path.read_text())


def for_people(tree: ast.Module) -> set[int]:
    """The constants that are docstrings or descriptions."""
    found = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    described = [node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "description"]
    return found | {id(part) for keyword in described for part in ast.walk(keyword.value)}


def test_nobody_else_spells_a_name_of_the_tree(root: Path) -> None:
    assert all(map(TREE.fullmatch, ("study.yaml", "a/study.yaml", "/captions.yaml has none", "results/demo", ".csv")))
    assert not any(map(TREE.fullmatch, ("claims.csv has no claim of", "study", "it is a figure of study.yaml")))
    for name, tree in sources(root):
        words = for_people(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in words:
                assert not TREE.fullmatch(node.value), f"{name}:{node.lineno}: {node.value!r}"
    for name, text in rules(root):
        for literal in re.findall(r'"([^"\n]+)"', re.sub(r'^report: ".*"$', "", text, flags=re.MULTILINE)):
            assert not TREE.fullmatch(literal), f"{name}: {literal!r}"


def test_nobody_else_takes_a_path_apart(root: Path) -> None:
    """Every file says in itself whose it is."""
    for name, tree in sources(root):
        for node in ast.walk(tree):
            apart = isinstance(node, ast.Attribute) and node.attr in APART
            assert not apart or name in NO_TREE, f"{name}:{node.lineno}: {ast.unparse(node)}"
    for name, text in rules(root):
        assert not re.search(rf"\.({'|'.join(APART)})\b", text), name


def test_no_script_takes_an_input_by_its_place(root: Path) -> None:
    for path in (root / "workflow" / "scripts").glob("*.py"):
        assert not re.search(r"input(\.\w+)?\[", path.read_text()), path


def test_what_a_training_kept_is_spent_when_its_outputs_are_there(tmp_path: Path) -> None:
    results = Results(tmp_path)
    kept = results.unfinished(MODEL)
    run = results.model(MODEL).run
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert results.spent(MODEL) == []
    run.touch()
    assert results.spent(MODEL) == [kept]


def test_the_machine_of_a_job_lies_beside_its_log() -> None:
    job = RESULTS.job(RESULTS.benchmark("train", *map(str, MODEL)))
    assert job == "train/minmax/mnist/lenet/std/0"
    assert RESULTS.machine(job) == paths.machine_beside(RESULTS.log("train", *map(str, MODEL)))
