"""The same results from SLURM as from this machine, and what becomes of a run when its jobs do not end as they should.

Slow, and skipped where SLURM cannot be started: see cluster.sh.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from checkouts import BIN, copy_checkout, environment
from safetensors.numpy import load_file
from same_results import STD, TREE, lasting

from touchstone import records
from touchstone.files import read_sealed
from touchstone.paths import Results, attempt_beside

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

CLUSTER = Path(__file__).with_name("cluster.sh")
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "unshare", "nsenter", "ip")
BRISK = ("--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "1")
NAME = "touchstone; touch pwned & (x) #é <a>|*?!~"  # names that a run on a cluster allows itself
PRINTED = STD._replace(defense="minmax-printed")
ATTACKS = ("clean", "pgd40-linf", "cw-l2")
ASKED = [str(file) for file in (TREE.table("minmax", "claims"), TREE.provenance())]

# What goes wrong in a job, by the attempt that it is; put behind the line of its script that begins the log
ATTEMPT = """
import itertools
import time
from pathlib import Path
from touchstone.paths import attempt_beside

attempt = next(n for n in itertools.count(1) if not attempt_beside(Path(snakemake.log[0]), n + 1).exists())
"""
TRAIN = f"""{ATTEMPT}
from touchstone.training import Checkpoint

save = Checkpoint.save

def save_and_wait(self, epoch, saved):
    save(self, epoch, saved)
    time.sleep(600)

if attempt <= 3:
    time.sleep(600)
if attempt == 4:
    Checkpoint.save = save_and_wait
"""
ATTACK = f"""{ATTEMPT}
batch = snakemake.wildcards.batch
if attempt == 1 and batch == "clean":
    raise RuntimeError("it fails once")
if attempt == 1 and batch == "pgd40-linf":
    while not Path("cancelled").exists():
        time.sleep(0.1)
    held = b"x" * 2_000_000_000
    time.sleep(600)
if attempt <= 2 and batch == "cw-l2":
    time.sleep(600)
"""
CARD = """
import logging
import os

