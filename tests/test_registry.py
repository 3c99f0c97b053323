"""Signatures are read without importing, and unknown names get a hint."""

import os
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
        ("nets.py:Net", "no source file for module 'nets.py'; a module is named without .py: nets"),
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


PLANNING = """
import sys
from pathlib import Path

from touchstone.plan import build, plan

for name in sys.argv[1:]:
    made = plan.make_plan(Path(), Path(name))
    for model in {model.study: model for model in made.models}.values():
        build.train_job(made, model).to_params()
        for batch in made.batches(model):
            build.batch_job(made, model, batch).to_params()
        build.tables_job(made, model.study).to_params()
    print(name, "torch" in sys.modules)
"""


def test_every_config_is_planned_without_torch(root: Path) -> None:
    files = ["config.yaml", "tests/config.yaml", *(str(p.relative_to(root)) for p in root.glob("configs/*.yaml"))]
    assert {"configs/paper.yaml", "configs/laptop.yaml"} < {*files}
    done = subprocess.run(
        [sys.executable, "-c", PLANNING, *files], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == [f"{name} False" for name in files], done.stderr


def test_own_code_is_found_by_later_processes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])  # as where it lies in the working directory
    monkeypatch.setenv("PYTHONPATH", "before")
    for _ in range(2):
        registry.find_code(tmp_path)
    assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(tmp_path), "before"]
    assert sys.path.count(str(tmp_path)) == 1


def test_a_message_is_one_line_that_can_be_read() -> None:
    assert registry.readable("not 'é' but \x1b[31m\nred\u202e") == r"not 'é' but \x1b[31m\nred\u202e"
    assert registry.readable("a" * 2000) == "a" * 2000
    assert registry.readable("a" + "b" * 5000 + "c") == f"a{'b' * 999} [3,002 characters left out] {'b' * 999}c"


def test_a_module_of_the_folder_that_was_misspelt_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mynets.py").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(registry.SourceError, match=r"no source file for module 'mynetz'; did you mean 'mynets'\?"):
        registry.module_path("mynetz")
