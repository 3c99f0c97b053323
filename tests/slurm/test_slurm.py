"""The same results from SLURM as from this machine, and what becomes of a run when its jobs do not end as they should.

Slow, and skipped where SLURM cannot be started: see cluster.sh.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from checkouts import BIN, copy_checkout, environment

from touchstone import records
from touchstone.cell import ModelId
from touchstone.files import read_sealed
from touchstone.paths import Results, attempt_beside

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

CLUSTER = Path(__file__).with_name("cluster.sh")
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "unshare", "nsenter", "ip")
BRISK = ("--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "5")
STD = ModelId("minmax", "mnist", "lenet", "std", 0)
PRINTED = STD._replace(defense="minmax-printed")
ATTACKS = ("clean", "pgd40-linf", "cw-l2")
TABLE = str(Results.of("tiny").table("minmax", "claims"))

# What goes wrong in a job, by the attempt that it is; put behind the line of its script that begins the log
TRAIN = """
import time
from touchstone.paths import attempt_beside
from touchstone.training import Checkpoint

def fails_at(attempt):
    log_file = Path(snakemake.log[0])
    return attempt_beside(log_file, attempt).exists() and not attempt_beside(log_file, attempt + 1).exists()

save = Checkpoint.save

def save_and_wait(self, epoch, saved):
    save(self, epoch, saved)
    time.sleep(600)

if fails_at(1) or fails_at(2):
    time.sleep(600)
if fails_at(3):
    Checkpoint.save = save_and_wait
"""
ATTACK = """
import time
from touchstone.paths import attempt_beside

if not attempt_beside(Path(snakemake.log[0]), 2).exists():
    batch = snakemake.wildcards.batch
    if batch == "clean":
        raise RuntimeError("it fails once")
    if batch == "pgd40-linf":
        held = b"x" * 2_000_000_000
    time.sleep(600)
"""


class Submitted(NamedTuple):
    """What SLURM says of a job."""

    number: str
    state: str
    limit: str
    memory: str
    partition: str
    name: str
    comment: str


@dataclass(frozen=True)
class Cluster:
    """A SLURM that runs, and a checkout whose jobs it runs."""

    state: Path
    checkout: Path

    def command(self, *args: str) -> list[str]:
        return [str(CLUSTER), "run", str(self.state), *args]

    def say(self, *args: str) -> str:
        return subprocess.run(self.command(*args), capture_output=True, text=True, check=True).stdout

    def start(self, *args: str) -> subprocess.Popen[str]:
        profile = ("--workflow-profile", "profiles/slurm", *BRISK)
        return subprocess.Popen(
            self.command(str(BIN / "snakemake"), *profile, *args),
            cwd=self.checkout,
            env=environment(self.checkout),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, run: subprocess.Popen[str]) -> tuple[int, str]:
        output, _ = run.communicate(timeout=600)
        return run.returncode, output

    def jobs(self, comment: str = "") -> list[Submitted]:
        """All jobs so far whose comment begins so, in the order of submission."""
        said = self.say("squeue", "--all", "--states=all", "--noheader", "--sort=i", "--format=%i|%T|%l|%m|%P|%j|%k")
        jobs = [Submitted(*line.split("|")) for line in said.splitlines()]
        return [job for job in jobs if job.comment.startswith(comment)]


def until(true: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)


def checkout(folder: Path, root: Path) -> Path:
    """A copy of the checkout whose run has jobs of every kind that a cluster runs, and few."""
    copy_checkout(root, folder, "tests/config.yaml")
    config = folder / "config.yaml"
    few = "defenses: [std, minmax-printed], attacks: [pgd40-linf, cw-l2]"
    text = config.read_text().replace("defenses: [std, adv, minmax-printed]", few)
    config.write_text(text.replace("epochs: 1,", "epochs: 3,") + "checkpoint: {epochs: 2}\n")
    return folder


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A checkout after a run on this machine."""
    folder = checkout(tmp_path_factory.mktemp("local"), root)
    command = [str(BIN / "snakemake"), "--cores", "2", "--", TABLE]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Cluster]:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"SLURM is not installed: {', '.join(missing)} missing (tests/slurm/cluster.sh names the packages)")
    if os.getuid() != 0:
        pytest.skip("a SLURM for tests is started by root alone")
    state = tmp_path_factory.mktemp("slurm")
    started = subprocess.run([str(CLUSTER), "start", str(state)], capture_output=True, text=True, check=False)
    if started.returncode != 0:
        pytest.skip(f"SLURM could not be started: {started.stderr[-500:]}")
    try:
        yield Cluster(state, checkout(tmp_path_factory.mktemp("cluster"), root))
    finally:
        subprocess.run([str(CLUSTER), "stop", str(state)], check=True)


