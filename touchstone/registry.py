"""Facts about what can be named in a study, readable without importing torch.

The tables ATTACKS, DEFENSES, MODELS, DATASETS and PLOTS map a name to one of the records below. `fn` is written
"module:function"; `load` imports it where it runs, `options` reads its signature from the source text, so
that a study is validated before any job starts and without torch.
"""

import ast
import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

NORMS = ("linf", "l2", "l1", "l0")
# what a minimal-norm attack has to do with epsilons: its distances are read at them; its points are cut back to each
# ball and judged again, as Foolbox does; nothing, it may go as far as it likes
BudgetRule = Literal["distance", "shrink_and_retest", "unbounded"]
OWN = "own"  # the loss that the attacked model was trained with
LossName = Literal["ce", "ce64", "mifpe", "margin", "dlr", "logistic", "raw", "own"]  # an attack's option `loss`
EXAMPLES = 16  # points of an attack that are kept as images, unless more are asked for
LOSSES: tuple[str, ...] = get_args(LossName)


class SourceError(ValueError):
    """A function's source cannot be read: no such file, no such function, or not Python."""


class Passes(NamedTuple):
    """Passes through a model that an image costs at most, times the product of some quantities.

    Attributes:
        forward: for logits; a gradient has one too.
        backward: for a gradient in the image.
        weights: for a gradient in the weights.
        of: quantities: options of the function, a word of yes or no counting as 1 or 0, and names in
            touchstone.plan.passes.QUANTITIES.
    """

    forward: float
    backward: float = 0
    weights: float = 0
    of: tuple[str, ...] = ()


Cost = tuple[Passes, ...]  # what an image costs at most is their sum


@dataclass(frozen=True)
class AttackSpec:
    """What the evaluation must know about an attack besides its function."""

    fn: str
    kind: Literal["none", "fixed", "minimal"]
    norms: tuple[str, ...]
    source: str
    criterion: Literal["misclassified", "confidence"] = "misclassified"  # confidence: option target_confidence
    budget_rule: Literal["ball"] | BudgetRule = "ball"  # a study may give a minimal-norm attack another one
    droppable: bool = True  # solved rows may leave the block
    coupled: bool = False  # rows influence one another: fixed batches, own forked RNG
    foreign: bool = False  # runs its option `target`, "module:function" of a library, with `options`
    wraps: tuple[str, ...] = ()  # attacks that its option `attack` may name (the first if none), run with `options`
    # of an image and radius, besides those of the attack that it wraps; None: nobody knows
    passes: Cost | None = None
    usual: float = 1.0  # share of them that was spent where it was measured: on what is broken an attack stops


@dataclass(frozen=True)
class DefenseSpec:
    """A training objective: `fn` builds an object with `setup` and `steps`.

    Attributes:
        fn: "module:function".
        source: where it is published.
        groups: what it steps besides the model, for which each phase needs settings.
        compiles: whether a compiled model serves it: not one that differentiates a gradient, or asks for features.
        passes: of a training image and epoch; None: nobody knows.
    """

    fn: str
    source: str
    groups: tuple[str, ...] = ()
    compiles: bool = True
    passes: Cost | None = None


@dataclass(frozen=True)
class ModelSpec:
    """An architecture: `fn(shape, classes, **preset, **options) -> nn.Module`; a study cannot change the preset."""

    fn: str
    source: str
    preset: Mapping[str, Any] = field(default_factory=dict)
    # whether it has a first convolution, of that name, for what is measured of weights; None if only the net knows
    conv1: bool | None = True
    library: str = ""  # the package whose classifiers the option `name` names, where its text says which there are


