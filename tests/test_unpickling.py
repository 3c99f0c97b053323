"""Other people's files are read as data: nothing is unpickled, evaluated or unpacked but what is named here."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import nbformat
import pytest

from touchstone import provenance

PACKAGE = Path(provenance.__file__).parent
ROOT = PACKAGE.parent
RULES = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
NOTEBOOKS = [*(ROOT / "reports").glob("*.ipynb")]
MODULES = [path for part in (PACKAGE, ROOT / "workflow", ROOT / "benchmarks") for path in part.rglob("*.py")]
CODE = [*MODULES, *RULES, *NOTEBOOKS]
# what runs what it reads, or writes where an archive says; `*` is any module
RUNNING = (
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "_pickle.*", "dill.*", "cloudpickle.*", "joblib.load"),
    *("torch.load", "torch.jit.load", "torch.package.*", "torch.hub.load", "torch.hub.load_state_dict_from_url"),
    *("numpy.load", "pandas.read_pickle", "pandas.eval", "marshal.load", "marshal.loads", "shelve.open"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load*", "yaml.full_load*"),
    *("eval", "exec", "builtins.eval", "builtins.exec", "runpy.*", "code.*", "codeop.*"),
    *("os.system", "os.popen", "os.exec*", "os.spawn*", "os.posix_spawn*", "os.startfile", "pty.spawn"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell"),
    *("shell", "snakemake.shell.*"),  # of Snakemake
    *("shutil.unpack_archive", "*.extractall", "*.extract"),
)
HARMLESS = {"weights_only": True, "allow_pickle": False}  # an argument with which such a call reads data alone
# where it is done all the same, and why
MEANT = {
    ("touchstone/models/given.py", "torch.load"): "at the user's word, `--unsafe-unpickle`",
    ("touchstone/data/readers.py", "pickle.loads"): "CIFAR's own batches after their md5 has matched",
    ("touchstone/ranges.py", "eval"): "of an annotation whose words are all known",
    ("benchmarks/gpu/wheels.py", "archive.extractall"): "of a package's wheels, on a machine that is thrown away",
}
# what of a rule is given to a shell, or is code; `script` alone is a file of ours
DIRECTIVES = re.compile(r"^\s*(shell|run|notebook|wrapper|cwl|template_engine)\s*:", flags=re.MULTILINE)


def python(path: Path) -> str:
    """The code of a file as Python: a module's, a notebook's cells, of rules the names alone, each as a call."""
    if path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        return "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    text = path.read_text()
    return "\n".join(of_rules(text)) if path in RULES else text


def of_rules(text: str) -> Iterator[str]:
    """Yield the imports of rules, which are not Python, and every dotted name in them."""
    said = (line.partition("#")[0].strip() for line in text.splitlines())
    yield from (line for line in said if re.match(r"(from \S+ )?import ", line))
    name = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and not name.endswith("."):
            name = ""
        if token.type == tokenize.NAME or (token.string == "." and name):
            name += token.string
            continue
        if name.replace(".", "").isidentifier() and not name.endswith(".") and is_name(name):
            yield name
        name = ""


def is_name(text: str) -> bool:
    try:
        return isinstance(ast.parse(text, mode="eval").body, ast.Name | ast.Attribute)
    except SyntaxError:  # a keyword
        return False


def named(tree: ast.AST) -> dict[str, str]:
    """Return what the names that are imported anywhere in a file stand for."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.asname: one.name for one in node.names if one.asname}
        elif isinstance(node, ast.ImportFrom):
            assert "*" not in {one.name for one in node.names}
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return names


def running(code: str) -> Iterator[str]:
    """Yield what a file names that runs what it reads, called or not."""
    tree = ast.parse(code)
    names = named(tree)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            first, dot, rest = ast.unparse(node).partition(".")
            name, call = names.get(first, first) + dot + rest, calls.get(id(node))
            said = {one.arg: getattr(one.value, "value", None) for one in call.keywords} if call else {}
            shell = name.startswith("subprocess.") and said.get("shell", False) is not False
            harmless = any(said.get(key) is value for key, value in HARMLESS.items())
            if shell or (not harmless and any(fnmatchcase(name, pattern) for pattern in RUNNING)):
                yield name


def test_nothing_is_unpickled_evaluated_or_given_to_a_shell() -> None:
    assert {path.suffix for path in CODE} == {".py", ".smk", ".ipynb", ""}
    assert {(str(path.relative_to(ROOT)), name) for path in CODE for name in running(python(path))} == MEANT.keys()


def test_no_rule_is_a_text_for_a_shell() -> None:
    assert [path for path in RULES if DIRECTIVES.search(path.read_text())] == []


@pytest.mark.parametrize(
    ("code", "does"),
    [
        ("pickle.loads(b)", True),
        ("torch.load(f)", True),
        ("torch.load(f, weights_only=False)", True),
        ("torch.load(f, weights_only=True)", False),
        ("import numpy as np; np.load(f)", True),
        ("import numpy as np; np.load(f, allow_pickle=True)", True),
        ("import numpy as np; np.load(f, allow_pickle=False)", False),
        ("safetensors.torch.load_file(f)", False),
        ("archive.extractall(f)", True),
        ("eval(text)", True),
        ("model.eval()", False),
        ("subprocess.run(f'ls {x}', shell=True)", True),
        ("subprocess.run(f'ls {x}', shell=said)", True),
        ("subprocess.run(['ls', x])", False),
        ("subprocess.getoutput(x)", True),
        ("os.execvp('sh', x)", True),
        ("os.spawnlp(0, 'sh', x)", True),
        ("import os as o; o.system(x)", True),
        ("from os import system as s; s(x)", True),
        ("from os import path as s; s.join(x)", False),
        ("from torch import jit; jit.load(f)", True),
        ("import torch.hub as h; h.load(f)", True),
        ("list(map(os.system, x))", True),
        ("do = eval", True),
    ],
)
def test_what_counts(code: str, does: bool) -> None:
    assert bool([*running(code)]) == does


@pytest.mark.parametrize(
    ("rules", "does"),
    [
        ("rule a:\n    params:\n        x=lambda w: os.system(w.x),\n", True),
        ("from os import system as s\n\n\ndef f(x):\n    return s(x)\n", True),
        ("def f(x):\n    import pickle as p  # slow\n\n    return p.load(x)\n", True),
        ("def f(x):\n    shell(x)\n", True),
        ("import numpy as np\n\nrule a:\n    input:\n        np.load(f),\n", True),
        ('rule a:\n    input:\n        x=os.path.exists(f),\n    script:\n        "a.py"\n', False),
    ],
)
def test_what_counts_in_rules(rules: str, does: bool) -> None:
    assert bool([*running("\n".join(of_rules(rules)))]) == does


@pytest.mark.parametrize("line", ["    shell:", "    run:", "    notebook: x"])
def test_what_of_a_rule_is_for_a_shell(line: str) -> None:
    assert DIRECTIVES.search(f"rule a:\n{line}\n")
