"""What a job costs beside its own work: CPU seconds here, on SLURM, and of runs with many jobs that do nothing.

python -m benchmarks.jobs [--slurm]    or, for what it costs to plan 10,000 trainings and attacks: --cells

A workflow of N equal jobs whose script imports what a training imports and ends; its Snakefile makes the plan of a
config as ours does. The 10,000 are those of configs/paper.yaml with more seeds of one study. Wall time says little on a
machine that does other things too, so CPU time is counted: of all processes that a run started, on SLURM also of those
that the cluster started (tests/slurm/cluster.sh).
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from touchstone.plan import cost
from touchstone.plan.plan import make_plan

ROOT = Path(__file__).resolve().parents[1]
CLUSTER = ROOT / "tests" / "slurm" / "cluster.sh"
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
SNAKEFILE = """
from pathlib import Path
from touchstone.plan.plan import make_plan

PLAN = make_plan(Path({root!r}), Path({root!r}) / "config.yaml")

rule all:
    input: expand("out/{{n}}", n=range({jobs}))
    localrule: True

rule job:
    output: "out/{{n}}"
    resources: mem_mb=1000, runtime=5
    script: "job.py"
"""
JOB = "import touchstone.jobs.train\nopen(snakemake.output[0], 'w').close()\n"
CHECKOUT = ("Snakefile", "rules", "workflow", "profiles", "studies", "reports", "envs", "configs")
SEEDS = ("seeds: 10 ", "seeds: 30 ")
QUIET = ("--quiet", "rules", "host", "reason", "progress")
SLURM = ("--executor", "slurm", "--jobs", "4", "--slurm-status-command", "squeue",
         "--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "5")  # fmt: skip


def workflow(jobs: int, folder: Path) -> Path:
    """Write a workflow of so many jobs, and return its folder."""
    place = folder / f"jobs{jobs}"
    (place / "out").mkdir(parents=True)
    (place / "Snakefile").write_text(SNAKEFILE.format(root=str(ROOT), jobs=jobs))
    (place / "job.py").write_text(JOB)
    return place


def many_cells(folder: Path, jobs: str = "per_norm") -> Path:
    """Copy the checkout but for its package, with three times the seeds of `critic`; return the config of `paper`.

    Args:
        folder: where to.
        jobs: what one job runs on a model, as in a config.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in CHECKOUT:
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / part)
    study, config = folder / "studies" / "critic" / "study.yaml", folder / "configs" / "paper.yaml"
    for file, old, new in ((study, *SEEDS), (config, "jobs: per_norm", f"jobs: {jobs}")):
        text = file.read_text()
        if text.count(old) != 1:
            raise ValueError(f"{file} has no `{old}` to change")
        file.write_text(text.replace(old, new))
    return config


def seconds(command: list[str], place: Path) -> float:
    """Run a command in a folder, and return the CPU seconds of all processes that it waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """Start a SLURM of two nodes, and end it."""
    state = folder / "slurm"
    subprocess.run([CLUSTER, "start", state], check=True)
    try:
        yield state
    finally:
        subprocess.run([CLUSTER, "stop", state], check=True)


def spent(state: Path) -> float:
    """Return the CPU seconds of all that has ended in a cluster."""
    return float(subprocess.run([CLUSTER, "seconds", state], check=True, capture_output=True, text=True).stdout)


def scheduled(place: Path, jobs: int) -> float:
    """Return CPU seconds of a run in which every job is scheduled, and only touches its file."""
    for n in range(jobs):
        (place / "out" / str(n)).touch()
    return seconds([SNAKEMAKE, "--cores", "2", "--touch", "--forceall", *QUIET], place)


def here(folder: Path, few: int = 2, many: int = 12) -> float:
    """Return CPU seconds per job on this machine: from two runs, so that what a run costs once is not in it."""
    cost = [seconds([SNAKEMAKE, "--cores", "2", *QUIET], workflow(n, folder / "here")) for n in (few, many)]
    return (cost[1] - cost[0]) / (many - few)


def on_slurm(folder: Path, few: int = 1, many: int = 5) -> tuple[float, float]:
    """Return CPU seconds per job on a cluster: where snakemake was started, and on the nodes."""
    login, nodes = [], []
    for count in (few, many):
        with cluster(folder / str(count)) as state:
            begun = spent(state)
            command = [str(CLUSTER), "run", str(state), SNAKEMAKE, *SLURM, *QUIET]
            login.append(seconds(command, workflow(count, folder / "there")))
            nodes.append(spent(state) - begun)
    return (login[1] - login[0]) / (many - few), (nodes[1] - nodes[0]) / (many - few)


def planned(folder: Path) -> None:
    """Print what planning 10,000 trainings and attacks takes, with and without Snakemake."""
    for jobs in ("per_norm", "per_attack"):
        config, place = many_cells(folder / jobs, jobs), folder / jobs
        plan = make_plan(place, config)
        whole = cost.total(cost.costs(plan))
        named = ["--configfile", str(config)]
        ours = seconds([sys.executable, "-m", "touchstone", "plan", *named], place)
        dry = seconds([SNAKEMAKE, "-n", *named], place)
        print(f"{whole.trainings:,} trainings and {whole.attacks:,} attacks, {jobs}: {whole.jobs:,} jobs, "
              f"`touchstone plan` {ours:.0f} s, `snakemake -n` {dry:.0f} s", flush=True)  # fmt: skip


def main() -> None:
    """Print a line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slurm", action="store_true", help="also through a SLURM of two nodes")
    parser.add_argument("--cells", action="store_true", help="plan 10,000 trainings and attacks, and nothing else")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.cells:
            planned(folder)
            return
        for jobs in (100, 1_000, 10_000):
            dry = seconds([SNAKEMAKE, "-n", *QUIET], workflow(jobs, folder))
            print(f"{jobs:6,} jobs: planned in {dry:.1f} s", flush=True)
        for jobs in (100, 1_000):
            touched = scheduled(folder / f"jobs{jobs}", jobs)
            print(f"{jobs:6,} jobs: planned and scheduled in {touched:.1f} s", flush=True)
        print(f"a job here: {here(folder):.2f} s", flush=True)
        if asked.slurm:
            login, node = on_slurm(folder)
            print(f"a job on SLURM: {login:.2f} s where snakemake was started, {node:.2f} s on the node", flush=True)


if __name__ == "__main__":
    main()
