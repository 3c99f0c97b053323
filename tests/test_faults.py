"""What happens when a run is killed, or an input is broken: slow, since whole runs are started."""

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from checkouts import BIN, copy_checkout, environment
from safetensors.torch import save_file
from same_results import STD

from touchstone.data import DATASETS
from touchstone.files import half_written
from touchstone.models.classifier import build
from touchstone.paths import Results

MODEL = Path("results/tiny/minmax/models/mnist/lenet/std/0")

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path: Path, root: Path) -> Path:
    copy_checkout(root, tmp_path, "tests/config.yaml")
    text = (root / "tests" / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(
        text.replace("epochs: 1,", "epochs: 10,").replace("adv, minmax-printed", "adv") + "checkpoint: {epochs: 1}\n"
    )
    return tmp_path


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    command = [str(BIN / "snakemake"), "--cores", "1", *args]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(folder: Path, *args: str) -> tuple[int, str]:
    with start(folder, *args) as done:
        try:
            output, _ = done.communicate(timeout=1200)
        except subprocess.TimeoutExpired:
            os.killpg(done.pid, signal.SIGKILL)
            pytest.fail(f"not done after 20 minutes: {done.communicate()[0][-2000:]}")
    return done.returncode, output


def wait_for(path: Path, text: str, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.1)
    pytest.fail(f"{path} never said {text!r}")


def test_a_killed_training_goes_on_in_the_next_run_and_ends_with_the_same_weights(checkout: Path) -> None:
    log = checkout / "results/tiny/logs/train/minmax/mnist/lenet/std/0.log"
    run = start(checkout, "--", str(MODEL / "run.json"))
    wait_for(log, "epoch 1/10")
    os.killpg(run.pid, signal.SIGSTOP)  # it takes no part in a race
    code, output = finish(checkout, "--", str(MODEL / "run.json"))
    assert code != 0
    assert "LockException" in output, "two at once that make the same"
    other = ("--", "results/tiny/config.yaml")
    code, output = finish(checkout, *other)
    assert code != 0
    assert f"process {run.pid} on {socket.gethostname()} is at work on results/tiny; give the command again" in output
    assert "Traceback" not in output
    assert not (checkout / other[1]).exists()
    os.killpg(run.pid, signal.SIGCONT)
    output, _ = run.communicate()
    assert run.returncode == 0, output
    code, output = finish(checkout, *other)
    assert code == 0, output
    whole = hashlib.sha256((checkout / MODEL / "model.safetensors").read_bytes()).hexdigest()
    shutil.rmtree(checkout / MODEL)
    log.unlink()
    run = start(checkout, "--", str(MODEL / "run.json"))
    wait_for(log, "epoch 2/10")
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert not (checkout / MODEL / "run.json").exists()
    code, output = finish(checkout, "--unlock")
    assert code == 0, output
    code, output = finish(checkout, "--", str(MODEL / "run.json"))
    assert code == 0, output
    assert "going on after epoch" in log.read_text()
    assert not (checkout / MODEL / "unfinished.safetensors").exists()
    assert json.loads((checkout / MODEL / "run.json").read_text())["status"] == "ok"
    assert hashlib.sha256((checkout / MODEL / "model.safetensors").read_bytes()).hexdigest() == whole


def test_results_that_are_removed_under_a_run_are_made_again(checkout: Path) -> None:
    with start(checkout, "--", str(MODEL / "run.json")) as run:
        log = checkout / "results/tiny/logs/train/minmax/mnist/lenet/std/0.log"
        wait_for(log, "epoch 2/10")
        (checkout / "results").rename(checkout / "removed")  # at one stroke
        shutil.rmtree(checkout / "removed")
        output, _ = run.communicate()
    made = set(map(str, Results.of("tiny").model(STD)))
    left = {name for name in made if (checkout / name).exists()}
    named = re.search(r"^.*(Error|Exception)\b.*(\n.*){0,2}results/tiny/", output, flags=re.MULTILINE)
    assert left == made if run.returncode == 0 else named, output
    code, output = finish(checkout, "--", str(MODEL / "run.json"))
    assert code == 0, output
    weights = (checkout / MODEL / "model.safetensors").read_bytes()
    made = json.loads((checkout / MODEL / "run.json").read_text())
    assert made["model_sha256"] == hashlib.sha256(weights).hexdigest()
    assert not [path for path in checkout.rglob("*unfinished*") if path.suffix == ".safetensors"]


@pytest.fixture
def disk(checkout: Path) -> Iterator[Path]:
    """The checkout's results on a disk of their own, of 200 kB."""
    folder = checkout / "results"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_named_with_the_file_and_a_read_only_one_left_alone(checkout: Path, disk: Path) -> None:
    target = ("--", str(MODEL / "run.json"))

    def mounted(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)

    code, output = finish(checkout, *target)
    assert code != 0
    assert re.search(rf"No space left on device.*{MODEL}/", output, flags=re.DOTALL)
    assert "Logging error" not in output
    assert not half_written(disk)
    mounted("size=100m")
    code, output = finish(checkout, *target)
    assert code == 0, output
    mounted("ro")
    code, output = finish(checkout, *target)
    assert code == 0
    assert "Nothing to be done" in output
    with (checkout / "touchstone/training/loop.py").open("a") as code_file:
        code_file.write("\n\nCHANGED = 1\n")
    code, output = finish(checkout, *target)
    assert code != 0
    assert re.search(r"(?i)(write-protected|read-only)", output)
    assert f"{MODEL}/model.safetensors" in output


def test_a_file_with_another_md5_stops_the_run_with_both_sums(checkout: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte.gz").write_bytes(b"<html>not found</html>")
    text = (checkout / "config.yaml").read_text()
    text = text.replace("stand_in: {mnist: digits, ", "stand_in: {").replace(
        "  digits: {source: embedded}\n", f"  mnist: {{source: {{local: {tmp_path / 'raw'}}}}}\n"
    )
    (checkout / "config.yaml").write_text(text)
    code, output = finish(checkout, "--", "data/prepared/mnist.safetensors")
    assert code != 0
    wrong = hashlib.md5(b"<html>not found</html>").hexdigest()
    assert wrong in output
    assert "f68b3c2dcbeaaa9fbdd348bbdeb94873" in output
    assert (raw / "train-images-idx3-ubyte.gz").exists()


def test_where_data_lie_triggers_nothing(checkout: Path, tmp_path: Path) -> None:
    """Nor does fetching them again, or other code that fetches."""
    table, config = checkout / "touchstone/data/__init__.py", checkout / "config.yaml"
    row = table.read_text().replace("validation=5000", "validation=20")
    for part, count in (("train", 200), ("t10k", 100)):
        x, y = np.random.default_rng(count).integers(0, 256, (count, 28, 28), "u1"), np.arange(count, dtype="u1") % 10
        for name, values in ((f"{part}-images-idx3-ubyte.gz", x), (f"{part}-labels-idx1-ubyte.gz", y)):
            sizes = np.array(values.shape, ">u4").tobytes()
            inside = bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()
            content = gzip.compress(inside, mtime=0)
            sums = ", ".join(f'"{hashlib.md5(data).hexdigest()}"' for data in (content, inside))
            row, found = re.subn(rf'("MNIST/raw/{name}",\s*)"[0-9a-f]*",\s*"[0-9a-f]*"', rf"\1{sums}", row)
            assert found == 1
            for place in ("A", "B"):
                file = tmp_path / place / "MNIST/raw" / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
    table.write_text(row)
    text = config.read_text().replace("stand_in: {mnist: digits, ", "stand_in: {").replace("epochs: 10,", "epochs: 1,")
    at = {place: f"  mnist: {{source: {{local: {tmp_path / place}}}}}\n" for place in ("A", "B")}
    config.write_text(text.replace("  digits: {source: embedded}\n", at["A"]))
    target = ("--", str(MODEL / "run.json"))
    code, output = finish(checkout, *target)
    assert code == 0, output
    assert "train" in output

    def nothing_to_do() -> bool:
        code, output = finish(checkout, "-n", *target)
        assert code == 0, output
        return "Nothing to be done" in output

    config.write_text(config.read_text().replace(at["A"], at["B"]))
    assert nothing_to_do()
    images = checkout / "data/raw/mnist/MNIST/raw/train-images-idx3-ubyte.gz"
    whole = images.read_bytes()
    images.write_bytes(b"")
    code, output = finish(checkout, *target)
    assert code != 0
    assert re.search(rf"{images.relative_to(checkout)} cannot be used: .*folder data/raw/mnist .*rule fetch", output)
    images.write_bytes(whole)
    with (checkout / "touchstone/data/sources.py").open("a") as code:
        code.write("\n\nCHANGED = 1\n")
    assert nothing_to_do()
    shutil.rmtree(checkout / "data/raw")
    assert nothing_to_do()
    code, output = finish(checkout, "--", "data/raw/mnist/fetched.json")
    assert code == 0, output
    assert str(tmp_path / "B") in output
    assert nothing_to_do()


def test_where_data_and_weights_of_the_user_s_own_lie_triggers_nothing(checkout: Path, tmp_path: Path) -> None:
    """The sums of an .npz file and of weights say what they are."""
    config, study = checkout / "config.yaml", checkout / "studies/minmax/study.yaml"
    arrays = {}
    for part, count in (("train", 200), ("test", 100)):
        arrays[f"x_{part}"] = np.random.default_rng(count).integers(0, 256, (count, 28, 28), "u1")
        arrays[f"y_{part}"] = np.arange(count) % 10
    for place in ("A", "B"):
        (tmp_path / place).mkdir()
    np.savez(tmp_path / "A/mine.npz", **arrays)
    save_file(build("lenet", DATASETS["mnist"], seed=0).state_dict(), tmp_path / "A/std.safetensors")
    sums = {}
    for file in (tmp_path / "A").iterdir():
        shutil.copy(file, tmp_path / "B")
        sums[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    mine = (
        f"fn: npz, shape: [1, 28, 28], classes: 10, mean: [0.5], std: [0.5], validation: 20, sha256: {sums['mine.npz']}"
    )
    given = f"files: [{{file: {tmp_path}/A/std.safetensors, sha256: {sums['std.safetensors']}}}]"
    text = study.read_text().replace("\nmodels:", f"\ndatasets:\n  mine: {{{mine}}}\n\nmodels:", 1)
    study.write_text(text + f"\nweights:\n  - {{dataset: mnist, model: lenet, defense: std, {given}}}\n")
    text = config.read_text().replace("mnist: digits,", "mnist: mine,")
    source = f"  mine: {{source: {{local: {tmp_path}/A/mine.npz}}}}\n"
    config.write_text(text.replace("  digits: {source: embedded}\n", source))
    target = ("--", str(MODEL / "run.json"))
    code, output = finish(checkout, *target)
    assert code == 0, output
    assert json.loads((checkout / "data/raw/mine/fetched.json").read_text())["own"]["sha256"] == sums["mine.npz"]
    for file in (config, study):
        file.write_text(file.read_text().replace(f"{tmp_path}/A/", f"{tmp_path}/B/"))
    shutil.rmtree(tmp_path / "A")
    code, output = finish(checkout, "-n", *target)
    assert code == 0, output
    assert "Nothing to be done" in output