@pytest.fixture(scope="module")
def shared(cluster: Cluster, local: Path) -> Cluster:
    """The cluster, with the data that a run on this machine has prepared."""
    (cluster.checkout / "data").symlink_to(local / "data")
    return cluster


def result(folder: Path, file: Path) -> bytes:
    """What is in a file of results, but for the seconds that something took."""
    return b"\n".join(line for line in (folder / file).read_bytes().splitlines() if b'"seconds"' not in line)


def test_results_are_those_of_a_local_run(shared: Cluster, local: Path) -> None:
    results = Results.of("tiny")
    code, said = shared.finish(shared.start("--", TABLE, str(results.provenance())))
    assert code == 0, said
    tree = results.root / "minmax"
    files = sorted(path.relative_to(local) for path in (local / tree).rglob("*") if path.is_file())
    assert len(files) > 30
    # history.csv has a column of seconds, and run.json its sum; the third has dates
    timed = {file for file in files if file.name in ("history.csv", "run.json", "provenance.json")}
    assert [file for file in files if result(local, file) != result(shared.checkout, file) and file not in timed] == []
    jobs = shared.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    assert {job.name.split("_")[0] for job in jobs} == {"touchstone"}
    assert sorted(job.comment for job in jobs) == [
        "rule_attack_wildcards_minmax_mnist_lenet_minmax-printed_0_all",
        "rule_attack_wildcards_minmax_mnist_lenet_std_0_all",
        "rule_select_wildcards_minmax_mnist_lenet_minmax-printed",
        "rule_sensitivity_wildcards_minmax_mnist_lenet_minmax-printed",
        "rule_train_wildcards_minmax_mnist_lenet_minmax-printed_0",
        "rule_train_wildcards_minmax_mnist_lenet_std_0",
    ]
    made = read_sealed(shared.checkout / results.provenance(), "provenance")
    assert made["command"] == "snakemake --workflow-profile profiles/slurm --configfile config.yaml"
    assert "train/minmax/mnist/lenet/std/0" in made["machines"][0]["jobs"]
    (training,) = shared.jobs("rule_train_wildcards_minmax_mnist_lenet_std_0")
    assert f"SLURM job {training.number}" in (shared.checkout / results.log("train", *map(str, STD))).read_text()
    assert not [*(shared.checkout / tree).rglob("unfinished*")]


def faulty(folder: Path) -> list[str]:
    """Put faults into the jobs of a checkout; return the arguments of a run that meets them, with a job per attack."""
    for script, fault in (("train", TRAIN), ("attack", ATTACK)):
        file, line = folder / f"workflow/scripts/{script}.py", "log.set_up(snakemake.log[0])\n"
        text = file.read_text()
        assert line in text
        file.write_text(text.replace(line, f"{line}from pathlib import Path\n{fault}"))
    text = (folder / "config.yaml").read_text()
    for old, new in (("run: tiny", "run: faults"), ("per_model", "per_attack"), (", minmax-printed", "")):
        assert old in text
        text = text.replace(old, new)
    (folder / "faults.yaml").write_text(text)
    files = [str(Results.of("faults").attack(STD, attack).records) for attack in ATTACKS]
    return ["--configfile", "faults.yaml", "--", *files]


