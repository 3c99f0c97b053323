"""Break each attack once, on purpose, and see whether the tests notice.

    python tests/mutants.py [attack ...]

A mutant, of which each row of tests/attacks/cases.py has some, is one replacement in the text of a module, which has
to match exactly once. It is made in a copy, in which the tests named beside it are run. Those tests must go red; the
script prints a table, and exits with 1 if a mutant survives, or if an attack has none.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from attacks.cases import CASES, Mutant

ROOT = Path(__file__).resolve().parents[1]


def red(mutant: Mutant) -> bool:
    """Run the tests on a copy with the mutant in it, and say whether one failed."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("touchstone", "tests"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        source = copy / "touchstone" / "attacks" / mutant.module
        text = source.read_text()
        if text.count(mutant.old) != 1:
            raise ValueError(f"{mutant.module}: {mutant.old!r} occurs {text.count(mutant.old)} times, expected once")
        source.write_text(text.replace(mutant.old, mutant.new))
        where = [f"tests/attacks/{part}" if part.endswith(".py") else part for part in mutant.tests]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *where]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mutant.module}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr}")
    return done.returncode == 1


def main(names: Iterable[str]) -> int:
    """Try the mutants of these attacks, or all; return the exit status."""
    survivors, missing = 0, [name for name in names if name not in CASES or not CASES[name].mutants]
    for name in missing:
        print(f"{name:16}  has no mutant: add one to its row in tests/attacks/cases.py")
    for name, mutant in ((n, m) for n in names or CASES if n in CASES for m in CASES[n].mutants):
        start, noticed = time.perf_counter(), red(mutant)
        survivors += not noticed
        verdict = "red" if noticed else "SURVIVES"
        change = f"{mutant.old.strip()} -> {mutant.new.strip()}"
        print(f"{name:16}  {verdict:8}  {time.perf_counter() - start:5.1f} s  {change}", flush=True)
    return int(bool(survivors or missing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
