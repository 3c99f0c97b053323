"""The shape of the repository: who may import whom, script length, tests that mirror the package."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from touchstone import provenance
from touchstone.attacks import ATTACKS
from touchstone.data import DATASETS
from touchstone.defenses import DEFENSES
from touchstone.models import MODELS
from touchstone.registry import load
from touchstone.report.plots import PLOTS

PACKAGE = Path(provenance.__file__).parent
ROOT = PACKAGE.parent
TORCH_FREE = ("records", "registry", "provenance", "study", "plan", "findings", "report", "commands", "cli")
TABLES = ("attacks", "defenses", "models", "data")
GROUND = "ground"
ENTRANCES = ("touchstone.api", "touchstone.cli", "touchstone.__main__")  # above all wings
# wing -> wings that it may import besides itself and the ground floor, the loose modules of the package
MAY_IMPORT = {
    GROUND: {"models"},  # a threat in normalised space takes a classifier apart
    "data": set(),
    "models": set(),
    "attacks": set(),
    "defenses": {"attacks", "models"},
    "training": {"data", "defenses"},
    "evaluation": {"attacks"},
    "study": set(),
    "plan": {"data", "study"},
    "findings": {"study", "plan", "evaluation"},
    "report": {"study", "plan", "findings"},
    "commands": {"study", "plan", "findings", "report"},
    "jobs": {"data", "models", "defenses", "training", "evaluation", "attacks", "study", "plan", "findings", "report"},
}


def modules(part: str) -> list[Path]:
    path = PACKAGE / part
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


@cache
def imports(path: Path) -> frozenset[str]:
    """Absolute names of everything a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


@pytest.mark.parametrize("part", TORCH_FREE)
def test_torch_free_modules_reach_no_torch(part: str) -> None:
    for path in modules(part):
        for module in provenance.reached([name_of(path)]):
            file = Path(provenance.module_path(module))
            assert not {n for n in imports(file) if n.split(".")[0] in ("torch", "torchvision")}, f"{path} -> {file}"


@pytest.mark.parametrize("part", TABLES)
def test_tables_of_names_are_torch_free(part: str) -> None:
    for module in provenance.reached([f"touchstone.{part}"]):
        assert not {n for n in imports(provenance.module_path(module)) if n.split(".")[0] == "torch"}


def wing_of(module: str) -> str:
    first = module.split(".")[1]
    return first if (PACKAGE / first).is_dir() else GROUND


def is_table(module: str) -> bool:
    """Tables of names, each the `__init__` of its wing, may be read by anybody: they import nothing."""
    return module in ("touchstone.report.plots", *(f"touchstone.{part}" for part in TABLES))


def test_wings_import_one_way() -> None:
    wings = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert wings | {GROUND} == MAY_IMPORT.keys()
    for path in PACKAGE.rglob("*.py"):
        module = name_of(path)
        if module in ("touchstone", *ENTRANCES):
            continue
        allowed = {GROUND, wing_of(module), *MAY_IMPORT[wing_of(module)]}
        for name in imports(path):
            found = next((m for m in (name, name.rpartition(".")[0]) if is_module(m)), None)
            if found not in (None, "touchstone") and not is_table(found):
                assert wing_of(found) in allowed, f"{module} imports {found}"


def is_module(name: str) -> bool:
    try:
        provenance.module_path(name)
    except ValueError:
        return False
    return name.split(".")[0] == "touchstone"


def test_no_wing_imports_one_that_imports_it() -> None:
    order: list[str] = []
    left = {wing: set(allowed) for wing, allowed in MAY_IMPORT.items() if wing != GROUND}
    while left:
        free = sorted(wing for wing, allowed in left.items() if allowed <= set(order))
        assert free, left
        order += free
        left = {wing: allowed for wing, allowed in left.items() if wing not in free}


def test_the_package_does_not_know_snakemake() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert not {n for n in imports(path) if n.split(".")[0] == "snakemake"}, path


def test_scripts_are_thin() -> None:
    for path in (ROOT / "workflow" / "scripts").glob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= 40, path
        kinds = (ast.FunctionDef, ast.ClassDef, ast.If)
        assert not [n for n in ast.walk(ast.parse(text)) if isinstance(n, kinds)], f"{path}: a function, class or if"


def test_checks_are_classes_by_subject() -> None:
    """What carries a checker about is a class; the one function is where a plan enters."""
    found = [
        f"{path.stem}.{node.name}"
        for path in modules("study/checks")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and "check" in {argument.arg for argument in node.args.args}
    ]
    assert found == ["run.check_config"]


def test_every_entry_of_every_table_loads() -> None:
    specs = [s.fn for table in (ATTACKS, DEFENSES, MODELS, DATASETS, PLOTS) for s in table.values()]
    for target in [*specs, *(plot.read for plot in PLOTS.values())]:
        assert callable(load(target)), target


def test_tests_mirror_the_package() -> None:
    for path in PACKAGE.glob("*.py"):
        if path.stem in ("__init__", "__main__", "types"):
            continue
        assert (ROOT / "tests" / f"test_{path.stem}.py").is_file(), f"no tests/test_{path.stem}.py"
    for folder in (p for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").is_file()):
        assert list((ROOT / "tests" / folder.name).glob("test_*.py")), f"no tests/{folder.name}/"
        assert len((folder / "README.md").read_text().splitlines()) <= 8, folder


def test_no_two_files_of_tests_share_a_name() -> None:
    """pytest imports them by their names alone."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_what_starts_a_pipeline_is_slow_and_what_shares_one_is_a_group() -> None:
    """Without a group each of the two workers would make the shared run for itself."""
    starters = [p for p in (ROOT / "tests").rglob("test_*.py") if "checkouts.copy_checkout" in imports(p)]
    assert len(starters) >= 3
    for path in starters:
        text = path.read_text()
        marks = re.findall(r"^pytestmark = (.*)$", text, flags=re.MULTILINE)
        assert len(marks) == 1, path
        assert "pytest.mark.slow" in marks[0], path
        assert "xdist_group" in marks[0] or not re.search(r'scope="(module|session)"', text), path
    makefile = (ROOT / "Makefile").read_text()
    for tests in ('"not slow"', "slow"):
        assert f"-m {tests} -n 2 --dist loadgroup\n" in makefile


@pytest.mark.xdist_group("kept_together")
def test_the_workers_know_of_groups(request: pytest.FixtureRequest) -> None:
    """pytest 9.2 with pytest-xdist 3.8 passes over them without a word: each worker made each shared run."""
    together = bool(getattr(request.config.option, "loadgroup", False))  # what a worker is told
    assert request.node.nodeid.endswith("@kept_together") is together


def test_environment_pins_are_those_of_the_lock() -> None:
    def pins(text: str) -> set[str]:
        words = (line.strip(" -\\").split(";")[0].strip() for line in text.splitlines())
        return {w for w in words if "==" in w}

    lock = pins((ROOT / "requirements.lock").read_text())
    assert len(lock) > 100
    compared_only = {p for p in lock if p.startswith(("adv-lib==", "torchattacks=="))}  # no job needs them
    assert len(compared_only) == 2
    assert pins((ROOT / "envs" / "touchstone.yaml").read_text()) == lock - compared_only
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_what_one_is_told_to_install_is_this_project() -> None:
    """The index has another `touchstone`, which would be installed in its place."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = re.findall(r"pip install '(.+)\[(\w+)\]'", (PACKAGE / "attacks" / "wrapping.py").read_text())
    assert told == [(project["name"], "wrapped")]
    extras = project["optional-dependencies"]
    assert f"{project['name']}[wrapped]" in extras["bench"]
    assert "wrapped" in extras
