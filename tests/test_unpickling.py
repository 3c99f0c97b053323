"""Other people's files are read as data: nothing is unpickled, evaluated or unpacked but what is named here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from touchstone import provenance

PACKAGE = Path(provenance.__file__).parent
ROOT = PACKAGE.parent
CODE = [*PACKAGE.rglob("*.py"), *(ROOT / "workflow").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
# module -> the calls of it that run what they read, or write where an archive says
RUNNING = {
    "pickle": ("load", "loads", "Unpickler"),
    "torch": ("load",),
    "torch.jit": ("load",),
    "torch.hub": ("load", "load_state_dict_from_url"),
    "numpy": ("load",),
    "pandas": ("read_pickle", "eval"),
    "joblib": ("load",),
    "marshal": ("load", "loads"),
    "shelve": ("open",),
    "yaml": ("load", "load_all", "unsafe_load", "full_load"),
    "os": ("system", "popen"),
    "shutil": ("unpack_archive",),
    "": ("eval", "exec"),  # built in
    "*": ("extractall", "extract"),  # of any archive
}
HARMLESS = {"weights_only": True, "allow_pickle": False}  # an argument that makes such a call read data alone
# where it is done all the same, and why
MEANT = {
    ("touchstone/models/given.py", "torch.load"): "at the user's word, `--unsafe-unpickle`",
    ("touchstone/data/readers.py", "pickle.loads"): "CIFAR's own batches after their md5 has matched",
    ("touchstone/ranges.py", "eval"): "of an annotation whose words are all known",
    ("benchmarks/gpu/wheels.py", "archive.extractall"): "of a package's wheels, on a machine that is thrown away",
}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a file, with the dotted name of what is called."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def runs(name: str, call: ast.Call) -> bool:
    module, _, function = name.rpartition(".")
    module = {"np": "numpy", "pd": "pandas"}.get(module, module)
    named = function in RUNNING.get(module, ()) or (module and function in RUNNING["*"])
    said = {one.arg: getattr(one.value, "value", None) for one in call.keywords}
    shell = name.startswith("subprocess.") and said.get("shell", False) is not False
    return shell or bool(named and not any(said.get(key) is value for key, value in HARMLESS.items()))


def test_nothing_is_unpickled_evaluated_or_given_to_a_shell() -> None:
    found = {(str(path.relative_to(ROOT)), name) for path in CODE for name, call in calls(path) if runs(name, call)}
    assert found == MEANT.keys()


def test_no_such_function_is_imported_by_its_name() -> None:
    """So that every call shows whose it is."""
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not {alias.name for alias in node.names} & {*RUNNING.get(node.module or "", ())}, path


@pytest.mark.parametrize(
    ("code", "does"),
    [
        ("pickle.loads(b)", True),
        ("torch.load(f)", True),
        ("torch.load(f, weights_only=False)", True),
        ("torch.load(f, weights_only=True)", False),
        ("np.load(f)", True),
        ("np.load(f, allow_pickle=True)", True),
        ("np.load(f, allow_pickle=False)", False),
        ("safetensors.torch.load_file(f)", False),
        ("archive.extractall(f)", True),
        ("eval(text)", True),
        ("model.eval()", False),
        ("subprocess.run(f'ls {x}', shell=True)", True),
        ("subprocess.run(['ls', x])", False),
    ],
)
def test_what_counts(code: str, does: bool) -> None:
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    assert runs(ast.unparse(call.func), call) == does
