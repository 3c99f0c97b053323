"""`python -m benchmarks.gpu`: whatever fails is written down and the next goes on, within the deadline."""

import json
import os
import resource
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import hours, images, job, longest, machine, report, speed, training, wheels
from benchmarks.gpu.job import CHECK, Entry, Finding, Job, NotHere, OutOfTime, Site
from benchmarks.training import step
from touchstone.data import DATASETS
from touchstone.data.prepare import load
from touchstone.models.classifier import build

CPU = torch.device("cpu")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(CPU, tiny=True, scratch=tmp_path / "scratch")


def fine(_: Site) -> Finding:
    return Finding("fine", {"value": 3})


def wrong(_: Site) -> Finding:
    assert 1 == 2, "one is not two"


def absent(_: Site) -> Finding:
    raise NotHere("no such library")


def endless(_: Site) -> Finding:
    while True:
        time.sleep(0.001)


def run(jobs: list[Job], site: Site, out: Path, deadline: float = 60.0) -> list[Entry]:
    return command.run(jobs, site, deadline, out, "What is shown")


def test_what_fails_is_written_down_and_the_next_goes_on(site: Site, tmp_path: Path) -> None:
    jobs = [Job(CHECK, "a", wrong, 9), Job(CHECK, "b", absent, 9), Job("longest", "c", fine, 9)]
    assert [entry.status for entry in run(jobs, site, tmp_path)] == ["failed", "skipped", "ok"]
    assert site.found == {"longest/c": {"value": 3}}
    text = (tmp_path / "report.md").read_text()
    assert "1 ok, 1 failed, 1 skipped, 0 not run" in text
    assert "| a | **FAILED** |" in text
    assert "AssertionError: one is not two" in text
    assert "| b | skipped |" in text
    assert "### c\n\nfine\n" in text
    found = json.loads((tmp_path / "correctness.json").read_text())
    assert [row["status"] for row in found["jobs"]] == ["failed", "skipped"]
    assert found["machine"]["card"] == "none (CPU)"
    assert json.loads((tmp_path / "longest.json").read_text())["jobs"][0]["data"] == {"value": 3}


def test_each_result_is_there_before_the_next_job_starts(site: Site, tmp_path: Path) -> None:
    def reads(_: Site) -> Finding:
        return Finding((tmp_path / "report.md").read_text().count("fine") * "seen ")

    entries = run([Job(CHECK, "a", fine, 9), Job(CHECK, "b", reads, 9)], site, tmp_path)
    assert entries[1].text == "seen "


def test_a_job_is_stopped_and_the_deadline_is_honoured(site: Site, tmp_path: Path) -> None:
    jobs = [Job("longest", name, endless, 0.2 if name == "a" else 9) for name in "abc"]
    start = time.monotonic()
    entries = run(jobs, site, tmp_path, deadline=0.6)
    assert time.monotonic() - start < 5
    assert [entry.status for entry in entries] == ["failed", "failed", "not run"]
    assert entries[0].text == "stopped after 0 s"
    assert "1 not run for want of time" in (tmp_path / "report.md").read_text()


def test_an_inner_limit_leaves_the_outer_one_running() -> None:
    def nested() -> None:
        with job.limit(0.3):
            with pytest.raises(OutOfTime), job.limit(0.1):
                endless(None)
            endless(None)

    with pytest.raises(OutOfTime):
        nested()
    with job.limit(0.1):
        pass
    time.sleep(0.2)  # nothing is left behind


def test_a_limit_that_is_swallowed_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "AGAIN", 0.1)

    def swallows() -> None:
        with job.limit(0.1):
            with pytest.raises(OutOfTime):
                endless(None)
            endless(None)

    with pytest.raises(OutOfTime):
        swallows()


@pytest.mark.parametrize(("work", "status"), [(wrong, 1), (absent, 0), (fine, 0)])
def test_the_exit_status_is_that_of_the_checks(
    work: object, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "JOBS", (Job(CHECK, "a", work, 9), Job("longest", "b", wrong, 9)))
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--size", "tiny", "--out", str(tmp_path)])
    monkeypatch.setattr(machine, "set_up", lambda _: None)
    monkeypatch.setattr(command.faulthandler, "dump_traceback_later", lambda *_, **__: None)
    assert command.main() == status