logging.getLogger("touchstone").info("given card %s", os.environ.get("CUDA_VISIBLE_DEVICES"))
"""


class Submitted(NamedTuple):
    """What SLURM says of a job."""

    number: str
    state: str
    limit: str
    memory: str
    partition: str
    name: str
    node: str
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
        env = environment(self.checkout)
        return subprocess.Popen(
            self.command(str(BIN / "snakemake"), *profile, *args),
            cwd=self.checkout,
            env={**env, "PATH": f"{CLUSTER.parent}{os.pathsep}{env['PATH']}", "SACCT_ASKED": str(self.asked)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,  # which a terminal's Ctrl-C reaches as a whole
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's `&` ignores it
        )

    def finish(self, run: subprocess.Popen[str], seconds: float = 600) -> tuple[int, str]:
        output, _ = run.communicate(timeout=seconds)
        return run.returncode, output

    @property
    def asked(self) -> Path:
        """How sacct was asked."""
        return self.state / "asked"

    def jobs(self, comment: str = "") -> list[Submitted]:
        """The jobs whose comment begins so, in the order of submission: SLURM forgets them minutes after their end."""
        said = self.say("squeue", "--all", "--states=all", "--noheader", "--sort=i", "--format=%i|%T|%l|%m|%P|%j|%N|%k")
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
    command = [str(BIN / "snakemake"), "--cores", "2", "--", *ASKED]
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
        folder = tmp_path_factory.mktemp("cluster") / NAME
        folder.mkdir()
        yield Cluster(state, checkout(folder, root))
    finally:
        subprocess.run([str(CLUSTER), "stop", str(state)], check=True)


def test_results_are_those_of_a_local_run(cluster: Cluster, local: Path) -> None:
    """From the data on, each byte that is not a time; and a report is made of them."""
    report = TREE.report("minmax").pdf
    code, said = cluster.finish(cluster.start("--", *ASKED, str(report)))
    assert code == 0, said
    assert (cluster.checkout / report).read_bytes().startswith(b"%PDF")
    there, here = lasting(cluster.checkout), lasting(local)
    assert {file.suffix for file in here} >= {".csv", ".json", ".parquet", ".safetensors"}
    assert len(here) >= 29
    assert [file for file in here if there.get(file) != here[file]] == []
    jobs = cluster.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    assert {job.name.split("_")[0] for job in jobs} == {"touchstone"}
    assert sorted(job.comment for job in jobs) == [
        "rule_attack_wildcards_minmax_mnist_lenet_minmax-printed_0_all",
        "rule_attack_wildcards_minmax_mnist_lenet_std_0_all",
        "rule_prepare_wildcards_digits",
        "rule_select_wildcards_minmax_mnist_lenet_minmax-printed",
        "rule_sensitivity_wildcards_minmax_mnist_lenet_minmax-printed",
        "rule_train_wildcards_minmax_mnist_lenet_minmax-printed_0",
        "rule_train_wildcards_minmax_mnist_lenet_std_0",
    ]
    made = read_sealed(cluster.checkout / TREE.provenance(), "claims")
    assert made["command"] == "snakemake --workflow-profile profiles/slurm --configfile config.yaml"
    assert "train/minmax/mnist/lenet/std/0" in [job for machine in made["machines"] for job in machine["jobs"]]
    (training,) = cluster.jobs("rule_train_wildcards_minmax_mnist_lenet_std_0")
    assert f"SLURM job {training.number}" in (cluster.checkout / TREE.log("train", *map(str, STD))).read_text()
    assert not [*(cluster.checkout / TREE.root / "minmax").rglob("unfinished*")]


def put_in(folder: Path, script: str, fault: str) -> None:
    """Put a fault into the jobs of a rule, behind the line that begins their log."""
    file, line = folder / f"workflow/scripts/{script}.py", "log.set_up(snakemake.log[0])\n"
    text = file.read_text()
    assert line in text
    file.write_text(text.replace(line, f"{line}{fault}"))


def faulty(folder: Path) -> list[str]:
    """Put faults into the jobs of a checkout; return the arguments of a run that meets them, with a job per attack."""
    put_in(folder, "train", TRAIN)
    put_in(folder, "attack", ATTACK)
    text = (folder / "config.yaml").read_text()
    for old, new in (("run: tiny", "run: faults"), ("per_model", "per_attack")):
        assert old in text
        text = text.replace(old, new)
    (folder / f"{NAME}.yaml").write_text(text)
    files = [str(Results.of("faults").attack(STD, attack).records) for attack in ATTACKS]
    return ["--configfile", f"{NAME}.yaml", "--", *files]


def test_whatever_becomes_of_a_job_the_results_are_the_same(cluster: Cluster, local: Path) -> None:
    """Cancelled, on a node that goes down, out of time, out of memory, failed: and a job per attack."""
    results, target = Results.of("faults"), faulty(cluster.checkout)

    def log(rule: str, *names: str) -> Path:
        return cluster.checkout / results.log(rule, *map(str, STD), *names)

    def of(attack: str) -> list[Submitted]:
        return cluster.jobs(f"rule_attack_wildcards_minmax_mnist_lenet_std_0_{attack}")

    def logged(attempt: int, rule: str, *names: str) -> None:
        until(attempt_beside(log(rule, *names), attempt).exists)

    # Ctrl-C cancels what runs and what waits
    waits = ("--set-resources", "select:slurm_extra='--begin=now+1hour'")
    run = cluster.start(*waits, *target, str(results.selection(PRINTED).choice))
    logged(1, "train")
    until(lambda: [job.state for job in cluster.jobs("rule_select")][-1:] == ["PENDING"])
    os.killpg(run.pid, signal.SIGINT)
    until(lambda: not cluster.say("squeue", "--noheader"), seconds=30)
    assert cluster.finish(run, seconds=60)[0] != 0
    assert [cluster.jobs(rule)[-1].state for rule in ("rule_train", "rule_select")] == ["CANCELLED"] * 2
    # the node goes down: the other one has the second attempt, which is cancelled with all that the run has
    run = cluster.start(*target)
    logged(2, "train")
    lost = cluster.jobs("rule_train")[-1]
    cluster.say("scontrol", "update", f"NodeName={lost.node}", "State=DOWN", "Reason=test")
    logged(3, "train")
    cluster.say("scontrol", "update", f"NodeName={lost.node}", "State=RESUME")
    assert [(job.number, job.state) for job in cluster.jobs("rule_train")][-2:-1] == [(lost.number, "NODE_FAIL")]
    again = cluster.jobs("rule_train")[-1]
    assert f"ExcNodeList={lost.node}" in cluster.say("scontrol", "show", "job", again.number)
    assert again.node != lost.node
    cluster.say("scancel", "--user=root")
    code, said = cluster.finish(run)
    assert code != 0
    for ended, state in ((lost, "NODE_FAIL"), (again, "CANCELLED")):
        assert re.search(rf"train failed: SLURM-job '{ended.number}' failed.*'{state}'", said)
    assert cluster.jobs("rule_train")[-1] == again._replace(state="CANCELLED")
    # each job is tried again; one is cancelled twice, and another fails for the first time after that
    run = cluster.start("--set-resources", "attack:mem_mb=1500*attempt", *target)
    until((cluster.checkout / results.unfinished(STD)).exists)
    training = cluster.jobs("rule_train")[-1]
    cluster.say("scontrol", "update", f"JobId={training.number}", "EndTime=now+1")
    for attempt in (1, 2):
        logged(attempt, "attack", "cw-l2")
        cluster.say("scancel", of("cw-l2")[-1].number)
    until(lambda: [job.state for job in of("cw-l2")] == ["CANCELLED"] * 2)
    (cluster.checkout / "cancelled").touch()
    assert cluster.finish(run)[0] != 0
    # with more time and memory
    ended, whole = cluster.jobs("rule_train")[-2:]
    assert ended.number == training.number
    assert (ended.state, training.limit, ended.memory) == ("TIMEOUT", "12:00:00", "6000M")
    assert (whole.state, whole.limit, whole.memory) == ("COMPLETED", "1-00:00:00", "12000M")
    for attack in ("clean", "pgd40-linf"):
        assert [(job.state, job.memory) for job in of(attack)] == [("FAILED", "1500M"), ("COMPLETED", "3000M")]
    # what counts as failed is made by the next run
    code, said = cluster.finish(cluster.start(*target))
    assert code == 0, said
    assert [job.state for job in of("cw-l2")] == ["CANCELLED", "CANCELLED", "COMPLETED"]
    # no attempt's log is lost, and no work
    assert "going on after epoch 2 of 3" in log("train").read_text()
    assert [attempt_beside(log("train"), n).exists() for n in range(1, 6)] == [True, True, True, True, False]
    assert "it fails once" in attempt_beside(log("attack", "clean"), 1).read_text()
    assert not (cluster.checkout / results.unfinished(STD)).exists()
    # sacct, which says "CANCELLED by 0", was asked which node went down, and of no job how it is
    asked = cluster.asked.read_text()
    assert f"-j {lost.number} " in asked
    assert "--name" not in asked
    # and the numbers are those of a local run with one job per model
    weights = [TREE.model(STD).weights, results.model(STD).weights]
    assert (local / weights[0]).read_bytes() == (cluster.checkout / weights[1]).read_bytes()
    files = TREE.attack(STD, "all")
    batch, shown = records.read(local / files.records).attacks, load_file(local / files.examples)
    for attack in ATTACKS:
        files = results.attack(STD, attack)
        (alone,) = records.read(cluster.checkout / files.records).attacks
        (together,) = [one for one in batch if one.header.attack == attack]
        assert replace(alone.header, run="tiny") == together.header
        assert alone.frame.equals(together.frame)
        examples = {name: rows for name, rows in shown.items() if name.split("/")[0] == attack}
        assert examples
        np.testing.assert_equal(load_file(cluster.checkout / files.examples), examples)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPUs that this SLURM gives away are no GPUs")
def test_a_gpu_is_asked_for_by_number_from_where_there_is_none(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the partition that the environment names, whose limit refuses an attempt with twice the time."""
    monkeypatch.setenv("SBATCH_PARTITION", "gpu")
    put_in(cluster.checkout, "select", CARD)
    config = cluster.checkout / "gpu.yaml"
    text = (cluster.checkout / "config.yaml").read_text()
    config.write_text(text.replace("run: tiny", "run: gpu").replace("device: cpu", "device: cuda"))
    target = str(Results.of("gpu").selection(PRINTED).choice)
    before = {job.number for job in cluster.jobs()}
    code, said = cluster.finish(cluster.start("--configfile", str(config), "--", target))
    assert code != 0
    (job,) = [job for job in cluster.jobs("rule_select") if job.number not in before]
    assert job.partition == "gpu"
    given = cluster.say("scontrol", "show", "job", "--details", job.number)
    assert "TresPerJob=gres:gpu:1" in given
    assert "JOB_GRES=gpu:1" in given
    logged = (cluster.checkout / Results.of("gpu").log("select", *map(str, PRINTED[:-1]))).read_text()
    assert "given card 0" in logged
    assert "torch sees no GPU here" in logged
    assert re.search(r"select failed: SLURM sbatch failed.*Requested time limit is invalid", said)


def test_a_name_that_a_shell_would_read_is_refused(cluster: Cluster) -> None:
    """What is called otherwise is only a name: the checkout of these tests, and a config."""
    config, before = "$(touch pwned).yaml", cluster.jobs()
    shutil.copy2(cluster.checkout / "config.yaml", cluster.checkout / config)
    code, said = cluster.finish(cluster.start("--forceall", "--configfile", config, "--", *ASKED))
    assert code != 0
    assert "a cluster would read the" in said
    assert {*cluster.jobs()} <= {*before}
    assert not [*cluster.checkout.parent.rglob("pwned")]
