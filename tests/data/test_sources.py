import gzip
import hashlib
import io
import re
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loopback import Server, page
from miniature import Mini

from touchstone.data import DATASETS, sources
from touchstone.data.prepare import prepare
from touchstone.data.sources import FetchError, fetch
from touchstone.paths import prepared
from touchstone.registry import RawFile

BOTH = pytest.mark.parametrize("mini", ["mnist", "cifar10"], indirect=True)
HTML = b"<!DOCTYPE html><html>please log in</html>"
TRIES = 4  # one, and one after each pause
NOT_FOUND = page(404, b"no such file")
EVERY = pytest.mark.parametrize(
    "mini", ["mnist", "kmnist", "fmnist", "cifar10", "cifar100", "svhn", "tinyimagenet"], indirect=True
)
# where on the test's server the downloads lie
FOLDER = dict.fromkeys(("cifar10", "cifar100", "svhn", "tinyimagenet"), "/") | {
    "mnist": "/MNIST/raw/",
    "kmnist": "/KMNIST/raw/",
    "fmnist": "/FashionMNIST/raw/",
}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def published(mini: Mini) -> dict[str, bytes]:
    return {file: (mini.root / file).read_bytes() for file in mini.files}


def patched(name: str, monkeypatch: pytest.MonkeyPatch, **facts: Any) -> None:
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], **facts))


