"""The libraries that attacks are compared with, as wheels to carry: `python -m benchmarks.gpu.wheels FOLDER`.

Their versions are those of requirements.lock. All are pure Python; what they need besides is listed in NEEDED. What
one of them shows its users as an example, such as the weights of a net, is left out.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

LOCK = Path(__file__).parents[2] / "requirements.lock"
NAMES = ("adv-lib", "foolbox", "pyautoattack", "torchattacks", "eagerpy", "gitpython", "gitdb", "smmap")
# what a machine for this must have beside torch and torchvision; a folder of wheels may hold these too
NEEDED = (
    *("numpy", "scipy", "pandas", "pyarrow", "pydantic", "safetensors", "scikit-learn", "tqdm", "requests"),
    "typing-extensions",
)
EXAMPLES = (".pt", ".h5", ".jpg", ".png")  # kinds of files
MOST = 64 * 2**20  # bytes that are carried at a time


def pins(names: tuple[str, ...], lock: str) -> list[str]:
    """Return name==version of each name, as a lock file says.

    Raises:
        ValueError: for a name that it does not hold.
    """
    known = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\\n]+)", lock, re.MULTILINE))
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"{LOCK.name} has no {', '.join(missing)}")
    return [f"{name}=={known[name]}" for name in names]


def download(folder: Path, more: tuple[str, ...]) -> int:
    """Download wheels into a folder; return their bytes."""
    wanted = pins((*NAMES, *more), LOCK.read_text())
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*command, "--dest", str(folder), *wanted], check=True)
    for wheel in folder.glob("*.whl"):
        slim(wheel)
    return sum(wheel.stat().st_size for wheel in folder.glob("*.whl"))


def slim(wheel: Path) -> None:
    """Leave the EXAMPLES out of a wheel."""
    aside = wheel.with_suffix(".slim")
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as kept:
        for member in whole.infolist():
            if Path(member.filename).suffix not in EXAMPLES:
                kept.writestr(member, whole.read(member))
    aside.replace(wheel)


def use(folder: Path, site: Path) -> None:
    """Unpack the wheels of a folder into `site`, and import from there what is not installed.

    Raises:
        FileNotFoundError: if the folder holds none.
    """
    found = sorted(folder.glob("*.whl"))
    if not found:
        raise FileNotFoundError(f"{folder} holds no wheels")
    for wheel in found:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    sys.path.append(str(site.absolute()))
    importlib.invalidate_caches()


def main() -> int:
    """Download the wheels, and those of further names that the lock holds; return 1 if they are too large together."""
    folder, *more = sys.argv[1:]
    size = download(Path(folder), tuple(more))
    print(f"{folder}: {size / 2**20:.1f} MiB, at most {MOST / 2**20:.0f} MiB")
    return int(size > MOST)


if __name__ == "__main__":
    sys.exit(main())