def test_a_short_run_is_what_is_worth_most() -> None:
    short = [one.key for one in command.JOBS if one.short]
    assert sum(key.startswith("attacks/") for key in short) == 4  # the nets, and three comparisons
    assert longest.LONGEST.key in short
    assert sum(key.startswith(CHECK) for key in short) > 10
    args = command.arguments(["--short"])
    assert (args.deadline, command.arguments([]).deadline) == (180, 480)
    assert all(one.seconds <= 20 + speed.HARD for one in speed.SPEED.values())


def test_no_gpu_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="torch sees no GPU here: give --device cpu"):
        machine.set_up(torch.device("cuda"))


@pytest.mark.parametrize(
    ("name", "bf16"),
    [("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA L40S", 362), ("NVIDIA L4", 121), ("X", None)],
)
def test_the_datasheet_is_that_of_the_card(name: str, bf16: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    found = machine.peak(torch.device("cuda"))
    assert (found and found.bf16) == bf16
    assert machine.peak(CPU) is None


def test_operations_are_those_of_the_layers() -> None:
    net = build("lenet5", DATASETS["mnist"], seed=0)
    found = hours.Operations()
    with found:
        net(torch.zeros(2, 1, 28, 28))
    case = training.TRAINING["lenet5"]
    assert training.flops(case, "gradient") == 2 * training.counted(training.forward, net, (1, 28, 28)) == found.total
    assert 2 < training.flops(case, "step") / found.total * 2 < 3  # no gradient in the images


def test_systems_take_turns_and_one_without_its_library_is_left_out() -> None:
    order: list[str] = []

    def note(name: str) -> object:
        return lambda: order.append(name)

    def missing() -> None:
        raise ModuleNotFoundError("no", name="foolbox")

    def breaks() -> None:
        raise RuntimeError("not on this device")

    warm = {"ours": note("warm"), "theirs": note("warm"), "foolbox": missing, "adv-lib": breaks}
    found = speed.take_turns(warm, {name: note(name) for name in warm}, 2, 5)
    assert order == ["warm", "warm", "ours", "theirs", "theirs", "ours"]
    assert found.remarks == ["foolbox: foolbox is not installed", "adv-lib: RuntimeError: not on this device"]
    with pytest.raises(RuntimeError, match="not on this device"):
        speed.take_turns({"ours": breaks}, {"ours": breaks}, 2, 5)
    assert [len(timed.seconds) for timed in found.timed.values()] == [2, 2]


def test_peers_run_without_the_deterministic_algorithms_of_ours() -> None:
    def asked(*_: object) -> list[bool]:
        return [torch.are_deterministic_algorithms_enabled()]

    try:
        torch.use_deterministic_algorithms(True)
        assert speed.as_theirs(asked)(None, 1, 1) == [False]
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_whole_rounds_are_kept_of_a_case_that_is_stopped() -> None:
    runs = []

    def slow() -> None:
        runs.append(None)
        time.sleep(0.0 if len(runs) < 3 else 60.0)

    quick = dict.fromkeys(("ours", "theirs"), lambda: None)
    found = speed.take_turns(quick, {"ours": lambda: None, "theirs": slow}, 5, 0.5)
    assert {len(timed.seconds) for timed in found.timed.values()} == {2}
    assert found.remarks == ["stopped after 0 s", "2 of 5 rounds"]
    assert speed.verdicts(found.timed)[0].startswith("- ours: seconds of the others over ours: theirs ")


def test_hours_are_the_larger_of_arithmetic_and_launching(site: Site, tmp_path: Path) -> None:
    row = {"study": "a", "dataset": "mnist", "architecture": "lenet5", "options": {}, "objective": "ce"}
    row |= {"constants": {}, "epochs": 3, "images": 1280, "nets": 2}
    net = build("lenet5", DATASETS["mnist"], seed=0)
    work = training.counted(step, net, (1, 28, 28))
    assert hours.seconds(row, hours.Rates(1e9, None)) == pytest.approx(3 * 1280 * work / 1e9)
    assert hours.seconds(row, hours.Rates(1e99, 0.1)) == pytest.approx(3 * 10 * 0.1 * hours.layers(net))
    stronger = row | {"objective": "at", "constants": {"attack_steps": 10}}
    assert 6 < hours.seconds(stronger, hours.Rates(1e9, None)) / hours.seconds(row, hours.Rates(1e9, None)) < 10
    file = tmp_path / "trainings.json"
    file.write_text(json.dumps([row, row | {"study": "b", "architecture": "no:net"}]))
    with pytest.raises(NotHere, match="was not measured"):
        hours.estimate(Site(CPU, tiny=True, scratch=tmp_path, trainings=file))
    found = {hours.RATE: {"images_per_second": 1.0, "gflop_per_image": 1.0}}
    assert hours.rates(Site(CPU, tiny=True, scratch=tmp_path, found=found)) == hours.Rates(1e9, None)
    both = found | {"training/lenet5 float32": {"seconds_per_step": 0.5}}
    assert hours.rates(Site(CPU, tiny=True, scratch=tmp_path, found=both)).layer == 0.5 / hours.layers(net)
    told = hours.estimate(Site(CPU, tiny=True, scratch=tmp_path, trainings=file, found=found))
    assert told.data["hours"]["a"] == pytest.approx(2 * 3 * 1280 * work / 1e9 / 3600)
    assert "| a | 2 | 6 |" in told.text
    assert "- b: no:net, ce not counted" in told.text
    with pytest.raises(NotHere, match="no table of trainings"):
        hours.estimate(site)


def test_wheels_are_pinned_as_in_the_lock() -> None:
    lock = wheels.LOCK.read_text()
    for pin in wheels.pins(wheels.NAMES, lock):
        assert f"\n{pin} \\\n" in f"\n{lock}"
    with pytest.raises(ValueError, match=r"requirements.lock has no nothing"):
        wheels.pins(("nothing",), lock)


def test_wheels_are_used_without_their_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "wheels" / "carried_thing-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            "carried_thing/__init__.py", "from pathlib import Path\nFILES = list(Path(__file__).parent.iterdir())"
        )
        archive.writestr("carried_thing/net.pt", "weights")
    wheels.slim(wheel)
    monkeypatch.setattr(sys, "path", [*sys.path])
    wheels.use(wheel.parent, tmp_path / "site")
    import carried_thing

    assert all(path.suffix != ".pt" for path in carried_thing.FILES)
    with pytest.raises(FileNotFoundError, match="holds no wheels"):
        wheels.use(tmp_path / "site", tmp_path / "other")