def served(mini: Mini, server: Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Make the server the one mirror of a dataset; return path on the server -> address of each download."""
    spec = DATASETS[mini.name]
    patched(mini.name, monkeypatch, mirrors=(f"{server.url}{FOLDER.get(mini.name, '/')}",))
    downloads = (spec.archive,) if spec.archive else spec.files
    return {FOLDER[mini.name] + file.name: f"{server.url}{FOLDER.get(mini.name, '/')}{file.name}" for file in downloads}


class Log(list):
    def __call__(self, line: str) -> None:
        self.append(line)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "data" / "raw"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port nobody listens on: bound, so that nobody else takes it meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


# --- local -------------------------------------------------------------------------------------------------


@BOTH
def test_local_is_copied_and_left_alone(mini: Mini, raw: Path, log: Log) -> None:
    before = contents(mini.root)
    fetch(mini.name, {"local": str(mini.root)}, raw, log=log)
    assert contents(raw) == published(mini)
    assert contents(mini.root) == before
    first = mini.files[0]
    assert (raw / first).stat().st_ino != (mini.root / first).stat().st_ino
    assert (raw / first).stat().st_nlink == 1


@BOTH
def test_a_bad_local_file_is_reported_with_both_sums_and_kept(mini: Mini, raw: Path, log: Log) -> None:
    victim = mini.root / mini.files[2]
    expected = mini.md5(mini.files[2])
    victim.write_bytes(b"rotten")
    with pytest.raises(FetchError) as caught:
        fetch(mini.name, {"local": str(mini.root)}, raw, log=log)
    for part in (str(victim), expected, md5(b"rotten"), "put the published file there"):
        assert part in str(caught.value)
    assert victim.read_bytes() == b"rotten"
    assert set(contents(raw)) == set(mini.files[:2])


def test_a_missing_local_directory_is_named(raw: Path, tmp_path: Path, log: Log) -> None:
    with pytest.raises(FetchError, match=re.escape(f"no directory {tmp_path / 'nowhere'}")) as caught:
        fetch("mnist", {"local": str(tmp_path / "nowhere")}, raw, log=log)
    assert "data: {mnist: {source: {local: DIR}}}" in str(caught.value)
    assert "DIR/MNIST/raw/train-images-idx3-ubyte.gz" in str(caught.value)


@pytest.mark.parametrize("inside", ["MNIST", "MNIST/raw"])
def test_of_a_local_folder_inside_the_right_one_that_is_named(
    inside: str, mini_mnist: Mini, raw: Path, log: Log
) -> None:
    with pytest.raises(FetchError, match=re.escape(f"(the files are below {mini_mnist.root.resolve()}: name that)")):
        fetch("mnist", {"local": str(mini_mnist.root / inside)}, raw, log=log)


@BOTH
def test_all_missing_local_files_are_named_before_any_is_copied(mini: Mini, raw: Path, log: Log) -> None:
    for file in mini.files[-2:]:
        (mini.root / file).unlink()
    with pytest.raises(FetchError) as caught:
        fetch(mini.name, {"local": str(mini.root)}, raw, log=log)
    assert all(str(mini.root / file) in str(caught.value) for file in mini.files[-2:])
    assert str(mini.root / mini.files[0]) not in str(caught.value)
    assert contents(raw) == {}


def test_local_must_not_be_the_raw_folder(mini_mnist: Mini, tmp_path: Path, log: Log) -> None:
    victim = mini_mnist.root / mini_mnist.files[0]
    victim.write_bytes(b"mine")
    alias = tmp_path / "alias"
    alias.symlink_to(mini_mnist.root)
    with pytest.raises(ValueError, match="one place"):
        fetch("mnist", {"local": str(mini_mnist.root)}, alias, log=log)
    assert victim.read_bytes() == b"mine"


def test_home_is_expanded(mini_mnist: Mini, raw: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(mini_mnist.root.parent))
    fetch("mnist", {"local": f"~/{mini_mnist.root.name}"}, raw, log=log)
    assert contents(raw) == published(mini_mnist)


@EVERY
@pytest.mark.parametrize("kind", ["local", "mirror", "download"])
def test_every_dataset_is_had_from_every_source(
    mini: Mini, raw: Path, log: Log, kind: str, serve: Callable[[Path], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(mini.root)
    served(mini, server, monkeypatch)
    places = {"local": str(mini.root), "mirror": server.url}
    fetch(mini.name, {kind: places[kind]} if kind in places else kind, raw, log=log)
    assert contents(raw) == published(mini)


# --- the same contents in another wrapping -----------------------------------------------------------------


def unpacked(mini: Mini) -> dict[str, bytes]:
    return {file: gzip.decompress(content) for file, content in published(mini).items()}


@pytest.fixture
def known(mini_fmnist: Mini, monkeypatch: pytest.MonkeyPatch) -> Mini:
    """Small Fashion-MNIST, whose row has the sums of what its files hold."""
    held = unpacked(mini_fmnist)
    files = tuple(replace(file, contents=md5(held[file.path])) for file in mini_fmnist.raw_files())
    patched("fmnist", monkeypatch, files=files)
    return mini_fmnist


def leave_unpacked(mini: Mini) -> None:
    for file, content in unpacked(mini).items():
        (mini.root / file).unlink()
        (mini.root / file.removesuffix(".gz")).write_bytes(content)


def test_a_folder_of_unpacked_files_will_do(known: Mini, raw: Path, tmp_path: Path, log: Log) -> None:
    held = unpacked(known)
    prepare("fmnist", known.root, prepared("packed", tmp_path))
    leave_unpacked(known)
    before = contents(known.root)
    fetch("fmnist", {"local": str(known.root)}, raw, log=log)
    assert {file: gzip.decompress(content) for file, content in contents(raw).items()} == held
    assert contents(known.root) == before
    times = {file: (raw / file).stat().st_mtime_ns for file in known.files}
    fetch("fmnist", {"local": str(known.root)}, raw, log=log)
    assert {file: (raw / file).stat().st_mtime_ns for file in known.files} == times
    prepare("fmnist", raw, prepared("unpacked", tmp_path))
    first, second = ([file.read_bytes() for file in prepared(one, tmp_path)] for one in ("packed", "unpacked"))
    assert first == second


@pytest.mark.parametrize("kind", ["local", "mirror", "download"])
def test_another_gzip_wrapping_will_do(
    known: Mini, raw: Path, log: Log, kind: str, serve: Callable[[Path], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    for file, content in unpacked(known).items():
        (known.root / file).write_bytes(gzip.compress(content, compresslevel=1, mtime=7))
    server = serve(known.root)
    patched("fmnist", monkeypatch, mirrors=(f"{server.url}/FashionMNIST/raw/",))
    places = {"local": str(known.root), "mirror": server.url}
    fetch("fmnist", {kind: places[kind]} if kind in places else kind, raw, log=log)
    assert contents(raw) == published(known)


@pytest.mark.parametrize("damage", [lambda packed: packed[:-9], lambda packed: packed + b"more", lambda _: b"\x1f\x8b"])
def test_a_damaged_wrapping_is_reported_with_both_sums(
    known: Mini, raw: Path, log: Log, damage: Callable[[bytes], bytes]
) -> None:
    victim = known.root / known.files[0]
    expected = known.md5(known.files[0])
    victim.write_bytes(damage(victim.read_bytes()))
    with pytest.raises(FetchError, match="put the published file there") as caught:
        fetch("fmnist", {"local": str(known.root)}, raw, log=log)
    for part in (str(victim), expected, md5(victim.read_bytes())):
        assert part in str(caught.value)


def test_an_unpacked_file_with_other_contents_is_reported_with_both_sums(known: Mini, raw: Path, log: Log) -> None:
    expected = md5(unpacked(known)[known.files[0]])
    leave_unpacked(known)
    victim = known.root / known.files[0].removesuffix(".gz")
    victim.write_bytes(b"rotten")
    with pytest.raises(FetchError, match="put the published file there") as caught:
        fetch("fmnist", {"local": str(known.root)}, raw, log=log)
    for part in (str(victim), expected, md5(b"rotten")):
        assert part in str(caught.value)
    assert contents(raw) == {}


def test_an_unpacked_file_whose_sum_nobody_knows_is_missing(mini_fmnist: Mini, raw: Path, log: Log) -> None:
    leave_unpacked(mini_fmnist)
    with pytest.raises(FetchError, match=f"no file {mini_fmnist.root / mini_fmnist.files[0]}"):
        fetch("fmnist", {"local": str(mini_fmnist.root)}, raw, log=log)


# --- what is already there ---------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("kind", ["local", "mirror", "download"])
def test_verified_files_are_not_fetched_again(
    mini: Mini, raw: Path, log: Log, kind: str, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(mini.name, {"local": str(mini.root)}, raw, log=log)
    times = {file: (raw / file).stat().st_mtime_ns for file in mini.files}
    patched(mini.name, monkeypatch, mirrors=(f"http://127.0.0.1:{closed_port}/",))
    places = {"local": str(mini.root / "gone"), "mirror": f"http://127.0.0.1:{closed_port}"}
    fetch(mini.name, {kind: places[kind]} if kind in places else kind, raw, log=log)
    assert {file: (raw / file).stat().st_mtime_ns for file in mini.files} == times


@BOTH
@pytest.mark.parametrize("kind", ["local", "mirror", "download"])
def test_a_corrupted_copy_is_replaced(
    mini: Mini,
    raw: Path,
    log: Log,
    kind: str,
    serve: Callable[[Path], Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetch(mini.name, {"local": str(mini.root)}, raw, log=log)
    victim = raw / mini.files[1]
    victim.write_bytes(victim.read_bytes()[:-1])
    bad = md5(victim.read_bytes())
    server = serve(mini.root)
    served(mini, server, monkeypatch)
    places = {"local": str(mini.root), "mirror": server.url}
    fetch(mini.name, {kind: places[kind]} if kind in places else kind, raw, log=log)
    assert contents(raw) == published(mini)
    assert any(str(victim) in line and bad in line and mini.md5(mini.files[1]) in line for line in log)


def test_a_corrupted_copy_is_deleted_even_if_nothing_replaces_it(
    mini_mnist: Mini, raw: Path, log: Log, closed_port: int
) -> None:
    victim = raw / mini_mnist.files[0]
    victim.parent.mkdir(parents=True)
    victim.write_bytes(b"rotten")
    with pytest.raises(FetchError):
        fetch("mnist", {"mirror": f"http://127.0.0.1:{closed_port}"}, raw, log=log)
    assert contents(raw) == {}


# --- mirror ------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("slash", ["", "/"])
def test_mirror(mini: Mini, raw: Path, log: Log, slash: str, serve: Callable[[Path], Server]) -> None:
    server = serve(mini.root)
    fetch(mini.name, {"mirror": server.url + slash}, raw, log=log)
    assert contents(raw) == published(mini)
    assert server.requests == [f"/{file}" for file in mini.files]
    assert log[:-1] == [f"{mini.name}: downloaded {server.url}/{file}" for file in mini.files]


@BOTH
@pytest.mark.parametrize("body", [b"rotten", HTML])
def test_a_bad_file_on_the_mirror_is_retried_then_reported(
    mini: Mini, raw: Path, log: Log, body: bytes, serve: Callable[[Path], Server]
) -> None:
    server = serve(mini.root)
    victim = mini.files[1]
    server.answers[f"/{victim}"] = page(200, body)
    with pytest.raises(FetchError) as caught:
        fetch(mini.name, {"mirror": server.url}, raw, log=log)
    for part in (f"{server.url}/{victim}", mini.md5(victim), md5(body), f"{len(body)} bytes"):
        assert part in str(caught.value)
    assert ("HTML page" in str(caught.value)) == (body == HTML)
    assert server.requests.count(f"/{victim}") == TRIES
    assert set(contents(raw)) == {mini.files[0]}  # what was good stays, nothing else is left behind


@pytest.mark.parametrize("answer", [page(503, b"busy"), page(429, b""), page(200, b"shor", length=9)])
def test_a_passing_failure_is_retried(
    mini_mnist: Mini, raw: Path, log: Log, answer: Callable[[Any], None], serve: Callable[[Path], Server]
) -> None:
    server = serve(mini_mnist.root)
    path = f"/{mini_mnist.files[0]}"

    def once(handler: Any) -> None:
        del server.answers[path]
        answer(handler)

    server.answers[path] = once
    fetch("mnist", {"mirror": server.url}, raw, log=log)
    assert contents(raw) == published(mini_mnist)
    assert server.requests.count(path) == 2
    assert sum("trying again" in line for line in log) == 1


def test_pauses_grow_between_the_tries(
    mini_mnist: Mini, raw: Path, log: Log, serve: Callable[[Path], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(sources, "PAUSES", (1.0, 2.0, 4.0))
    monkeypatch.setattr(sources.time, "sleep", slept.append)
    server = serve(mini_mnist.root)
    server.answers["*"] = page(500, b"")
    with pytest.raises(FetchError, match="500"):
        fetch("mnist", {"mirror": server.url}, raw, log=log)
    assert slept == [1.0, 2.0, 4.0]


@BOTH
def test_404_is_reported_at_once(mini: Mini, raw: Path, log: Log, serve: Callable[[Path], Server]) -> None:
    server = serve(mini.root)
    (mini.root / mini.files[0]).unlink()
    with pytest.raises(FetchError, match="404") as caught:
        fetch(mini.name, {"mirror": server.url}, raw, log=log)
    assert f"{server.url}/{mini.files[0]}" in str(caught.value)
    assert f"data: {{{mini.name}: {{source: {{local: DIR}}}}}}" in str(caught.value)
    assert len(server.requests) == 1


def test_an_unreachable_mirror_is_named(raw: Path, log: Log, closed_port: int) -> None:
    url = f"http://127.0.0.1:{closed_port}/some%20where"
    with pytest.raises(FetchError, match=re.escape(f"{url}/MNIST/raw/train-images-idx3-ubyte.gz")) as caught:
        fetch("mnist", {"mirror": url}, raw, log=log)
    assert "data: {mnist: {source: {local: DIR}}}" in str(caught.value)
    assert sum("trying again" in line for line in log) == TRIES - 1


@pytest.mark.parametrize("kind", ["mirror", "download"])
def test_a_silent_server_does_not_hang_the_job(
    raw: Path,
    log: Log,
    kind: str,
    mini_cifar10: Mini,
    serve: Callable[[Path], Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sources, "PAUSES", ())
    monkeypatch.setattr(sources, "TIMEOUT", 0.3)
    release = threading.Event()
    server = serve(mini_cifar10.root)
    server.answers["*"] = lambda _handler: release.wait(20)
    served(mini_cifar10, server, monkeypatch)
    try:
        with pytest.raises(FetchError, match="timed out"):
            fetch("cifar10", {"mirror": server.url} if kind == "mirror" else kind, raw, log=log)
    finally:
        release.set()


# --- faults of a server, for every dataset ---------------------------------------------------------------------


def hang(handler: Any) -> None:
    handler.server.released.wait(20)


def hang_at_half(handler: Any) -> None:
    page(200, b"x" * 50, length=100)(handler)
    hang(handler)


def drip(handler: Any) -> None:
    """A byte now and then, so that the server is never silent."""
    page(200, b"", length=1000)(handler)
    for _ in range(200):
        if handler.server.released.wait(0.05):
            break
        handler.wfile.write(b"x")


def redirect(handler: Any) -> None:
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.end_headers()


FAULTS: dict[str, tuple[Callable[[Any], None], str]] = {
    "hangs": (hang, "timed out"),
    "hangs at half": (hang_at_half, "timed out"),
    "drips": (drip, r"\d+ bytes in 0 s are too few"),
    "HTML": (page(200, HTML), r"HTML page"),
    "cut off at half": (page(200, b"x" * 50, length=100), r"IncompleteRead\(.*50 more expected\)"),
    "wrong bytes": (page(200, b"x" * 100), "100 bytes"),
    "a circle": (redirect, "answered 302 .*infinite loop"),
}


def test_every_dataset_that_comes_from_somewhere_meets_every_fault() -> None:
    (names,) = EVERY.args[1:]
    assert {*names} == {name for name, spec in DATASETS.items() if not spec.embedded}


@EVERY
@pytest.mark.parametrize("kind", ["mirror", "download"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_at_fault_is_named_in_time_and_leaves_nothing(
    mini: Mini,
    raw: Path,
    log: Log,
    kind: str,
    fault: str,
    serve: Callable[[Path], Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sources, "PAUSES", ())
    monkeypatch.setattr(sources, "TIMEOUT", 0.2)
    server, (answer, message) = serve(mini.root), FAULTS[fault]
    server.answers["*"] = answer
    first = next(iter(served(mini, server, monkeypatch).values()))
    url = f"{server.url}/{mini.files[0]}" if kind == "mirror" else first
    begin = time.monotonic()
    try:
        with pytest.raises(FetchError, match=rf"(?s){re.escape(url)}.*{message}") as caught:
            fetch(mini.name, {"mirror": server.url} if kind == "mirror" else kind, raw, log=log)
    finally:
        server.released.set()
    assert time.monotonic() - begin < 10
    assert f"data: {{{mini.name}: {{source: {{local: DIR}}}}}}" in str(caught.value), "what to do"
    assert "\n" not in str(caught.value)
    assert contents(raw) == {}


@EVERY
@pytest.mark.parametrize("kind", ["mirror", "download"])
def test_a_server_that_refuses_is_named_and_leaves_nothing(
    mini: Mini, raw: Path, log: Log, kind: str, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{closed_port}"
    patched(mini.name, monkeypatch, mirrors=(f"{url}/",))
    with pytest.raises(FetchError, match=rf"cannot fetch {url}/.*Connection refused.*local: DIR"):
        fetch(mini.name, {"mirror": url} if kind == "mirror" else kind, raw, log=log)
    assert contents(raw) == {}


def test_what_a_killed_fetch_has_left_goes(mini_cifar10: Mini, raw: Path, log: Log) -> None:
    first = raw / mini_cifar10.files[0]
    (raw / ".download-abc").mkdir(parents=True)
    (raw / ".download-abc" / "cifar.tar.gz").touch()
    first.parent.mkdir(exist_ok=True)
    first.with_name(f".{first.name}.123").touch()
    fetch("cifar10", {"local": str(mini_cifar10.root)}, raw, log=log)
    assert contents(raw) == published(mini_cifar10)
    assert not (raw / ".download-abc").exists()


# --- download, from the mirrors of the row ------------------------------------------------------------------


def files_of(download: str, mini: Mini) -> list[str]:
    """Return the raw files that come with one download: those of the archive, or one."""
    return mini.files if DATASETS[mini.name].archive else [download[1:]]


@BOTH
def test_download(
    mini: Mini, raw: Path, log: Log, serve: Callable[[Path], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(mini.root)
    downloads = served(mini, server, monkeypatch)
    fetch(mini.name, "download", raw, log=log)
    assert contents(raw) == published(mini)
    assert [path for path in raw.iterdir() if path.name.startswith(".")] == []
    assert server.requests == list(downloads)
    assert [line for line in log if "downloaded" in line] == [
        f"{mini.name}: downloaded {u}" for u in downloads.values()
    ]


@BOTH
@pytest.mark.parametrize("body", [b"rotten", HTML])
def test_a_bad_download_is_retried_then_reported(
    mini: Mini,
    raw: Path,
    log: Log,
    body: bytes,
    serve: Callable[[Path], Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve(mini.root)
    victim, url = list(served(mini, server, monkeypatch).items())[-1]
    server.answers[victim] = page(200, body)
    with pytest.raises(FetchError) as caught:
        fetch(mini.name, "download", raw, log=log)
    for part in (url, mini.md5(victim[1:]), md5(body), f"data: {{{mini.name}: {{source: {{local: DIR}}}}}}"):
        assert part in str(caught.value)
    assert ("HTML page" in str(caught.value)) == (body == HTML)
    assert server.requests.count(victim) == TRIES
    assert sorted(contents(raw)) == sorted(set(mini.files) - set(files_of(victim, mini)))  # what was good stays
    assert [path for path in raw.iterdir() if path.name.startswith(".")] == []


@BOTH
def test_only_what_is_missing_is_downloaded(
    mini: Mini, raw: Path, log: Log, serve: Callable[[Path], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(mini.name, {"local": str(mini.root)}, raw, log=log)
    victim = mini.files[-1]
    (raw / victim).unlink()
    kept = {file: (raw / file).stat().st_mtime_ns for file in mini.files[:-1]}
    server = serve(mini.root)
    downloads = served(mini, server, monkeypatch)
    fetch(mini.name, "download", raw, log=log)
    assert contents(raw) == published(mini)
    assert {file: (raw / file).stat().st_mtime_ns for file in kept} == kept
    assert server.requests == list(downloads)[-1:]


@BOTH
def test_a_download_that_passes_in_the_end(
    mini: Mini, raw: Path, log: Log, serve: Callable[[Path], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(mini.root)
    victim = next(iter(served(mini, server, monkeypatch)))

    def some_times(handler: Any) -> None:
        if server.requests.count(victim) == 2:
            del server.answers[victim]
        page(200, HTML)(handler)

    server.answers[victim] = some_times
    fetch(mini.name, "download", raw, log=log)
    assert contents(raw) == published(mini)
    assert sum("trying again" in line for line in log) == 2


@BOTH
def test_the_last_failure_of_a_download_is_the_one_reported(
    mini: Mini, raw: Path, log: Log, serve: Callable[[Path], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(mini.root)
    victim = next(iter(served(mini, server, monkeypatch)))

    def page_then_nothing(handler: Any) -> None:
        (page(200, HTML) if server.requests.count(victim) == 1 else NOT_FOUND)(handler)

    server.answers[victim] = page_then_nothing
    with pytest.raises(FetchError, match="404") as caught:
        fetch(mini.name, "download", raw, log=log)
    assert md5(HTML) in log[0]
    assert md5(HTML) not in str(caught.value)


@BOTH
def test_a_download_that_is_not_there_names_the_address_at_once(
    mini: Mini, raw: Path, log: Log, serve: Callable[[Path], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(mini.root)
    _, url = next(iter(served(mini, server, monkeypatch).items()))
    server.answers["*"] = NOT_FOUND
    with pytest.raises(FetchError, match="404") as caught:
        fetch(mini.name, "download", raw, log=log)
    assert url in str(caught.value)
    assert f"data: {{{mini.name}: {{source: {{local: DIR}}}}}}" in str(caught.value)
    assert len(server.requests) == 1


@BOTH
def test_the_second_mirror_is_used_and_why_is_logged(
    mini: Mini, raw: Path, log: Log, serve: Callable[[Path], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(mini.root)
    good = f"{server.url}{FOLDER.get(mini.name, '/')}"
    patched(mini.name, monkeypatch, mirrors=(f"{server.url}/empty/", good))
    fetch(mini.name, "download", raw, log=log)
    assert contents(raw) == published(mini)
    first = (DATASETS[mini.name].archive or DATASETS[mini.name].files[0]).name
    assert log[0].startswith(f"{server.url}/empty/{first} answered 404")
    assert log[0].endswith(f"trying {good}{first}")
    assert not any("trying again" in line for line in log)


def test_all_mirrors_are_tried_again_while_one_of_them_may_recover(
    mini_cifar10: Mini, raw: Path, log: Log, serve: Callable[[Path], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(mini_cifar10.root)
    archive = DATASETS["cifar10"].archive.name
    patched("cifar10", monkeypatch, mirrors=(f"{server.url}/busy/", f"{server.url}/empty/"))
    server.answers[f"/busy/{archive}"] = page(503, b"busy")
    with pytest.raises(FetchError) as caught:
        fetch("cifar10", "download", raw, log=log)
    assert server.requests == [f"/busy/{archive}", f"/empty/{archive}"] * TRIES
    for part in (f"{server.url}/busy/{archive} answered 503", f"{server.url}/empty/{archive} answered 404"):
        assert part in str(caught.value)
    assert str(caught.value).count("source: {local: DIR}") == 1
    assert contents(raw) == {}


@pytest.mark.parametrize("kind", ["mirror", "download"])
def test_names_are_quoted_in_addresses(
    raw: Path,
    tmp_path: Path,
    log: Log,
    kind: str,
    serve: Callable[[Path], Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = "part #1/100% é.gz"
    (tmp_path / "www" / "part #1").mkdir(parents=True)
    (tmp_path / "www" / path).write_bytes(b"content")
    server = serve(tmp_path / "www")
    patched("mnist", monkeypatch, files=(RawFile(path, md5(b"content")),), mirrors=(f"{server.url}/part%20%231/",))
    fetch("mnist", {"mirror": server.url} if kind == "mirror" else kind, raw, log=log)
    assert contents(raw) == {path: b"content"}


def archive_of(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, body in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return content.getvalue()


def test_an_archive_that_contradicts_the_row_is_reported(
    mini_cifar10: Mini, raw: Path, log: Log, serve: Callable[[Path], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own md5 being right, another try would change nothing."""
    first, *others = mini_cifar10.files
    bodies = published(mini_cifar10)
    server = serve(mini_cifar10.root)
    for content, message in (
        (b"no tar", "is no tar archive"),
        (archive_of({first: bodies[first], f"../{others[0]}": b"evil"}), f"does not hold {', '.join(others)}"),
        (archive_of({**bodies, others[0]: b"other"}), f"{others[0]} in .*: expected md5 .* got {md5(b'other')}"),
    ):
        server.requests.clear()
        patched("cifar10", monkeypatch, archive=RawFile("cifar-10-python.tar.gz", md5(content)))
        served(mini_cifar10, server, monkeypatch)
        server.answers["/cifar-10-python.tar.gz"] = page(200, content)
        with pytest.raises(FetchError, match=message):
            fetch("cifar10", "download", raw, log=log)
        assert len(server.requests) == 1
        assert set(contents(raw)) <= {first}
        assert not list(raw.parent.rglob("data_batch_2"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
@pytest.mark.parametrize("target", ["/etc/hostname", "../../evil", "cifar-10-batches-py/data_batch_1"])
def test_an_archive_writes_its_own_files_alone(
    kind: bytes,
    target: str,
    mini_cifar10: Mini,
    raw: Path,
    tmp_path: Path,
    log: Log,
    serve: Callable[[Path], Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever a member is called or leads to; one that is a link, a pipe or a folder is no file."""
    first, *others = mini_cifar10.files
    evil = {name: b"evil" for name in ("/tmp/evil", "../evil", f"{first}/../../../evil", "cifar-10-batches-py/evil")}
    content, packed = io.BytesIO(archive_of(published(mini_cifar10) | evil)), io.BytesIO()
    with tarfile.open(fileobj=content) as tar, tarfile.open(fileobj=packed, mode="w:gz") as out:
        for member in tar:
            body = tar.extractfile(member)
            if member.name == others[-1]:
                member.type, member.linkname, member.size = kind, target, 0
            out.addfile(member, body)
    server = serve(mini_cifar10.root)
    patched("cifar10", monkeypatch, archive=RawFile("cifar-10-python.tar.gz", md5(packed.getvalue())))
    served(mini_cifar10, server, monkeypatch)
    server.answers["/cifar-10-python.tar.gz"] = page(200, packed.getvalue())
    with pytest.raises(FetchError, match=f"does not hold {re.escape(others[-1])}"):
        fetch("cifar10", "download", raw, log=log)
    assert set(contents(raw)) == {first, *others[:-1]}
    assert not list(tmp_path.rglob("*evil*"))
    assert not Path("/tmp/evil").exists()


# --- embedded, and what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "digits-rgb"])
def test_embedded_needs_no_file(name: str, raw: Path, log: Log) -> None:
    fetch(name, "embedded", raw, log=log)
    assert raw.is_dir()
    assert contents(raw) == {}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("mnist", "embedded"),
        ("mnist", "local"),
        ("mnist", "donwload"),
        ("mnist", {"local": ""}),
        ("mnist", {"mirror": 5}),
        ("mnist", {"download": "x"}),
        ("mnist", {"local": "a", "mirror": "b"}),
        ("mnist", {}),
        ("mnist", None),
        ("digits", "download"),
        ("digits", {"local": "x"}),
    ],
)
def test_an_impossible_source_lists_the_possible_ones(name: str, source: Any, raw: Path, log: Log) -> None:
    allowed = "embedded" if name == "digits" else "download, {mirror: URL}, {local: DIR}"
    with pytest.raises(ValueError, match=re.escape(f"has no source {source!r}; allowed: {allowed}")):
        fetch(name, source, raw, log=log)


def test_a_mirror_must_be_http(raw: Path, log: Log) -> None:
    with pytest.raises(ValueError, match="'file:///data'"):
        fetch("mnist", {"mirror": "file:///data"}, raw, log=log)


def test_an_unknown_dataset_gets_the_nearest_name(raw: Path, log: Log) -> None:
    with pytest.raises(ValueError, match="did you mean 'cifar10'"):
        fetch("cifar-10", "download", raw, log=log)


def test_what_is_published_nowhere_cannot_be_downloaded(
    mini_mnist: Mini, raw: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched("mnist", monkeypatch, mirrors=())
    with pytest.raises(ValueError, match=re.escape("source 'download'; allowed: {mirror: URL}, {local: DIR}")):
        fetch("mnist", "download", raw, log=log)
    fetch("mnist", {"local": str(mini_mnist.root)}, raw, log=log)
    assert contents(raw) == published(mini_mnist)


# --- the real files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), [("mnist", 4), ("fmnist", 4), ("cifar10", 7)])
@pytest.mark.parametrize("kind", ["local", "mirror"])
def test_the_real_files_match_the_sums_of_their_row(
    name: str, count: int, kind: str, shared: Path, scratch: Path, log: Log, serve: Callable[[Path], Server]
) -> None:
    place = str(shared) if kind == "local" else serve(shared).url
    fetch(name, {kind: place}, scratch, log=log)
    found = [str(path.relative_to(scratch)) for path in scratch.rglob("*") if path.is_file()]
    assert sorted(found) == sorted(file.path for file in DATASETS[name].files)
    assert len(found) == count
    for file in DATASETS[name].files:
        assert not file.contents or md5(gzip.decompress((scratch / file.path).read_bytes())) == file.contents