def test_whatever_becomes_of_a_job_the_results_are_the_same(shared: Cluster, local: Path) -> None:
    """Cancelled, on a node that goes down, out of time, out of memory, failed: and a job per attack."""
    results, target = Results.of("faults"), faulty(shared.checkout)

    def log(rule: str, *names: str) -> Path:
        return shared.checkout / results.log(rule, *map(str, STD), *names)

    # all jobs of the run are cancelled
    run = shared.start("--retries", "0", *target)
    until(attempt_beside(log("train"), 1).exists)
    shared.say("scancel", "--user=root")
    assert shared.finish(run)[0] != 0
    # the node goes down, and comes up again
    run = shared.start("--retries", "0", *target)
    until(attempt_beside(log("train"), 2).exists)
    shared.say("scontrol", "update", "NodeName=localhost", "State=DOWN", "Reason=test")
    assert shared.finish(run)[0] != 0
    shared.say("scontrol", "update", "NodeName=localhost", "State=RESUME")
    # each job is tried again
    run = shared.start("--set-resources", "attack:mem_mb=1500*attempt", *target)
    until((shared.checkout / results.unfinished(STD)).exists)
    training = shared.jobs("rule_train")[-1]
    shared.say("scontrol", "update", f"JobId={training.number}", "EndTime=now+1")
    until(attempt_beside(log("attack", "cw-l2"), 1).exists)
    shared.say("scancel", shared.jobs("rule_attack_wildcards_minmax_mnist_lenet_std_0_cw-l2")[-1].number)
    code, said = shared.finish(run)
    assert code == 0, said
    # with more time and memory
    ended, whole = shared.jobs("rule_train")[-2:]
    assert ended.number == training.number
    assert (ended.state, training.limit, ended.memory) == ("TIMEOUT", "12:00:00", "6000M")
    assert (whole.state, whole.limit, whole.memory) == ("COMPLETED", "1-00:00:00", "12000M")
    for attack, state in (("clean", "FAILED"), ("pgd40-linf", "FAILED"), ("cw-l2", "CANCELLED")):
        tried = shared.jobs(f"rule_attack_wildcards_minmax_mnist_lenet_std_0_{attack}")
        assert [(job.state, job.memory) for job in tried] == [(state, "1500M"), ("COMPLETED", "3000M")]
    # no attempt's log is lost, and no work
    assert "going on after epoch 2 of 3" in log("train").read_text()
    assert [attempt_beside(log("train"), n).exists() for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert "it fails once" in attempt_beside(log("attack", "clean"), 1).read_text()
    assert not (shared.checkout / results.unfinished(STD)).exists()
    # and the numbers are those of a local run with one job per model
    weights = [Results.of("tiny").model(STD).weights, results.model(STD).weights]
    assert (local / weights[0]).read_bytes() == (shared.checkout / weights[1]).read_bytes()
    batch = records.read(local / Results.of("tiny").attack(STD, "all").records).attacks
    for attack in ATTACKS:
        (alone,) = records.read(shared.checkout / results.attack(STD, attack).records).attacks
        (together,) = [one for one in batch if one.header.attack == attack]
        assert replace(alone.header, run="tiny") == together.header
        assert alone.frame.equals(together.frame)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPUs that this SLURM gives away are empty files")
def test_a_gpu_is_asked_for_by_number_from_where_there_is_none(
    shared: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the partition that the environment names."""
    monkeypatch.setenv("SBATCH_PARTITION", "gpu")
    config = shared.checkout / "gpu.yaml"
    text = (shared.checkout / "config.yaml").read_text()
    config.write_text(text.replace("run: tiny", "run: gpu").replace("device: cpu", "device: cuda"))
    target = str(Results.of("gpu").selection(PRINTED).choice)
    code, _ = shared.finish(shared.start("--retries", "0", "--configfile", str(config), "--", target))
    assert code != 0
    (job,) = shared.jobs("rule_select")[-1:]
    assert "TresPerJob=gres:gpu:1" in shared.say("scontrol", "show", "job", job.number)
    assert job.partition == "gpu"
    said = (shared.checkout / Results.of("gpu").log("select", *map(str, PRINTED[:-1]))).read_text()
    assert "torch sees no GPU here" in said