def test_a_dataset_that_is_cut_is_used_where_it_was_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "PREFERRED", {1: ("digits", "mnist")})
    files = images.cut("digits", 40, 20, tmp_path)
    assert load(files).name == "digits"
    found = images.images(1, CPU, tmp_path)
    assert (found.name, len(found.train.x), len(found.test.x)) == ("digits", 40, 20)
    assert found.train.y.unique().tolist() == list(range(10))


def test_synthetic_images_show_their_class() -> None:
    split = images.synthetic((3, 8, 8), 40, CPU)
    assert split.x.shape == (40, 3, 8, 8)
    apart = (split.x[0].float() - split.x[1].float()).abs().mean()
    assert (split.x[0].float() - split.x[10].float()).abs().mean() < apart


@pytest.mark.slow
def test_a_dry_run_on_a_cpu(tmp_path: Path, root: Path) -> None:
    """All of it, at tiny sizes, within three minutes of one core, which others use too."""
    row = {"study": "a", "dataset": "mnist", "architecture": "lenet5", "options": {}, "objective": "at", "nets": 2}
    table = tmp_path / "trainings.json"
    table.write_text(json.dumps([row | {"constants": {"attack_steps": 2}, "epochs": 3, "images": 60000}]))
    given = ["--device", "cpu", "--size", "tiny", "--out", str(tmp_path), "--trainings", str(table)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *given], cwd=root, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"}, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 180
    entries = [row for file in tmp_path.glob("*.json") if file != table for row in json.loads(file.read_text())["jobs"]]
    assert len(entries) == len(command.JOBS)
    assert {row["status"] for row in entries} <= {"ok", "skipped"}
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# What a CPU shows, tiny sizes\n")
    for part in report.ORDER:
        assert f"\n## {part[0].upper()}{part[1:]}\n" in text
