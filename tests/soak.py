"""The smallest pipeline again and again in one checkout, and at once in several that share their data: no test, hours.

    python tests/soak.py --runs 50 --together 5

Every run must leave the same bytes, no process, and after the second no more files than it, be they temporary or in the
checkout: but for Snakemake's log of each run.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from checkouts import BIN, copy_checkout, environment
from same_results import lasting

ROOT = Path(__file__).resolve().parents[1]
SETTLED = 2  # runs, after which nothing more is left
GROWTH = 1.01  # times and dates differ in length
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


def left(home: Path, folder: Path) -> dict[Path, int]:
    """Return what a run has left beside its results, with sizes: temporary files, and its checkout without logs."""
    apart = {folder / "results", folder / ".snakemake" / "log"}
    files = (file for kept in (home / "tmp", folder) for file in kept.rglob("*") if apart.isdisjoint(file.parents))
    return {file: file.stat().st_size for file in files if file.is_file()}


def check(home: Path, found: dict[Path, int], settled: dict[Path, int]) -> None:
    """Exit if a run has left more than an earlier one: other files, larger ones, or a process."""
    if more := sorted(map(str, found.keys() - settled.keys())):
        sys.exit(f"more files: {', '.join(more)}")
    if sum(found.values()) > GROWTH * sum(settled.values()):
        sys.exit(f"{sum(found.values())} bytes after {sum(settled.values())}")
    if still := processes(home):
        sys.exit(f"processes: {', '.join(still)}")


def processes(home: Path) -> list[str]:
    """Return the numbers of the processes that work below a folder."""
    links = Path("/proc").glob("[0-9]*/cwd")
    return [link.parent.name for link in links if home in [*_target(link).parents]]


def _target(link: Path) -> Path:
    try:
        return link.readlink()
    except OSError:  # it has ended, or is another user's
        return Path()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="in a row")
    parser.add_argument("--together", type=int, default=5, help="checkouts at once")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        home = Path(folder).resolve()
        checkouts = [home / str(number) for number in range(given.together)]
        for checkout in checkouts:
            checkout.mkdir()
            copy_checkout(ROOT, checkout, "tests/config.yaml")
            (checkout / "data").symlink_to(home / "data")
        (home / "data").mkdir()
        (home / "tmp").mkdir()
        os.environ["TMPDIR"] = str(home / "tmp")
        finish(*map(start, checkouts))
        wanted = lasting(checkouts[0])
        for checkout in checkouts:
            compare(checkout, wanted)
        print(f"{len(checkouts)} at once: {len(wanted)} files are the same", flush=True)
        settled: dict[Path, int] = {}
        for number in range(1, given.runs + 1):
            shutil.rmtree(checkouts[0] / "results")
            finish(start(checkouts[0]))
            compare(checkouts[0], wanted)
            found = left(home, checkouts[0])
            settled = found if number <= SETTLED else settled
            check(home, found, settled)
            print(f"{number} of {given.runs} in a row: the same, and {sum(found.values()) / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
