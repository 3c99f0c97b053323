"""What produced a result: a digest of the code, versions, the machine. Torch is not imported here."""

import ast
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from touchstone import __version__
from touchstone.files import RULES, DamagedError, Rule, read_sealed
from touchstone.paths import Results
from touchstone.registry import module_path

PACKAGE = "touchstone"
# what these do decides no number
BOOKKEEPING = frozenset(
    f"{PACKAGE}.{name}"
    # where files lie, and the form of jobs, whose values are params
    for name in ("provenance", "log", "files", "paths", "plan.jobs", "plan.tables", "jobs.parts")
)
LIBRARIES = (
    *("torch", "torchvision", "timm", "numpy", "pandas", "scipy", "safetensors", "snakemake", "matplotlib", "typst"),
    *("foolbox", "numba", "pyautoattack"),  # attacks that are wrapped
)


class _Strip(ast.NodeTransformer):
    """Drop docstrings and annotations of nothing else: what is left decides what the code does."""

    def _body(self, node: Any) -> Any:
        self.generic_visit(node)
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node

    visit_Module = visit_FunctionDef = visit_ClassDef = visit_AsyncFunctionDef = _body


def _parse(module: str) -> ast.Module:
    return ast.parse(module_path(module).read_text(encoding="utf-8"))


_tree = cache(_parse)  # to be read only


@cache
def _fingerprint(module: str) -> str:
    return hashlib.sha256(ast.dump(_Strip().visit(_parse(module))).encode()).hexdigest()


@cache
def _imports(module: str) -> frozenset[str]:
    """Modules that a module imports, anywhere in its text: the package's, and those of a user beside the user's own."""
    found: set[str] = set()
    own = module.split(".")[0]
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join([*_package(module, node.level), *filter(None, [node.module])])
            found |= {origin} | {f"{origin}.{alias.name}".lstrip(".") for alias in node.names}
    return frozenset(name for name in found if name and _is_ours(name, own))


def _package(module: str, level: int) -> list[str]:
    """Return the parts of the package that an import with `level` leading dots starts from."""
    parts = module.split(".") if level else []
    return parts[: len(parts) - level + _is_package(module)]


@cache
def _is_ours(name: str, own: str) -> bool:
    """Say whether `name` is a module of the package, or one beside or in the user's `own`; a library's never is."""
    top = name.split(".")[0]
    source = module_path(own)
    home = source.parent.parent if source.name == "__init__.py" else source.parent
    library = home.name in ("site-packages", "dist-packages")
    if top == PACKAGE:
        home = module_path(PACKAGE).parent.parent
    elif own == PACKAGE or (library and top != own):
        return False
    path = home.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def reached(modules: Iterable[str]) -> list[str]:
    """Return the package's modules that these import, directly or not, themselves included."""
    todo, seen = list(modules), set[str]()
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += _imports(module)
    return sorted(seen)


def digest(*targets: str) -> str:
    """Return 16 hex digits over the syntax of all modules that "module:function" targets reach.

    Comments, docstrings and layout do not count. Tables of names (the package `__init__` files) do not either: a
    new entry must not re-run what exists. What an entry in use says is for the params of its job.
    """
    named = {target.partition(":")[0] for target in targets}
    modules = [m for m in reached(named) if m in named or not (_is_package(m) or m in BOOKKEEPING)]
    text = "\n".join(f"{m} {_fingerprint(m)}" for m in modules)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _is_package(module: str) -> bool:
    return module_path(module).name == "__init__.py"


def check_unchanged(code: str, targets: Iterable[str]) -> None:
    """Stop a job whose code changed after the plan was made.

    Raises:
        RuntimeError: if the digest differs.
    """
    targets = list(targets)
    now = digest(*targets)
    if now != code:
        raise RuntimeError(
            f"the code behind {', '.join(targets)} changed while the run was going on "
            f"(planned {code}, now {now}); start snakemake again"
        )


def versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of the libraries that numbers depend on."""
    found = {"python": platform.python_version(), PACKAGE: __version__}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """Return CPU name, cores, memory and GPUs of this machine (no host name)."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory, 1),
        **({"gpu": gpu} if (gpu := _gpu()) else {}),
    }


def _gpu() -> str:
    """Names of the GPUs, as their driver's own tool lists them; empty without one."""
    if shutil.which("nvidia-smi") is None:
        return ""
    ask = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    return ", ".join(done.stdout.split("\n")).strip(", ") if done.returncode == 0 else ""


def revision(root: Path) -> str:
    """Return the git revision of a checkout, "+changes" where files differ from it, "not a checkout" elsewhere."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "not a checkout"


def record(results: Results, command: str, study: str = "") -> dict[str, Any]:
    """Return what produced the results of a run, or of one study.

    Args:
        results: of the run; its benchmark files hold the seconds of each job, their age the start.
        command: what starts the run again.
        study: whose jobs alone count; data are of no study.

    Raises:
        DamagedError: if what a job or Snakemake wrote down is not what is there.
    """
    rules = {rule: files for rule in RULES if (files := results.benchmarks(rule, study))}
    jobs = {path: _seconds(path, rule) for rule, paths in rules.items() for path in paths}
    seconds = {rule: sum(jobs[path] for path in paths) for rule, paths in rules.items()}
    finished = time.time()
    started = min((path.stat().st_mtime - jobs[path] for path in jobs), default=finished)
    return {
        PACKAGE: __version__,
        "git": revision(module_path(PACKAGE).parents[1]),
        **machine(),
        "machines": _machines(results, rules),
        "versions": versions(),
        "started": _utc(started),
        "finished": _utc(finished),
        "seconds": round(sum(jobs.values())),  # of all jobs: a run may be interrupted and resumed
        # attempts before: Snakemake counts the last of a job alone
        "broken_off": sum(len(results.broken_off(job)) for job in map(results.job, jobs)),
        "job_seconds": {rule: round(value, 1) for rule, value in sorted(seconds.items())},
        "command": command,
    }


def _seconds(benchmark: Path, rule: Rule) -> float:
    """Return how long a job took; Snakemake writes it in the first column of the second line."""
    try:
        return float(benchmark.read_text().splitlines()[1].split("\t")[0])
    except (IndexError, ValueError) as error:  # ValueError: no number, or no UTF-8
        raise DamagedError(benchmark, rule, f"expected the seconds of a job, got {error!r}") from error


def _machines(results: Results, benchmarks: Mapping[Rule, Iterable[Path]]) -> list[dict[str, Any]]:
    """Return each machine that jobs ran on, with the names of these; nothing else where none was written down."""
    jobs: dict[str, list[str]] = {}
    for rule, paths in benchmarks.items():
        for job in map(results.job, paths):
            file = results.machine(job)
            facts = read_sealed(file, rule) if file.exists() else {}
            jobs.setdefault(json.dumps(facts), []).append(job)
    return [{**json.loads(facts), "jobs": sorted(names)} for facts, names in sorted(jobs.items())]


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
