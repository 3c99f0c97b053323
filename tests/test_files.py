"""Files are whole or not there."""

import errno
import fcntl
import json
import os
import re
import select
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML
from safetensors import SafetensorError

from touchstone import files


def test_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    files.write_json(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_yaml_keeps_values_and_order(tmp_path: Path) -> None:
    content = {"z": [1, 2], "a": {"x": 0.001, "none": None, "text": "yes"}}
    files.write_yaml(tmp_path / "a.yaml", content)
    read = YAML(typ="safe").load((tmp_path / "a.yaml").read_text())
    assert read == content
    assert list(read) == ["z", "a"]


CONTENT = {"name": "digits", "counts": {"test": 3}, "by_number": {1: 2, 10: 3, 9: 4}, "pair": (1, 2.5), "none": None}


def test_keys_of_a_file_stand_each_on_its_line() -> None:
    assert files.yaml_text({"a": "one", "b": 2}) == "a: one\nb: 2\n"
    assert files.yaml_text({"a": {"b": 1, "c": [2]}}) == "a:\n  b: 1\n  c: [2]\n"


def test_what_is_sealed_is_read_as_json_has_it(tmp_path: Path) -> None:
    files.write_sealed(tmp_path / "a.json", CONTENT)
    assert files.read_sealed(tmp_path / "a.json", "train") == json.loads(json.dumps(CONTENT))


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda _: b"",
        lambda _: b"[]",
        lambda _: b"\xff\xfe",
        lambda whole: whole.replace(b'"test": 3', b'"test": 4'),
        lambda _: json.dumps({"name": "digits"}).encode(),
    ],
)
def test_a_sealed_file_that_was_changed_names_itself_and_its_rule(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "a.json"
    files.write_sealed(path, CONTENT)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(files.DamagedError, match=r"a\.json cannot be used: .*; delete it and .* \(rule prepare\)"):
        files.read_sealed(path, "prepare")


def test_a_sealed_file_that_is_laid_out_anew_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_sealed(path, CONTENT)
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert files.read_sealed(path, "train")["name"] == "digits"


def test_a_file_is_read_with_the_sum_that_its_maker_wrote(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    files.write_bytes(path, b"content")
    assert files.verified(path, files.sum_of(b"content"), "train") == path
    with pytest.raises(files.DamagedError, match=r"expected sha256 [0-9a-f]{64}, got [0-9a-f]{64}; .*\(rule train\)"):
        files.verified(path, files.sum_of(b"other"), "train")
    with pytest.raises(files.DamagedError, match=r"No such file .*\(rule train\)"):
        files.verified(tmp_path / "none", files.sum_of(b""), "train")


WAITS = """
import sys
from collections.abc import Callable
from pathlib import Path
from touchstone.files import alone
with alone(Path(sys.argv[1])):
    print("alone", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("end", [lambda process: process.communicate("\n"), lambda process: process.kill()])
def test_one_process_at_a_time_is_alone_until_it_leaves_or_is_killed(tmp_path: Path, end: Any) -> None:
    def start(name: str) -> Any:
        command = [sys.executable, "-c", WAITS, str(tmp_path / "new" / name)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def is_alone(process: Any, seconds: float) -> bool:
        return bool(select.select([process.stdout], [], [], seconds)[0]) and process.stdout.readline() == "alone\n"

    with start("lock") as first:
        assert is_alone(first, 60)
        with start("other") as other, start("lock") as second:
            assert is_alone(other, 60)
            assert not is_alone(second, 0.5)
            end(first)
            assert is_alone(second, 60)
            for process in (other, second):
                process.communicate("\n")


HOLDS = """
import sys
from collections.abc import Callable
from pathlib import Path
from touchstone.files import hold
kept = hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.readline()
"""


def test_what_one_process_holds_no_other_gets_and_is_told_who_has_it(tmp_path: Path) -> None:
    lock, pipes = tmp_path / "new" / "lock", {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(lock)], **pipes) as first:  # type: ignore[call-overload]
        assert first.stdout.readline() == "held\n"
        for _ in range(2):
            with pytest.raises(files.BusyError, match=f"^process {first.pid} on {re.escape(socket.gethostname())}$"):
                files.hold(lock)
        lock.write_text("")
        with pytest.raises(files.BusyError, match=r"^another process$"):
            files.hold(lock)
        first.kill()
        first.wait()
    with files.hold(lock):
        assert lock.read_text().startswith(f"process {os.getpid()} on ")


@pytest.mark.parametrize("take", [files.hold, lambda path: files.alone(path).__enter__()])
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: Callable[[Path], object], number: int
) -> None:
    """As Lustre is by default."""

    def flock(file: object, how: int) -> None:  # noqa: ARG001
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match=r"locks no files \(flock\).*docs/cluster.md: '.*lock'"):
        take(tmp_path / "lock")


def safetensors_on_a_full_disk(_: Path) -> None:
    """As it says it; it writes to a place of its own, which no test can fill."""
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (lambda file: file.write_bytes(b"x"), OSError),
        (safetensors_on_a_full_disk, SafetensorError),
        (lambda file: pq.write_table(pa.table({"x": [1]}), file), OSError),
    ],
)
def test_a_full_disk_is_told_of_with_the_file(tmp_path: Path, write: Any, kind: type[Exception]) -> None:
    file = tmp_path / "a.bin"
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    aside.symlink_to("/dev/full")
    with pytest.raises(kind, match="No space left on device") as caught, files.beside(file) as given:
        write(given)
    assert given == aside
    assert str(file) in "".join(traceback.format_exception(caught.value))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [TimeoutError("12 bytes in 60 s"), ConnectionResetError(104, "reset"), ValueError()])
def test_what_is_no_fault_of_the_disk_keeps_its_words(tmp_path: Path, error: Exception) -> None:
    said = str(error)
    with pytest.raises(type(error)) as caught, files.beside(tmp_path / "a.bin"):
        raise error
    assert str(caught.value) == said
    assert caught.value.__notes__ == [f"while {tmp_path / 'a.bin'} was written"]


def test_what_a_killed_process_has_half_written_is_found(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.bin"
    code = "import os, sys; from pathlib import Path; from touchstone.files import beside\n"
    code += "with beside(Path(sys.argv[1])) as aside: aside.touch(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code, str(target)], check=False).returncode == 9
    for name in (".snakemake_timestamp", ".a.b", "a.bin.1", "a.1"):
        (tmp_path / name).touch()
    (half,) = files.half_written(tmp_path)
    assert half.parent == target.parent
    assert not target.exists()
    assert files.half_written(tmp_path / "none") == []
