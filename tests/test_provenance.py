"""Digests change with code and with nothing else; records say what produced a run."""

import sys
from pathlib import Path

import pytest

from touchstone import provenance


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
    for cached in (provenance._tree, provenance._fingerprint, provenance._imports, provenance._is_module):
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
    assert "touchstone.evaluation.loop" not in reached


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
    for name, seconds in (("a", 1.5), ("b", 2.5)):
        (folder / f"{name}.tsv").write_text(f"s\th:m:s\n{seconds}\t0:00:01\n")
    record = provenance.record(tmp_path, "snakemake --cores all")
    assert record["job_seconds"] == {"train": 4.0}
    assert record["seconds"] == 4
    assert record["command"] == "snakemake --cores all"