@dataclass(frozen=True)
class RawFile:
    """A published file.

    Attributes:
        path: below the folder of the dataset's raw files, with "/".
        md5: of its bytes, 32 hexadecimal digits.
        contents: md5 of what a gzip file holds, by which the same contents in another wrapping are known; "" where
            the file is no gzip file, or the sum is not known.
    """

    path: str
    md5: str
    contents: str = ""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def unpacked(self) -> "RawFile | None":
        """What a gzip file holds, as a file beside it; None where its sum is not known."""
        return RawFile(self.path.removesuffix(".gz"), self.contents) if self.contents else None

    def form_in(self, folder: Path) -> "RawFile | None":
        """Return the form in which a folder holds this file: as published, or unpacked; None if it does not."""
        return next((form for form in (self, self.unpacked) if form and (folder / form.path).is_file()), None)


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset: what its images are, and which published files hold them.

    Attributes:
        fn: "module:reader", a function `(raw_dir, validation) -> Parts` of verified files.
        shape: (C, H, W) of its images.
        classes: how many.
        mean: per channel, in [0, 1] pixels.
        std: per channel, in [0, 1] pixels.
        source: where it is published.
        validation: how many training images the fixed validation split holds.
        files: what the reader reads; none if a library embeds the data.
        archive: a tar that holds the files at their paths, where they are not published one by one.
        mirrors: URLs of folders, each ending with "/", of which any holds the archive, or the files, by name; tried in
            order. None if one cannot just download it.
        options: further keyword arguments of the reader, of data of the user's own.
        images: how many there are to train and to test on; None where only the files know.
    """

    fn: str
    shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    validation: int
    files: tuple[RawFile, ...] = ()
    archive: RawFile | None = None
    mirrors: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[int, int] | None = None

    @property
    def embedded(self) -> bool:
        """Whether it needs no file."""
        return not self.files


@dataclass(frozen=True)
class PlotSpec:
    """A figure: `read(drawing, results, *, options)` gives its data, `fn(data, *, options)` draws them.

    Attributes:
        fn: "module:function" that returns a matplotlib Figure.
        read: "module:function" of a `touchstone.plan.jobs.Drawing` and of where a run's results lie.
        data: what is read: a table of results by its name, or the files of `models`, or with them the `records` of
            attacks.
        needs: keys of a figure that say what of it is drawn and have to be given.
        takes: those that may be given.
    """

    fn: str
    read: str
    data: str
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


class Option(NamedTuple):
    """One keyword-only argument of a registered function; no default but a literal is known."""

    required: bool
    annotation: str
    default: Any = None


def is_own(name: str) -> bool:
    """Say whether a name stands for a function of the user's own, "module:function", and for no row of a table."""
    return ":" in name


def load(target: str) -> Callable[..., Any]:
    """Import "module:function"."""
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def find_code(folder: Path) -> None:
    """Let Python import what lies in a folder, here and in the processes that are started from here."""
    name, inherited = str(folder), os.environ.get("PYTHONPATH", "")
    if name not in sys.path:
        sys.path.insert(0, name)
    if name not in inherited.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (name, inherited)))


def is_elsewhere(module: str, folder: Path) -> bool:
    """Say whether Python has a module of that name without a folder, so that one in the folder would hide it."""
    if module in sys.stdlib_module_names:
        return True
    others = [place for place in sys.path if Path(place).resolve() != folder.resolve()]
    spec = PathFinder.find_spec(module, others)
    return spec is not None and spec.origin is not None  # without one it is a folder that nobody made a package


def module_path(module: str) -> Path:
    """Return the source file of a module without executing anything: neither it nor its parent packages.

    Raises:
        SourceError: if there is none.
    """
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top) if module.replace(".", "_").isidentifier() and top else None
    homes = [] if spec is None else [Path(home, *rest) for home in spec.submodule_search_locations or ()]
    if spec is not None and spec.origin is not None and not rest:
        homes.append(Path(spec.origin).with_suffix(""))
    for home in homes:
        for path in (home / "__init__.py", home.with_suffix(".py")):
            if path.is_file():
                return path
    file = f"; a module is named without .py: {module.removesuffix('.py')}" if module.endswith(".py") else ""
    raise SourceError(f"no source file for module {module!r}{file or meant(module, _modules_here())}")


def _modules_here() -> list[str]:
    """Return the names of the modules in the working folder."""
    return [path.stem for path in Path().glob("*.py")]


@cache
def options(target: str) -> dict[str, Option]:
    """Read the keyword-only arguments of "module:function" from its source; torch is not imported.

    For a class these are those of its `__init__`, or without one the annotated fields of its body (a dataclass) and of
    its bases within this package.

    Raises:
        SourceError: if there is no such function, or its file is not Python.
    """
    node, tree, module = _defined(target)
    if isinstance(node, ast.ClassDef):
        node = next((s for s in node.body if isinstance(s, ast.FunctionDef) and s.name == "__init__"), node)
    if isinstance(node, ast.FunctionDef):
        pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        return {a.arg: _option(a.annotation, d) for a, d in pairs}
    inherited = [options(base) for base in reversed(_bases(node, tree, module))]
    fields = [(s.target, s) for s in node.body if isinstance(s, ast.AnnAssign)]
    own = {name.id: _option(s.annotation, s.value) for name, s in fields if isinstance(name, ast.Name)}
    return {k: option for part in (*inherited, own) for k, option in part.items()}


def check_defined(target: str) -> None:
    """Raise SourceError if there is no function or class "module:name", or its file is not Python; nothing is run."""
    _defined(target)


@cache
def summary(target: str) -> str:
    """Read the first line of the docstring of "module:function" from its source; "" without one.

    Raises:
        SourceError: as `options` does.
    """
    said = ast.get_docstring(_defined(target)[0]) or ""
    return said.partition("\n")[0]


