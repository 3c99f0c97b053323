"""The whole pipeline at its smallest, and what Snakemake's users rely on: no-op second runs, lint, profile, errors."""

import json
import os
import random
import re
import resource
import shutil
import signal
import site
import subprocess
import time
import venv
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from checkouts import BIN, copy_checkout, environment
from damages import DAMAGES, another_s, flip_a_bit, put_back
from same_results import STD, TREE, lasting, left

from touchstone import records
from touchstone.files import half_written
from touchstone.paths import study_files
from touchstone.plan import cost, targets
from touchstone.plan.finished import damaged
from touchstone.plan.plan import make_plan
from touchstone.plan.state import PLANNED, state
from touchstone.report.render import markdown

# whole pipelines are started: slow, and one that its tests share, on one worker
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]

JOBS = ("--quiet", "host")  # a paragraph for each job, which the profile leaves out


def snakemake(folder: Path, *args: str, by: Path = BIN / "python") -> subprocess.CompletedProcess[str]:
    command = [str(by), "-m", "snakemake", "--cores", "2", *args]
    return subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)


def interpreter(folder: Path) -> Path:
    """A Python below a folder, which finds what this one finds."""
    venv.create(folder / ".venv", with_pip=False)
    (packages,) = (folder / ".venv/lib").glob("python3*/site-packages")
    (packages / "all.pth").write_text("\n".join(site.getsitepackages()))
    return folder / ".venv/bin/python"


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    return copy_checkout(root, tmp_path_factory.mktemp("touchstone"), "tests/config.yaml")


