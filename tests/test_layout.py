"""The shape of the repository: who may import whom, script length, tests that mirror the package."""

import ast
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
TORCH_FREE = ("records", "registry", "provenance", "study", "plan", "findings", "report")
TABLES = ("attacks", "defenses", "models", "data")
ATTACKS_MAY_IMPORT = {"types", "rng", "norms", "proximal", "losses", "query", "registry", "attacks"}


def modules(part: str) -> list[Path]:
    path = PACKAGE / part
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def imports(path: Path) -> set[str]:
    """Absolute names of everything a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


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


def test_attacks_know_nothing_of_data_models_defenses_config() -> None:
    for path in modules("attacks"):
        inside = {n.split(".")[1] for n in imports(path) if n.startswith("touchstone.")}
        assert inside <= ATTACKS_MAY_IMPORT, f"{path}: {inside - ATTACKS_MAY_IMPORT}"


def test_an_attack_does_not_know_the_table_that_names_it() -> None:
    for path in modules("attacks"):
        assert "touchstone.attacks.ATTACKS" not in imports(path), path


def test_the_package_does_not_know_snakemake() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert not {n for n in imports(path) if n.split(".")[0] == "snakemake"}, path


def test_scripts_are_thin() -> None:
    for path in (ROOT / "workflow" / "scripts").glob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= 40, path
        kinds = (ast.FunctionDef, ast.ClassDef, ast.If)
        assert not [n for n in ast.walk(ast.parse(text)) if isinstance(n, kinds)], f"{path}: a function, class or if"


def test_every_entry_of_every_table_loads() -> None:
    specs = [s.fn for table in (ATTACKS, DEFENSES, MODELS, DATASETS) for s in table.values()]
    for target in [*specs, *PLOTS.values()]:
        assert callable(load(target)), target


def test_tests_mirror_the_package() -> None:
    for path in PACKAGE.glob("*.py"):
        if path.stem in ("__init__", "types"):
            continue
        assert (ROOT / "tests" / f"test_{path.stem}.py").is_file(), f"no tests/test_{path.stem}.py"
    for folder in (p for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").is_file()):
        assert list((ROOT / "tests" / folder.name).glob("test_*.py")), f"no tests/{folder.name}/"
        if folder.name != "jobs":
            assert len((folder / "README.md").read_text().splitlines()) <= 8, folder


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
