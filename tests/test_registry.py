"""Signatures are read without importing, and unknown names get a hint."""

import subprocess
import sys
from pathlib import Path

import pytest

from touchstone import registry


def test_options_of_a_function_and_of_a_dataclass() -> None:
    pgd = registry.options("touchstone.attacks.pgd:pgd")
    assert pgd["norm"].required
    assert pgd["steps"] == registry.Option(required=False, annotation="Count", default=40)
    minmax = registry.options("touchstone.defenses.minmax:MinMax")
    assert minmax["lam"] == registry.Option(required=True, annotation="NotNegative")
    assert minmax["layers"] == registry.Option(required=False, annotation="Literal['conv', 'conv1']", default="conv")
    assert pgd["step_sizes"].default is None  # no literal


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("touchstone.nowhere:x", "no source file for module 'touchstone.nowhere'"),
        ("touchstone.rng:nothing", "no function or class 'nothing'"),
    ],
)
def test_wrong_targets(target: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        registry.options(target)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"import x\ndef f(:\n", r"broken\.py:2: not valid Python: invalid syntax"),
        (b"x = '\xff'\n", r"broken\.py:\d: not valid Python"),
        (b"def f(): 0\0\n", r"broken\.py:.*not valid Python: .*null bytes"),
    ],
)
def test_a_source_that_is_not_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: bytes, message: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken.py").write_bytes(source)
    with pytest.raises(registry.SourceError, match=message):
        registry.options("broken:f")


def test_nearest() -> None:
    assert registry.nearest("pdg", ["pgd", "fgsm"]) == "allowed: fgsm, pgd; did you mean 'pgd'?"
    assert registry.nearest("zzz", ["pgd", "fgsm"]) == "allowed: fgsm, pgd"


def test_the_plan_is_made_without_torch(root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from touchstone.plan import plan;"
        f"plan.make_plan(Path({str(root)!r}), Path({str(root)!r}) / 'config.yaml');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
