"""The smallest pipeline again and again in one checkout, and at once in several that share their data: no test, hours.

    python tests/soak.py --runs 50 --together 5

Every run must leave the same bytes. What would grow is printed after each: processes and files in use on this machine,
temporary files, and the checkout on disk without its results.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from checkouts import BIN, copy_checkout, environment
from same_results import lasting

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [str(BIN / "snakemake"), "--cores", "1", "--quiet", "all"]


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start a run."""
    return subprocess.Popen(COMMAND, cwd=folder, env=environment(folder))


def finish(*runs: subprocess.Popen[bytes]) -> None:
    """Wait for runs to end, and exit if one has failed."""
    if any([run.wait() for run in runs]):
        sys.exit("a run has failed")


def compare(folder: Path, wanted: dict[Path, object]) -> None:
    """Exit if what a run has left is not what another one has."""
    found = lasting(folder)
    if differing := sorted(str(f) for f in found.keys() | wanted.keys() if found.get(f) != wanted.get(f)):
        sys.exit(f"{folder} differs: {', '.join(differing)}")


def in_use(folder: Path) -> Iterator[str]:
    """Say what may grow."""
    processes = [*Path("/proc").glob("[0-9]*")]
    yield f"{len(processes)} processes"
    yield f"{sum(1 for process in processes for _ in _files_of(process))} open files"
    yield f"{sum(1 for _ in Path(tempfile.gettempdir()).iterdir())} temporary files"
    kept = (file for file in folder.rglob("*") if file.is_file() and "results" not in file.relative_to(folder).parts)
    yield f"{sum(file.stat().st_size for file in kept) / 1e6:.1f} MB"


def _files_of(process: Path) -> list[Path]:
    try:
        return [*(process / "fd").iterdir()]
    except OSError:  # it has ended, or is another user's
        return []


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="in a row")
    parser.add_argument("--together", type=int, default=5, help="checkouts at once")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as home:
        checkouts = [Path(home) / str(number) for number in range(given.together)]
        for folder in checkouts:
            folder.mkdir()
            copy_checkout(ROOT, folder, "tests/config.yaml")
            (folder / "data").symlink_to(Path(home) / "data")
        (Path(home) / "data").mkdir()
        finish(*map(start, checkouts))
        wanted = lasting(checkouts[0])
        for folder in checkouts:
            compare(folder, wanted)
        print(f"{len(checkouts)} at once: {len(wanted)} files are the same", flush=True)
        for number in range(1, given.runs + 1):
            shutil.rmtree(checkouts[0] / "results")
            finish(start(checkouts[0]))
            compare(checkouts[0], wanted)
            print(f"{number} of {given.runs} in a row: the same; {', '.join(in_use(checkouts[0]))}", flush=True)


if __name__ == "__main__":
    main()
