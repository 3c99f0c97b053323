"""Break each attack once, on purpose, and see whether the tests notice.

    python tests/mutants.py [attack ...]

A mutant is one replacement in the text of the package, which has to match exactly once. It is made in a copy, in which
the tests named beside it are run. Those tests must go red; the script prints a table, and exits with 1 if a mutant
survives, or if an attack of the table has none.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ORACLE, EDGES, MINIMAL = "test_oracle.py", "test_edges.py", "test_minimal.py"


class Mutant(NamedTuple):
    """Which attack, in which module of touchstone/attacks, what text by what, and the tests that must notice."""

    attack: str
    module: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant("clean", "clean.py", "return task.x.clone()", "return task.x", ("test_contract.py", "-k", "clean")),
    Mutant("fgsm", "pgd.py", "step_size=task.eps, loss", "step_size=-task.eps, loss", (ORACLE, "-k", "fgsm")),
    Mutant("bim", "pgd.py", "= confine(moved, x[tile]", "= confine(moved, z[tile]", ("test_contract.py", "-k", "bim")),
    Mutant("pgd", "pgd.py", "restart, size = number //", "restart, size = 0 * number //", ("test_l1.py",)),
    Mutant("pgd", "pgd.py", "left = left[~solved]\n", "left = left[solved]\n", ("test_pgd.py", "test_l1.py")),
    Mutant("mim", "pgd.py", "mul_(decay).add_(unit(", "mul_(decay).sub_(unit(", (ORACLE, "-k", "mim")),
    Mutant("apgd", "apgd.py", "now.step[back] /= 2", "now.step[back] /= 1", ("test_apgd.py",)),
    Mutant("apgd", "apgd.py", "better = value > now.top", "better = value < now.top", ("test_apgd.py",)),
    Mutant("apgd-t", "apgd.py", "scatter(1, task.y[:, None], -torch.inf)", "clone()", ("test_apgd.py", EDGES, "-x")),
    Mutant("cw", "cw.py", "(lower + upper) / 2, const * 10", "(lower + upper) / 4, const * 10", (MINIMAL, "-k", "cw")),
    Mutant("cw", "cw.py", ".mul_(hinge).add_(", ".mul_(-hinge).add_(", (MINIMAL, "-k", "cw")),
    Mutant("deepfool", "deepfool.py", "away.argmin(dim=1)", "away.argmax(dim=1)", (MINIMAL,)),
    Mutant("ddn", "ddn.py", "eps[tile] * (1 - gamma), eps", "eps[tile] * (1 + gamma), eps", (MINIMAL, "-k", "ddn")),
    Mutant("fab", "fab.py", "beta * offset[fooled]", "offset[fooled]", ("test_fab.py", ORACLE, "-k", "fab")),
    Mutant("fab", "fab.py", "fooled = value > aim / 2", "fooled = value > 0 * aim", ("test_fab.py",)),
    Mutant("fab-t", "fab.py", "else likely[:, place]", "else likely[:, 0]", (ORACLE, "-k", "fab_t")),
    Mutant("sparsefool", "sparsefool.py", 'task.bounds, "l1")', 'task.bounds, "linf")', ("test_sparsefool.py",)),
    Mutant(
        "pdgd", "pdgd.py", "dual_rate * gap.sign()", "dual_rate * -gap.sign()", ("test_pdgd.py", ORACLE, "-k", "pdgd")
    ),
    Mutant("pdgd", "pdgd.py", "logits / goal[:, 1:]", "logits * goal[:, 1:]", (EDGES, "-k", "scaling and pdgd")),
    Mutant(
        "pdpgd",
        "pdpgd.py",
        "weight = rate / steepest * share",
        "weight = rate * share",
        ("test_pdpgd.py", ORACLE, "-k", "pdpgd"),
    ),
    Mutant("ead", "ead.py", "1 + momentum)", "1 - momentum)", ("test_ead.py",)),
    Mutant(
        "high-confidence",
        "high_confidence.py",
        "return hit & (likelihood",
        "return hit | (likelihood",
        ("test_high_confidence.py",),
    ),
    Mutant("square", "square.py", "better = value > best[tile]", "better = value < best[tile]", ("test_square.py",)),
    Mutant(
        "square",
        "square.py",
        "draws = task.rng.at(at)",
        "draws = draws.at(at - at + 0)",
        ("test_contract.py", "-k", "square"),
    ),
    Mutant("noise", "noise.py", "stream=STREAM), torch", "stream=0), torch", ("test_noise_attack.py",)),
    Mutant("noise", "noise.py", "restart=restart, stream", "restart=0, stream", ("test_noise_attack.py",)),
    Mutant("spsa", "spsa.py", "change = ahead - behind", "change = behind - ahead", (ORACLE, "-k", "spsa")),
    Mutant(
        "daa", "daa.py", "kernel @ grad.flatten(1) - offsets", "kernel @ grad.flatten(1) + offsets", ("test_daa.py",)
    ),
    Mutant("mta", "mta.py", "number + (y <= number).long()", "number + (y < number).long()", ("test_mta.py",)),
    Mutant("mta-center", "mta.py", "-away(target)", "away(target)", ("test_mta.py",)),
    Mutant("mta-coded", "mta.py", "_, __, target: away(target)", "_, __, target: -away(target)", ("test_mta.py",)),
    Mutant("jsma", "jsma.py", "in (towards, -away))", "in (towards, away))", ("test_jsma.py",)),
    Mutant("onepixel", "onepixel.py", "population) > fitness", "population) < fitness", ("test_onepixel.py",)),
    Mutant("bpda", "bpda.py", "inputs[0] / temperature", "inputs[0]", ("test_bpda.py",)),
    Mutant("brendel-bethge", "brendel_bethge.py", "radius / self.rows", "radius", ("test_brendel_bethge.py",)),
    Mutant("autoattack", "autoattack.py", "left = left[~fooled]", "left = left[fooled]", ("test_autoattack.py",)),
    Mutant("transfer", "transfer.py", "(proxy, task.x, task.y", "(task.query, task.x, task.y", ("test_transfer.py",)),
)


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
        raise RuntimeError(f"{mutant.attack}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr}")
    return done.returncode == 1


def main(names: Iterable[str]) -> int:
    """Try the mutants of these attacks, or all; return the exit status."""
    sys.path.insert(0, str(ROOT))
    from touchstone.attacks import ATTACKS

    attacks = {name for name, spec in ATTACKS.items() if spec.kind != "suite"}
    wanted = set(names) or attacks
    missing = wanted - {mutant.attack for mutant in MUTANTS}
    for name in sorted(missing):
        print(f"{name:16}  has no mutant: add one to MUTANTS in {Path(__file__).name}")
    survivors = 0
    for mutant in (m for m in MUTANTS if m.attack in wanted):
        start, noticed = time.perf_counter(), red(mutant)
        survivors += not noticed
        verdict = "red" if noticed else "SURVIVES"
        change = f"{mutant.old.strip()} -> {mutant.new.strip()}"
        print(f"{mutant.attack:16}  {verdict:8}  {time.perf_counter() - start:5.1f} s  {change}", flush=True)
    return int(bool(survivors or missing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