def with_defaults(target: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of "module:function", those that are not given at their defaults."""
    return {**{name: option.default for name, option in options(target).items()}, **given}


@cache
def constants(target: str) -> dict[str, Any]:
    """Read the constants `name = literal` in the body of the class "module:class" from its source; none of a function.

    Raises:
        SourceError: as `options` does.
    """
    node, _, _ = _defined(target)
    plain = [s for s in node.body if isinstance(s, ast.Assign)] if isinstance(node, ast.ClassDef) else []
    found: dict[str, Any] = {}
    for statement in plain:
        with suppress(ValueError):  # of what is no literal
            value = ast.literal_eval(statement.value)
            found |= {name.id: value for name in statement.targets if isinstance(name, ast.Name)}
    return found


@cache
def keywords(target: str) -> frozenset[str] | None:
    """Read which keyword arguments "module:function" takes, or a class when it is made; None if it takes any.

    It may be imported into the module from elsewhere in its package, as libraries do.

    Raises:
        SourceError: if there is no such function.
    """
    node, _, _ = _defined(target)
    made = node
    if isinstance(node, ast.ClassDef):
        made = next((s for s in node.body if isinstance(s, ast.FunctionDef) and s.name == "__init__"), node)
    if not isinstance(made, ast.FunctionDef) or made.args.kwarg:
        return None
    bound = isinstance(node, ast.ClassDef)  # whose first argument is itself
    return frozenset(argument.arg for argument in (*made.args.args[bound:], *made.args.kwonlyargs))


@cache
def registered(package: str) -> frozenset[str]:
    """Read the names of the functions under `@register_model(...)` in the modules of a package, as torchvision has it.

    Raises:
        SourceError: if there is no such package.
    """
    found = set[str]()
    for path in module_path(package).parent.glob("*.py"):
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.FunctionDef):
                found |= {node.name for mark in node.decorator_list if ast.unparse(mark) == "register_model()"}
    return frozenset(found)


def _defined(target: str) -> tuple[ast.FunctionDef | ast.ClassDef, ast.Module, str]:
    """Return the definition of a function or class, the content of the file that it stands in, and that module."""
    module, _, name = target.partition(":")
    path = module_path(module)
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise SourceError(f"{path}:{error.lineno or 1}: not valid Python: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: not valid Python: {error}") from error
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node, tree, module
    if (origin := _origin(tree, path, module, name)) is not None:
        return _defined(origin)
    there = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    hint = meant(name, there) or " by `def` or `class` at its top level"
    raise SourceError(f"no function or class {name!r} in module {module!r}{hint}")


def _origin(tree: ast.Module, path: Path, module: str, name: str) -> str | None:
    """Say what a name of a module was imported as, or stands for, "module:name"; None if it was not."""
    parts = module.split(".")
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            home = parts[: len(parts) - node.level + (path.name == "__init__.py")] if node.level else []
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return f"{'.'.join([*home, *filter(None, [node.module])])}:{alias.name}"
        match node:
            case ast.Assign([ast.Name(given)], ast.Name(other)) if given == name:
                return f"{module}:{other}"
    return None


def _bases(node: ast.ClassDef, tree: ast.Module, module: str) -> list[str]:
    """Return those bases of a class, as "module:class", that are defined in its file or imported from this package."""
    homes = {n.name: module for n in tree.body if isinstance(n, ast.ClassDef)}
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module and statement.module.split(".")[0] == __package__:
            homes |= {alias.asname or alias.name: statement.module for alias in statement.names}
    return [f"{homes[base.id]}:{base.id}" for base in node.bases if isinstance(base, ast.Name) and base.id in homes]


def _option(annotation: ast.expr | None, default: ast.expr | None) -> Option:
    value = default.value if isinstance(default, ast.Constant) else None
    return Option(default is None, ast.unparse(annotation) if annotation else "", value)


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which names exist and which one was probably meant: text for the end of an error message."""
    known = sorted(names)
    return f"allowed: {', '.join(known) or 'none'}{meant(name, known)}"


def counted(number: int, noun: str, nouns: str = "") -> str:
    """Return "1 seed" or "2 seeds"."""
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def rounded(value: float) -> str:
    """Write a number of 10 or more as a whole one, a smaller one with two digits."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def values_of(channels: int) -> str:
    """Return "1 value" or "1 or 3 values": how many a first layer may have of each kind."""
    return "1 value" if channels == 1 else f"1 or {channels} values"


CLOSE = 0.65  # of difflib: lower ones suggest what nobody meant


def meant(name: str, names: Iterable[str]) -> str:
    """Say which name was probably meant: text for the end of an error message, "" where none is close or begins so."""
    known = {one.lower(): one for one in names if one != name}
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=CLOSE)
    close = close or [one for one in known if name and one.startswith(name.lower())]
    return f"; did you mean {known[close[0]]!r}?" if close else ""


LONGEST_TEXT = 2000  # characters of a message: longer than every list of allowed names


def readable(text: str) -> str:
    """Return a message on one line: the middle of one that is too long is cut out, what is no text is escaped."""
    left_out = len(text) - LONGEST_TEXT
    if left_out > 0:
        half = LONGEST_TEXT // 2
        text = f"{text[:half]} [{left_out:,} characters left out] {text[-half:]}"
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