@pytest.fixture(scope="session")
def finished(checkout: Path) -> tuple[Path, str]:
    """The checkout after a whole run, and what Snakemake said."""
    done = snakemake(checkout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return checkout, done.stdout + done.stderr


def test_every_output_is_there(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    results = folder / "results" / "tiny"
    for name in ("report.pdf", "report.html", "report.ipynb", "claims.csv", "config.yaml", "provenance.json"):
        assert (results / name).stat().st_size > 0, name
    for name in (
        "report.pdf",
        "report.html",
        "report.ipynb",
        "tables/paper.csv",
        "tables/paper/table1.tex",
        "figures/figure2.svg",
    ):
        assert (results / "minmax" / name).stat().st_size > 0, name
    assert (results / "minmax" / "report.pdf").read_bytes().startswith(b"%PDF")


def test_every_claim_ends_with_a_verdict(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    claims = pd.read_csv(folder / "results/tiny/claims.csv", dtype=str, keep_default_na=False)
    published = pd.read_csv(folder / "studies/minmax/claims.csv", dtype=str)
    assert (claims["verdict"] != "").all()
    # an interval is printed as two rows and is one claim
    assert claims["id"].nunique() == len(published) - 2
    run = claims[(claims["cell_dataset"] == "mnist") & (claims["defense"] == "std") & (claims["reading"] == "headline")]
    assert (run["verdict"] == "not comparable").all()
    assert run["why"].str.contains("digits stands in for mnist").all()
    rest = claims[(claims["cell_dataset"] == "cifar10") & (claims["reading"] == "headline")]
    assert (rest["verdict"] == "not run").all()


def test_records_say_what_made_them(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    attacks, preflights = records.read(folder / TREE.attack(STD, "all").records)
    worst = next(a for a in attacks if a.header.attack == "worst-linf")
    assert tuple(sorted(set(worst.frame["epsilon"].dropna()))) == worst.header.threat.epsilons
    assert worst.header.protocol == "worst"
    assert worst.header.made["versions"]["torch"]
    assert (worst.header.model, worst.header.stand_in) == (STD, "digits")
    run = json.loads((folder / TREE.model(STD).run).read_text())
    assert run["model_sha256"] == worst.header.made["model_sha256"]
    assert {p.threat for p in preflights} == {a.header.threat for a in attacks if a.header.threat}


def test_another_date_of_all_sources_triggers_nothing(finished: tuple[Path, str], tmp_path: Path) -> None:
    """As when results are put beside a new clone, or another revision was looked at."""
    folder = tmp_path / "dates"
    shutil.copytree(finished[0], folder, symlinks=True)
    for part in ("Snakefile", "rules", "workflow", "profiles", "touchstone"):
        for file in (folder / part, *(folder / part).rglob("*")):
            os.utime(file)
    done = snakemake(folder, "--dry-run")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_job_on_a_node_does_not_work_by_another_plan(
    finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snakemake would note that it worked by the one that the run began with."""
    folder, _ = finished
    remote = ("--mode", "remote", "--dry-run")
    now = state(make_plan(folder, folder / "config.yaml"))
    for planned, code in ((now, 0), ("0" * 64, 1)):
        monkeypatch.setenv(PLANNED, planned)
        done = snakemake(folder, *remote)
        assert done.returncode == code, done.stderr
    assert "config, studies or code have changed while the run was going on" in done.stdout + done.stderr


def test_logs_and_benchmarks(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    log = (folder / "results/tiny/logs/train/minmax/mnist/lenet/std/0.log").read_text()
    assert "epoch 1/1" in log
    assert "images/s" in log
    attack = (folder / "results/tiny/logs/attack/minmax/mnist/lenet/std/0/all.log").read_text()
    assert "worst-linf" in attack
    assert "samples/s" in attack
    assert list((folder / "results/tiny/benchmarks").rglob("*.tsv"))


def test_the_default_profile_is_loaded(finished: tuple[Path, str]) -> None:
    assert "Using workflow specific profile profiles/default" in finished[1]


def test_a_second_run_has_nothing_to_do(finished: tuple[Path, str]) -> None:
    done = snakemake(finished[0])
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_changed_attack_reruns_what_it_reaches_and_no_training(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    path = folder / "touchstone" / "attacks" / "cw.py"
    text = path.read_text()
    try:
        path.write_text(text + "\n\nCHANGED = 1\n")
        done = snakemake(folder, "-n", *JOBS)
    finally:
        path.write_text(text)
    said = done.stdout + done.stderr
    assert "rule attack" in said
    assert "rule train" not in said
    assert "rule prepare" not in said


@pytest.mark.parametrize(
    ("file", "old", "new", "rule"),
    [
        (
            "studies/minmax/study.yaml",
            "mnist: {optimizer: adam, lr: 0.001",
            "mnist: {optimizer: adam, lr: 0.002",
            "train",
        ),
        ("touchstone/data/__init__.py", "std=(0.3247,)", "std=(0.5,)", "train"),
        ("touchstone/data/__init__.py", "validation=138", "validation=100", "prepare"),
        ("touchstone/attacks/__init__.py", 'source="Rony', 'droppable=False, source="Rony', "attack"),
    ],
)
def test_a_changed_value_reruns_what_depends_on_it(
    finished: tuple[Path, str], file: str, old: str, new: str, rule: str
) -> None:
    path = finished[0] / file
    text = path.read_text()
    assert old in text
    try:
        path.write_text(text.replace(old, new))
        done = snakemake(finished[0], "-n", *JOBS)
    finally:
        path.write_text(text)
    assert f"rule {rule}" in done.stdout + done.stderr


@pytest.mark.parametrize("jobs", ["per_model", "per_attack"])
def test_a_transfer_waits_for_a_substitute_that_nobody_else_asks_for(
    finished: tuple[Path, str], tmp_path: Path, jobs: str
) -> None:
    folder = finished[0]
    study, config = folder / "studies/minmax/study.yaml", tmp_path / "tiny.yaml"
    config.write_text((folder / "config.yaml").read_text().replace("jobs: per_model", f"jobs: {jobs}"))
    text = study.read_text()
    old = "mim40-linf: {fn: mim, threat: linf, steps: 40, step_size: 0.01, decay: 1.0}"
    assert old in text
    try:
        study.write_text(text.replace(old, "mim40-linf: {fn: transfer, threat: linf, substitute: lenet/std+l1}"))
        done = snakemake(folder, "-n", *JOBS, "--configfile", str(config))
    finally:
        study.write_text(text)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    planned = said.split("\n[")  # a job begins with its date
    other = STD._replace(defense="std+l1", seed=1)
    model = str(TREE.model(other).weights)
    (maker,) = [job for job in planned if re.search(rf"output: .*{re.escape(model)}", job)]
    assert "rule train:" in maker
    assert str(TREE.selection(other).choice) in maker
    users = [job for job in planned if re.search(rf"input: .*{re.escape(model)}", job) and "rule attack" in job]
    batch = "all" if jobs == "per_model" else "mim40-linf"
    attacked = [re.search(rf"output: .*attacks/mnist/lenet/([^/]+)/0/{batch}/", job)[1] for job in users]
    assert sorted(attacked) == ["minmax-printed", "std"]
    assert not re.search(r"attacks/mnist/lenet/std\+l1", said)  # it is trained, not evaluated


def test_all_asks_for_every_declared_output(finished: tuple[Path, str]) -> None:
    """Also for what no report reads, or a run over missing files would be "Nothing to be done"."""
    done = snakemake(finished[0], "-n", "--forceall", *JOBS)
    jobs = (done.stdout + done.stderr).split("\n[")
    (target,) = [job for job in jobs if re.search(r"^(local)?rule all:", job, flags=re.MULTILINE)]
    asked = set(re.search(r"input: (.*)", target)[1].split(", "))
    made = {file for job in jobs for found in re.findall(r"output: (.*)", job) for file in found.split(", ")}
    assert len(made) > 30
    assert not {file for file in made - asked if not file.startswith("data/raw/")}, "but for what comes in"


def test_the_plan_counts_jobs_as_snakemake_does(finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    said = snakemake(finished[0], "-n", "--forceall").stdout
    monkeypatch.chdir(finished[0])
    whole = cost.total(cost.costs(make_plan(Path(), Path("config.yaml"))))
    assert re.search(rf"^total +{whole.jobs}$", said, flags=re.MULTILINE)
    assert whole.done == whole.jobs


def test_what_is_missing_is_made_again_from_what_was_kept(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    examples, log = folder / TREE.attack(STD, "all").examples, folder / TREE.log("attack", *map(str, STD), "all")
    before = examples.read_bytes()
    examples.unlink()
    done = snakemake(folder)
    assert done.returncode == 0
    assert "Nothing to be done" not in done.stdout + done.stderr
    assert examples.read_bytes() == before
    assert log.read_text().count("is there already") == 14


@pytest.mark.parametrize(
    ("gone", "rule"),
    [
        ("minmax/models", "train"),
        ("minmax/attacks", "attack"),
        ("minmax/tables", "tables"),
        ("minmax/tables/paper/table1.md", "claims"),
        ("minmax/figures", "figures_minmax"),
        ("minmax/figures/figure2.png", "figures_minmax"),
        ("minmax/models/mnist/lenet/std/0/run.json", "train"),
        ("minmax/models/mnist/lenet/std/0/history.csv", "train"),
        ("minmax/models/mnist/lenet/minmax-printed/sensitivity.json", "sensitivity"),
        ("minmax/report.html", "study_report"),
        ("claims.csv", "claims"),
        ("provenance.json", "claims"),
    ],
)
def test_whatever_is_gone_is_made_again(finished: tuple[Path, str], tmp_path: Path, gone: str, rule: str) -> None:
    folder, aside = finished[0] / TREE.root / gone, tmp_path / "aside"
    folder.rename(aside)
    try:
        done = snakemake(finished[0], "-n", *JOBS)
    finally:
        aside.rename(folder)
    assert f"rule {rule}:" in done.stdout + done.stderr


def test_an_attack_that_fails_is_no_success_the_next_time(finished: tuple[Path, str]) -> None:
    """The first run deletes the records of the batch; a report of an earlier run still stands."""
    folder, _ = finished
    code, file = folder / "touchstone/attacks/cw.py", folder / TREE.attack(STD, "all").records
    text, before = code.read_text(), file.read_bytes()
    try:
        code.write_text(text + "\nraise RuntimeError('a bug')\n")
        for _ in range(2):
            done = snakemake(folder)
            assert done.returncode != 0
            assert "Nothing to be done" not in done.stdout + done.stderr
            assert not file.exists()
    finally:
        code.write_text(text)
        done = snakemake(folder)
    assert done.returncode == 0
    assert file.read_bytes() == before


# at which rules a run is killed, in the order in which they come; several nets are trained and attacked
AIMS = ("prepare", "select", "train", "train", "attack", "attack")
AIMS += ("tables", "figures", "study_report", "summary_report")


def has_begun(folder: Path, rule: str, since: int) -> bool:
    """Say whether a job of a rule has begun or gone on since a moment, in ns."""
    logs = folder / TREE.log(rule).parent
    with suppress(FileNotFoundError):
        return any(file.stat().st_mtime_ns >= since for file in logs.rglob("*.log"))
    return False


def at_work(folder: Path) -> set[str]:
    """The rules of which a job has a log, which is of its last attempt, and not the file of its seconds, its last."""
    logs, seconds = (folder / place.parents[1] for place in (TREE.log("train"), TREE.benchmark("train")))
    jobs = (file.relative_to(logs) for file in logs.rglob("*.log") if file.suffixes == [".log"])
    return {job.parts[0] for job in jobs if not (seconds / job).with_suffix(".tsv").exists()}


def test_a_run_that_is_killed_at_any_moment_ends_as_one_that_is_not(finished: tuple[Path, str], tmp_path: Path) -> None:
    """Ten times between its beginning and its end, Snakemake and its jobs at once, soon after a job has begun."""
    (folder := tmp_path / "killed").mkdir()
    copy_checkout(finished[0], folder, "config.yaml")
    moments, killed = random.Random(17), set[str]()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    for rule in AIMS:
        command, since = [str(BIN / "snakemake"), "--cores", "2"], time.time_ns()
        with subprocess.Popen(command, cwd=folder, env=environment(folder), **quiet) as run:
            while not has_begun(folder, rule, since):
                assert run.poll() is None, rule
                time.sleep(0.05)
            time.sleep(moments.uniform(0, 0.5))
            killed |= at_work(folder)
            os.killpg(run.pid, signal.SIGKILL)
        assert snakemake(folder, "--unlock").returncode == 0
    assert len(killed & {*AIMS}) >= 5, killed
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert "Nothing to be done" in snakemake(folder).stderr
    assert left(folder) == left(finished[0])
    assert lasting(folder) == lasting(finished[0])
    assert not half_written(folder)
    assert not list((folder / ".snakemake" / "incomplete").rglob("*"))


def test_a_study_that_fails_leaves_the_others_their_reports_and_the_summary_names_it(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    """Also by an interpreter whose path holds a space."""
    folder = tmp_path / "two"
    shutil.copytree(finished[0], folder, symlinks=True)
    text = (folder / "config.yaml").read_text().replace("[minmax]", "[minmax, weightpen]")
    (folder / "config.yaml").write_text(text.replace("minmax-printed]", "minmax-printed, weightpen-printed]"))
    with (folder / "touchstone/defenses/weightpen.py").open("a") as code:
        code.write("\n\nraise RuntimeError('a bug')\n")
    for report in (TREE.report("minmax"), TREE.report()):
        for file in report:
            (folder / file).unlink()
    done = snakemake(folder, by=interpreter(tmp_path / "a place"))
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert f"{TREE.report().pdf} has the studies that are whole" in said
    for file in (*TREE.report("minmax"), *TREE.report()):
        assert (folder / file).stat().st_size > 0
    text = markdown(folder / TREE.report().ipynb)
    log = TREE.log("train", "weightpen", "mnist", "smallcnn-bounded", "weightpen-printed", "0")
    assert re.search(r"Not finished: Weight penalisation .*\d+ of its \d+ jobs have failed", text)
    assert f"What went wrong stands in `{log}`" in text
    assert "a bug" in (folder / log).read_text()


def test_results_may_be_a_link_and_a_clock_that_goes_back_is_named(finished: tuple[Path, str], tmp_path: Path) -> None:
    folder, elsewhere, figure = tmp_path / "here", tmp_path / "elsewhere", TREE.figure("minmax", "figure2")
    shutil.copytree(finished[0], folder, symlinks=True)
    (folder / "results").rename(elsewhere)
    (folder / "results").symlink_to(elsewhere)
    before = (folder / figure).read_bytes()

    def later_by(days: int) -> None:
        for file in (*elsewhere.rglob("*"), *(folder / "data").rglob("*")):
            os.utime(file, ns=(file.stat().st_mtime_ns + days * 86400 * 10**9,) * 2)

    later_by(365)
    assert "Nothing to be done" in snakemake(folder).stderr
    (folder / figure).unlink()
    done = snakemake(folder)
    assert done.returncode != 0
    assert re.search(rf"Output .*{figure.parent}.* has older modification time .*clock skew", done.stderr)
    later_by(-365)
    done = snakemake(folder)
    assert done.returncode == 0
    assert not re.search("^(select|train|attack|tables) ", done.stderr, flags=re.MULTILINE)
    assert (folder / figure).read_bytes() == before
    assert (folder / "results").is_symlink()


@pytest.fixture
def read_only(finished: tuple[Path, str], tmp_path: Path) -> Iterator[Path]:
    """The checkout after a whole run, of which nobody has noted the sums, on a disk that takes nothing."""
    folder = tmp_path / "kept"
    shutil.copytree(finished[0], folder, symlinks=True)
    (folder / TREE.finished).unlink()
    results = str(folder / "results")
    mount = ["mount", "-o", "bind,ro", results, results]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"nothing can be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", results], check=True)


def test_a_finished_run_on_a_disk_that_takes_nothing_has_nothing_to_do(read_only: Path) -> None:
    done = snakemake(read_only)
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in done.stderr
    assert done.stderr.count("no sums are kept of what is there") == 1
    assert "Traceback" not in done.stderr


def test_every_damage_to_a_finished_run_is_noticed(
    finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for what a job says of itself, which goes into no result, and finished attacks, whose sums it compares."""
    monkeypatch.chdir(finished[0])
    plan, aside = make_plan(Path(), Path("config.yaml")), tmp_path / "aside"
    tree = sorted(left(Path()))
    assert {*tree} == {*targets.everything(plan), TREE.finished}
    for file in tree:
        for damage in (*DAMAGES, another_s(tree)):
            with put_back(file, aside):
                damage(file)
                assert f"{file} cannot be used" in "".join(map(str, damaged(plan))), (file, damage)
    assert not damaged(plan)


def test_a_run_stops_at_damage_and_makes_again_what_is_deleted(finished: tuple[Path, str]) -> None:
    """As the message says, and nothing else; bits that are lost leave dates as they are."""
    folder, _ = finished
    files = [TREE.attack(STD, "all").records, TREE.figure("minmax", "figure2"), TREE.report("minmax").html]
    before = {file: (folder / file).read_bytes() for file in files}
    for file in files:
        flip_a_bit(folder / file)
    done = snakemake(folder)
    assert done.returncode != 0
    for file, rule in zip(files, ("attack", "figures", "study_report"), strict=True):
        assert re.search(rf"{file} cannot be used: .*delete it and run snakemake again \(rule {rule}\)", done.stderr)
        (folder / file).unlink()
    assert snakemake(folder, "-n").returncode == 0
    done = snakemake(folder)
    assert done.returncode == 0
    assert not re.search("^(select|train|prepare) ", done.stderr, flags=re.MULTILINE)
    assert (folder / files[0]).read_bytes() == before[files[0]]
    assert (folder / files[1]).read_bytes() == before[files[1]]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("studies/minmax/study.yaml", "pgd40-linf: {fn: pgd, threat: linf, steps: 40, step_size: 0.01}",
         "pgd40-linf: {fn: pgd, threat: linf, steps: 40, step_size: 0.02}"),
        ("studies/minmax/study.yaml", "probe_samples: 1000", "probe_samples: 10"),
        ("studies/minmax/study.yaml", "near_zero: {headline: 0.01,", "near_zero: {headline: 0.03,"),
        ("config.yaml", "samples: 30", "samples: 20"),
        ("config.yaml", "batch_size: 256", "batch_size: 128"),
    ],
)  # fmt: skip
def test_what_only_shows_the_sensitivity_trains_nothing(
    finished: tuple[Path, str], file: str, old: str, new: str
) -> None:
    path = finished[0] / file
    text = path.read_text()
    assert old in text
    try:
        path.write_text(text.replace(old, new))
        done = snakemake(finished[0], "-n", *JOBS)
    finally:
        path.write_text(text)
    said = done.stdout + done.stderr
    assert "rule sensitivity:" in said
    assert not re.search(r"rule (select|train|prepare|fetch):", said)


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("claims", {"tables", "figures_minmax", "claims"}),
        ("statements", {"tables", "figures_minmax", "claims"}),
        ("definition", {"study_report"}),
        ("captions", {"study_report"}),
        ("figures", {"study_report"}),
    ],
)
def test_an_edited_file_of_a_study_reruns_what_reads_it(finished: tuple[Path, str], file: str, rules: set[str]) -> None:
    files = study_files("minmax", finished[0])
    path: Path = getattr(files, file, None) or files.beside(file)
    text = path.read_text()
    try:
        path.write_text(text + "\n")
        done = snakemake(finished[0], "-n", *JOBS)
    finally:
        path.write_text(text)
    ran = set(re.findall(r"^(?:local)?rule (\w+):", done.stdout + done.stderr, flags=re.MULTILINE))
    after = {"study_report", "summary_report", "all"}
    assert ran - after == rules - after
    assert ("study_report" in ran) is bool(rules)


def test_how_often_a_training_saves_triggers_no_training(finished: tuple[Path, str]) -> None:
    path = finished[0] / "config.yaml"
    text = path.read_text()
    try:
        path.write_text(text + "checkpoint: {epochs: 3}\n")
        done = snakemake(finished[0], "-n", *JOBS)
    finally:
        path.write_text(text)
    said = done.stdout + done.stderr
    assert "rule resolved_config:" in said
    assert not re.search(r"rule (select|train|attack|tables):", said)


@pytest.mark.parametrize("how", ["--until", "--forcerun"])
def test_a_rule_is_called_as_it_stands_in_the_table(finished: tuple[Path, str], how: str) -> None:
    """Whatever `jobs` says: the batch of attacks is a wildcard."""
    done = snakemake(finished[0], "-n", *JOBS, how, "attack")
    assert done.returncode == 0
    assert ("rule attack:" in done.stdout + done.stderr) is (how == "--forcerun")


def test_sources_lie_with_the_workflow_and_results_in_the_working_directory(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    """In folders whose names hold spaces, by an interpreter whose path holds one, for a user without a home."""
    here, there = tmp_path / "a checkout", tmp_path / "a place"
    here.mkdir()
    copy_checkout(finished[0], here, "config.yaml")
    for part in ("results", "data", ".snakemake"):
        shutil.copytree(finished[0] / part, there / part, symlinks=True)
    command = [str(interpreter(here)), "-m", "snakemake", "--snakefile", str(here / "Snakefile"), "--cores", "2"]
    changes = {"PYTHONPATH": str(here), "HOME": "/dev/null/nowhere", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # nothing but ASCII

    def run(*args: str) -> str:
        done = subprocess.run(
            [*command, *args], cwd=there, env={**os.environ, **changes, **locale}, capture_output=True, check=False
        )
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == 0, said
        return said

    said = run(*JOBS)
    assert "rule study_report:" in said  # its sources have another place
    assert not re.search(r"rule (select|train|attack|prepare):", said)
    assert "Nothing to be done" in run()
    assert not {"results", "data"} & {path.name for path in here.iterdir()}
    command_of = json.loads((there / TREE.provenance()).read_text())["command"]
    assert "--snakefile '../a checkout/Snakefile'" in command_of


def test_an_attack_that_a_study_gains_runs_alone(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    study, log = folder / "studies/minmax/study.yaml", folder / TREE.log("attack", *map(str, STD), "all")
    text = study.read_text()
    records_file = folder / TREE.attack(STD, "all").records
    before = records.read(records_file).attacks
    cells = "cells: [{datasets: [mnist], models: [lenet], defenses: [std], attacks: [bim5-linf]}]\n"
    new = "attacks:\n  bim5-linf: {fn: bim, threat: linf, steps: 5, step_size: 0.1}\n"
    try:
        study.write_text(text.replace("attacks:\n", new, 1) + cells)
        done = snakemake(folder, *JOBS, "--", str(TREE.attack(STD, "all").records))
        after = records.read(records_file).attacks
        said = log.read_text()
    finally:
        study.write_text(text)
        assert snakemake(folder).returncode == 0  # as it was, for the other tests
    assert done.returncode == 0, done.stderr[-3000:]
    assert "rule train" not in done.stdout + done.stderr
    assert said.count("is there already") == len(before)
    assert [a.header.attack for a in after if a.header.attack not in {b.header.attack for b in before}] == ["bim5-linf"]


def test_a_wrong_config_stops_before_any_job(checkout: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text((checkout / "config.yaml").read_text().replace("device: cpu", "device: gpu"))
    done = snakemake(checkout, "--configfile", str(path))
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "wrong.yaml:4: device:" in said
    assert "'cpu' or 'cuda'" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--configfile", "config.yaml", "configs/laptop.yaml"], "give one --configfile"),
        (["--config", "device=cuda"], "--config is not supported"),
    ],
)
def test_a_config_comes_from_one_file(checkout: Path, args: list[str], message: str) -> None:
    done = snakemake(checkout, "-n", *args)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr


def test_a_truncated_checkpoint_is_named_with_its_rule(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    model, batch = folder / TREE.model(STD).weights, str(TREE.attack(STD, "all").records)
    whole = model.read_bytes()
    try:
        model.write_bytes(whole[: len(whole) // 2])
        done = snakemake(folder, "--force", batch)
    finally:
        model.write_bytes(whole)
        assert snakemake(folder).returncode == 0
    assert done.returncode != 0
    assert "model.safetensors cannot be used" in done.stdout + done.stderr
    assert "rule train" in done.stdout + done.stderr


def test_the_number_of_rules_is_that_of_the_snakefile(checkout: Path) -> None:
    listed = [
        snakemake(checkout, "--list-rules", "--configfile", file).stdout.split()
        for file in ("config.yaml", "configs/laptop.yaml", "configs/paper.yaml")
    ]
    drawing = {f"figures_{path.parent.name}" for path in (checkout / "studies").glob("*/study.yaml")}
    rest = [[rule for rule in rules if rule not in drawing] for rules in listed]
    assert rest[0] == rest[1] == rest[2]
    assert len(rest[0]) <= 20


def test_the_plan_of_700_models_is_made_in_seconds_and_can_be_read(checkout: Path, root: Path) -> None:
    assert len(make_plan(root, root / "configs" / "paper.yaml").trained) >= 700
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = snakemake(checkout, "-n", "--configfile", "configs/paper.yaml")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len((done.stdout + done.stderr).splitlines()) < 65
    assert re.search(r"^attack +[0-9]{4}$", done.stdout + done.stderr, flags=re.MULTILINE)
    # 20 s of CPU on an idle machine; a busy one takes half as long again
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= 30


def test_lint(checkout: Path) -> None:
    done = snakemake(checkout, "--lint")
    assert done.returncode == 0, done.stdout + done.stderr
