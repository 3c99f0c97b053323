"""Digests change with code and with nothing else; records say what produced a run."""

import sys
from pathlib import Path

import pytest

from touchstone import provenance
from touchstone.files import DamagedError, write_sealed
from touchstone.paths import Results, attempt_beside


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that stands in for ours: a -> b, c alone."""
    folder = tmp_path / "gauge"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Package."""\nTABLE = {}\n')
    (folder / "a.py").write_text("from gauge.b import g\n\ndef f():\n    return g()\n")
    (folder / "b.py").write_text('"""Doc."""\n\ndef g():\n    """Doc."""\n    return 1  # one\n')
    (folder / "c.py").write_text("def h():\n    return 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "gauge", raising=False)
    monkeypatch.setattr(provenance, "PACKAGE", "gauge")
    return folder


def digest(target: str = "gauge.a:f") -> str:
    for cached in (
        provenance._tree,
        provenance._fingerprint,
        provenance._imports,
        provenance._is_ours,
        provenance._is_package,
    ):
        cached.cache_clear()
    return provenance.digest(target)


@pytest.mark.usefixtures("package")
def test_reach_follows_imports() -> None:
    digest()
    assert [m for m in provenance.reached(["gauge.a"]) if m != "gauge"] == ["gauge.a", "gauge.b"]


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("b.py", "return 1", "return 2", True),
        ("a.py", "return g()", "return g() + 0", True),
        ("b.py", "# one", "# uno", False),
        ("b.py", '"""Doc."""', '"""Other words."""', False),
        ("b.py", "\n\ndef", "\n\n\n\ndef", False),
        ("c.py", "return 3", "return 4", False),
        ("__init__.py", "TABLE = {}", "TABLE = {1: 2}", False),
    ],
)
def test_the_digest_sees_code_that_is_reached(package: Path, file: str, old: str, new: str, changes: bool) -> None:
    before = digest()
    path = package / file
    path.write_text(path.read_text().replace(old, new))
    assert (digest() != before) is changes


@pytest.mark.parametrize(
    ("files", "target", "edited"),
    [
        ({"nets9.py": "import parts9\n", "parts9.py": "SIZE = 1\n"}, "nets9:net", "parts9.py"),
        ({"nets9.py": "from parts9 import SIZE\n", "parts9.py": "SIZE = 1\n"}, "nets9:net", "parts9.py"),
        ({"mine9/__init__.py": "", "mine9/nets.py": "from .parts import SIZE\n", "mine9/parts.py": "SIZE = 1\n"},
         "mine9.nets:net", "mine9/parts.py"),
        ({"mine9/__init__.py": "", "mine9/nets.py": "from . import parts\n", "mine9/parts.py": "SIZE = 1\n"},
         "mine9.nets:net", "mine9/parts.py"),
        ({"mine9/__init__.py": "", "mine9/nets.py": "import parts9\n", "parts9.py": "SIZE = 1\n"},
         "mine9.nets:net", "parts9.py"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("package")
def test_the_digest_sees_what_the_users_own_net_is_made_of(
    tmp_path: Path, files: dict[str, str], target: str, edited: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = digest(target)
    (tmp_path / edited).write_text("SIZE = 2\n")
    assert digest(target) != before
    for name in [name for name in sys.modules if name.split(".")[0] in ("mine9", "nets9", "parts9")]:
        del sys.modules[name]


def test_the_digest_stops_at_libraries() -> None:
    """torchvision imports torch: neither the time nor the text of that is for a digest."""
    tops = {name.split(".")[0] for name in provenance.reached(["torchvision.models.resnet"])}
    assert tops == {"torchvision"}


def test_a_job_stops_when_its_code_changed(package: Path) -> None:
    before = digest()
    provenance.check_unchanged(before, ["gauge.a:f"])
    (package / "b.py").write_text("def g():\n    return 5\n")
    digest()
    with pytest.raises(RuntimeError, match="changed while the run was going on"):
        provenance.check_unchanged(before, ["gauge.a:f"])


def test_what_is_named_counts_even_if_it_is_bookkeeping() -> None:
    assert provenance.digest("touchstone.files:write_yaml") != provenance.digest("touchstone.provenance:record")


def test_bookkeeping_does_not_retrain() -> None:
    reached = provenance.reached(["touchstone.jobs.train"])
    assert "touchstone.provenance" in reached
    assert "touchstone.evaluation.cascade" not in reached


def test_versions_and_machine() -> None:
    versions = provenance.versions()
    assert versions["torch"].split(".")[0].isdigit()
    machine = provenance.machine()
    assert machine["cores"] >= 1
    assert machine["memory_gb"] > 0


def test_revision_outside_a_checkout(tmp_path: Path) -> None:
    assert provenance.revision(tmp_path) == "not a checkout"


def test_record_adds_up_the_jobs(tmp_path: Path) -> None:
    folder = tmp_path / "benchmarks" / "train"
    folder.mkdir(parents=True)
    results = Results(tmp_path)
    for name, seconds in (("a", 1.5), ("b", 2.5)):
        (folder / f"{name}.tsv").write_text(f"s\th:m:s\n{seconds}\t0:00:01\n")
    write_sealed(results.machine("train/a"), {"cpu": "fast"})
    record = provenance.record(results, "snakemake --cores all")
    assert record["machines"] == [{"cpu": "fast", "jobs": ["train/a"]}, {"jobs": ["train/b"]}]
    results.machine("train/a").write_text("{")
    with pytest.raises(DamagedError, match=r"a\.json cannot be used"):
        provenance.record(results, "")
    assert record["job_seconds"] == {"train": 4.0}
    assert record["seconds"] == 4
    assert record["broken_off"] == 0
    assert record["command"] == "snakemake --cores all"


def test_attempts_that_were_broken_off_are_counted_for_their_seconds_are_not(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.benchmark("train", "a").parent.mkdir(parents=True)
    results.benchmark("train", "a").write_text("s\th:m:s\n1.5\t0:00:01\n")
    results.log("train").parent.mkdir(parents=True)
    for job, attempt in (("a", 1), ("a", 2), ("still running", 1)):
        attempt_beside(results.log("train", job), attempt).touch()
    assert provenance.record(results, "")["broken_off"] == 2


@pytest.mark.parametrize("content", [b"", b"s\th:m:s\n", b"s\th:m:s\n\xff\t0:00:01\n", b"s\th:m:s\n-\t-\n"])
def test_the_seconds_of_a_job_that_cannot_be_read_are_named(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "benchmarks" / "train"
    folder.mkdir(parents=True)
    (folder / "a.tsv").write_bytes(content)
    with pytest.raises(DamagedError, match=r"a\.tsv cannot be used: .* run snakemake again \(rule train\)"):
        provenance.record(Results(tmp_path), "")


def test_a_run_without_the_seconds_of_its_jobs_has_none(tmp_path: Path) -> None:
    record = provenance.record(Results(tmp_path), "")
    assert (record["seconds"], record["job_seconds"], record["machines"]) == (0, {}, [])
    assert record["started"] == record["finished"]
