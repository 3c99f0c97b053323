"""Read a YAML file into a typed model, and say what is wrong with it: file, line, key, value, what is allowed.

The file is read here and not taken from Snakemake's `config`, which has merged files and lost the lines.
Nothing here imports torch.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
)
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from touchstone.registry import counted, nearest, readable

SLUG = r"[a-z0-9][a-z0-9+-]*"
Slug = Annotated[str, StringConstraints(pattern=f"^{SLUG}$", max_length=64)]  # it is a part of paths
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Key = tuple[str | int, ...]
Definition = TypeVar("Definition", bound=BaseModel)


def _once(values: list[Any]) -> list[Any]:
    for value in values:
        if values.count(value) > 1:
            raise PydanticCustomError("repeated", "{value} is there twice", {"value": repr(value)})
    return values


Once = AfterValidator(_once)  # of a list: nothing in it twice


def _named(text: str) -> str:
    try:
        Path(text).expanduser()
    except RuntimeError:
        raise PydanticCustomError("place", "begins with the folder of a user whom nobody knows") from None
    if len(text) > LONGEST_PATH or any(len(part.encode()) > LONGEST_NAME for part in text.split("/")):
        raise PydanticCustomError("place", "is longer than a path can be")
    return text


LONGEST_PATH, LONGEST_NAME = 1024, 255  # characters, with room for the folder it is in; bytes of each part of it
Place = Annotated[str, StringConstraints(min_length=1), AfterValidator(_named)]  # of a file or folder

DEEPEST = 100  # brackets or lists within one another; to go on to Python's own limit costs seconds
MOST_VALUES = 100_000  # of a file; pdpgd's study, the longest, has 3,000
MOST_SHOWN = 200  # problems
# what nobody sees in a text, and what a PDF, an SVG or a terminal cannot take: control characters but line break and
# tab, other breaks of lines, marks that turn the direction of writing, halves of characters
UNSEEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
NO_UNSEEN = "must have no control characters and no marks of direction"


class ConfigError(ValueError):
    """Everything that is wrong with the configuration, a line per problem, each once and none too long to read."""

    def __init__(self, problems: Sequence[str]) -> None:
        # several studies find the same in worst.yaml
        self.problems = list(dict.fromkeys(map(readable, problems)))
        more = len(self.problems) - MOST_SHOWN
        rest = [f"... and {more:,} more"] if more > 0 else []
        head = counted(len(self.problems), "problem")
        super().__init__("\n".join([f"{head}:", *self.problems[:MOST_SHOWN], *rest]))


class Strict(BaseModel):
    """A model that knows all of its keys, takes values of their types alone, and whose numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Mirror(Strict):
    """A plain HTTP directory with the raw files in torchvision's layout."""

    mirror: Annotated[str, StringConstraints(pattern=r"^https?://")] = Field(description="URL of the directory")


class Local(Strict):
    """A directory on disk with the raw files at the paths of the dataset's row, or data of the user's own."""

    local: Place = Field(description="the directory; of data of your own the file or folder")


def _kind_of_source(value: Any) -> str | None:
    """Say which form of a source is meant, so that what is wrong is said of that one."""
    if isinstance(value, Mirror | Local):
        return type(value).__name__
    if isinstance(value, dict):
        return {("mirror",): "Mirror", ("local",): "Local"}.get(tuple(value))
    return "word" if value in ("embedded", "download") else None


SOURCES = "embedded, download, {mirror: URL} or {local: PATH}"


class DataSource(Strict):
    """Where a dataset's raw files come from."""

    source: Annotated[
        Annotated[Literal["embedded", "download"], Tag("word")]
        | Annotated[Mirror, Tag("Mirror")]
        | Annotated[Local, Tag("Local")],
        Discriminator(_kind_of_source, custom_error_type="source", custom_error_message=f"should be {SOURCES}"),
    ] = Field(
        description="embedded (in scikit-learn), download (from where it is published), {mirror: URL} or {local: PATH}"
    )


class Where(Strict):
    """Which cells a cap applies to; every key that is given must match."""

    study: Slug | None = Field(default=None, description="a study of the run")
    dataset: Slug | None = Field(default=None, description="a dataset of the study, not what stands in for it")
    model: Slug | None = Field(default=None, description="an architecture")
    defense: Slug | None = Field(default=None, description="a defense")
    attack: Slug | None = Field(default=None, description="an attack, or a worst case by its norm, worst-<norm>")


class Cap(Strict):
    """Upper limits on what a recipe or an attack asks for; the smallest that applies counts."""

    where: Where = Field(default=Where(), description="which cells it applies to; all of them if left out")
    epochs: Count | None = Field(default=None, description="epochs of each phase of a training")
    seeds: Count | None = Field(default=None, description="seeds per model, or that an attack runs on")
    samples: Count | None = Field(default=None, description="test images per attack")
    steps: Count | None = Field(
        default=None, description="steps of an attack; each is lengthened so that steps x length stays as it was"
    )
    attack_steps: Count | None = Field(
        default=None, description="steps of the attack within a training, lengthened alike"
    )
    restarts: Count | None = Field(default=None, description="restarts of an attack")
    binary_steps: Count | None = Field(default=None, description="steps of the search for C&W's constant")
    queries: Count | None = Field(default=None, description="queries of a black-box attack")
    assignments: Count | None = Field(default=None, description="pages of a net's adversarial images for people")


class Only(Strict):
    """Which part of the studies to run; an empty list means all of it. `clean` runs on every model anyway."""

    datasets: Annotated[list[Slug], Once] = Field(default=[], description="datasets of the studies")
    models: Annotated[list[Slug], Once] = Field(default=[], description="architectures")
    defenses: Annotated[list[Slug], Once] = Field(default=[], description="defenses")
    attacks: Annotated[list[Slug], Once] = Field(
        default=[], description="attacks, and worst cases by their norm, worst-<norm>"
    )


class Checkpoints(Strict):
    """How often a training saves what it needs to go on after a kill: whichever comes first; None: not by this."""

    epochs: Count | None = Field(default=None, description="after so many epochs")
    minutes: Annotated[float, Field(gt=0)] | None = Field(default=10.0, description="after so many minutes")


class Config(Strict):
    """One run. Each config file is complete in itself."""

    run: Slug = Field(description="name of the run, and of its folder below results/")
    studies: Annotated[list[Slug], Field(min_length=1), Once] = Field(description="folders below studies/")
    device: Literal["cpu", "cuda"] = Field(description="cpu or cuda")
    threads: Annotated[int, Field(ge=1, le=1024)] = Field(
        description="CPU threads of one job; they decide the last bits of a result"
    )
    jobs: Literal["per_attack", "per_norm", "per_model"] = Field(
        description="a job runs one attack on a model (per_attack), all in a norm (per_norm), or all (per_model)"
    )
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        description="rows per call of a model; halved where memory runs out"
    )
    data: dict[Slug, DataSource] = Field(description="where the raw files of each dataset come from")
    stand_in: dict[Slug, Slug] = Field(
        default={}, description="dataset of the studies -> what is used in its place, with images of the same shape"
    )
    code: Annotated[list[Place], Once] = Field(
        default=[], description="folders with Python files of your own, from which a study names functions"
    )
    suite: Slug = Field(default="quick", description="which suite of studies/worst.yaml is behind the worst cases")
    only: Only = Field(default=Only(), description="which part of the studies to run")
    amp: Literal["bf16"] | None = Field(
        default=None,
        description="bf16: layers of a model in training run in bfloat16 where autocast does so; CUDA only",
    )
    compile: bool = Field(
        default=False, description="compile models in training, where the defense allows it; changes the bits"
    )
    checkpoint: Checkpoints = Field(
        default=Checkpoints(),
        description="how often a training saves what it needs to go on after a kill; decides no number",
    )
    jobs_per_card: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        description="how many jobs may share a GPU of a machine that has several; decides no number",
    )
    caps: list[Cap] = Field(default=[], description="what is cut short")
    pages: bool = Field(
        default=False,
        description="write the pages on which people say what they see, as the target human_study does",
    )
    answers: dict[Slug, Place] = Field(
        default={}, description="study -> the folder of the CSV files that people have sent back"
    )


class Lines:
    """Where each key of a YAML file stands, by the tree of nodes that its values were made of."""

    def __init__(self, path: Path, root: Node | None = None) -> None:
        self.path, self._root = path, root

    def of(self, key: Key) -> int:
        """Return the 1-based line of a key path, or of its nearest existing parent."""
        return next((self._known[key[:n]] for n in range(len(key), 0, -1) if key[:n] in self._known), 1)

    @cached_property
    def _known(self) -> dict[Key, int]:
        found = dict[Key, int]()
        todo: list[tuple[Key, Node | None]] = [((), self._root)]
        while todo:
            key, node = todo.pop()
            for part, (start, value) in _parts(node).items():
                found[*key, part] = start.start_mark.line + 1
                todo.append(((*key, part), value))
        return found

    def problem(self, key: Key, text: str) -> str:
        """Format one problem: file:line: key: text."""
        return f"{self.path}:{self.of(key)}: {dotted(key) or '(top level)'}: {text}"


def dotted(key: Key) -> str:
    """Write a key as messages have it."""
    return ".".join(map(str, key))


def _parts(node: Node | None) -> dict[Any, tuple[Node, Node]]:
    """Map each key or number to the nodes where it begins and of its value; what is merged comes before what is not."""
    if isinstance(node, MappingNode):
        made = _parser().constructor.construct_object
        return {made(key): (key, value) for key, value in node.value if isinstance(key, ScalarNode)}
    return dict(enumerate((item, item) for item in node.value)) if isinstance(node, SequenceNode) else {}


class _Constructor(SafeConstructor):
    """Makes values of nodes, and says where one cannot be made."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            made = super().construct_object(node, deep)
            str(made if isinstance(made, int) else "")  # of 4,301 digits it could not be named in a message
            return made
        except (KeyError, ValueError) as error:  # of int(), float(), date(), str() and a table of booleans
            kind = str(node.tag).rpartition(":")[2]
            text = f"cannot be read as {kind}: {str(node.value)[:40]!r}"
            raise ConstructorError(None, None, text, node.start_mark) from error


def _parser() -> YAML:
    parser = YAML(typ="safe", pure=True)
    parser.Constructor = _Constructor
    parser.max_depth = DEEPEST
    return parser


@lru_cache(maxsize=64)
def _nodes(text: str) -> Node | None:
    """Parse YAML text to its nodes, nine tenths of the time to read it; a process that plans twice does it once."""
    return cast("Node | None", _parser().compose(text))


def read(path: Path, *, may_be_empty: bool = False) -> tuple[dict[Any, Any], Lines]:
    """Parse a YAML file: its plain values, and where they stand.

    Args:
        path: of the file.
        may_be_empty: a file without a key is an empty mapping.

    Raises:
        ConfigError: if the file is missing, is not YAML, repeats a key, is not a mapping, has no end, or hides
            something in a text.
    """
    root = None
    try:
        text = path.read_text(encoding="utf-8")
        root = _nodes(text)
        values = None if root is None else _parser().constructor.construct_document(root)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: not UTF-8 text: {error.reason} at byte {error.start}"]) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError([f"{path}:{line}: not valid YAML: {error.reason}, got {chr(error.character)!r}"]) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, key = (mark.line + 1, _key_at(root, mark.index)) if mark else (1, None)
        where = f"{path}:{line}: {dotted(key)}" if key else f"{path}:{line}"
        deep = isinstance(error, MaxDepthExceededError)
        said = "brackets or lists are nested too deeply" if deep else str(error.problem).splitlines()[0]
        raise ConfigError([f"{where}: not valid YAML: {said}"]) from error
    _must_end(path, values)
    if values is None and may_be_empty:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError([f"{path}:1: expected a mapping of keys to values, got {type(values).__name__}"])
    lines = Lines(path, root)
    if hidden := [
        lines.problem(key, f"{NO_UNSEEN}, got {text!r}") for key, text in _texts(values) if UNSEEN.search(text)
    ]:
        raise ConfigError(hidden)
    return values, lines


def _key_at(root: Node | None, index: int) -> Key | None:
    """Return the key that begins, or whose value begins, at a place of the text; None where there is none."""
    todo: list[tuple[Key, Node | None]] = [((), root)]
    while todo:
        above, node = todo.pop()
        pairs: list[tuple[Any, Node, Node]] = []  # not made yet: one of them cannot be
        if isinstance(node, MappingNode):
            pairs = [(str(key.value), key, value) for key, value in node.value]
        elif isinstance(node, SequenceNode):
            pairs = [(number, item, item) for number, item in enumerate(node.value)]
        for part, start, value in pairs:
            if index in (start.start_mark.index, value.start_mark.index):
                return (*above, part)
            if start.start_mark.index < index:  # what an alias names stands before it
                todo.append(((*above, part), value))
    return None


def _must_end(path: Path, values: Any) -> None:
    """Refuse a file whose aliases make more of it than anybody means.

    Raises:
        ConfigError: if a value contains itself, or all of them are too many.
    """
    many = _count(values, frozenset(), {})
    if many == math.inf:
        raise ConfigError([f"{path}: not a config or study: an alias (*name) stands inside what it names"])
    if many > MOST_VALUES:
        raise ConfigError([f"{path}: not a config or study: it has {many:,} values, more than {MOST_VALUES:,}"])


def _count(value: Any, above: frozenset[int], known: dict[int, float]) -> float:
    """Count a value and what it contains, as often as it is named; infinite if it contains itself."""
    if id(value) in above:
        return math.inf
    if id(value) not in known:
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        counted = 1 + sum(_count(part, above | {id(value)}, known) for part in parts)
        if not parts:
            return counted
        known[id(value)] = counted
    return known[id(value)]


def _texts(value: Any, key: Key = ()) -> Iterator[tuple[Key, str]]:
    """Yield every text of a value, keys too, with the key that it stands at."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield (*key, name), str(name)
            yield from _texts(inner, (*key, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, (*key, number))


def parse(model: type[Definition], values: Any, lines: Lines) -> Definition:
    """Check plain values against a typed model.

    Raises:
        ConfigError: naming file, line, key, value and what is allowed, for every problem at once.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        seen: dict[str, None] = {}
        for item in error.errors():
            key = _strip(values, item["loc"])
            seen.setdefault(lines.problem(key, _explain(model, item, key)))
        raise ConfigError(list(seen)) from error


def _strip(values: Any, loc: Sequence[str | int]) -> Key:
    """Drop the parts of pydantic's location that are not keys of the file (names of union members)."""
    key: list[str | int] = []
    for part in loc:
        inside = isinstance(values, list) and isinstance(part, int) and part < len(values)
        if inside or (isinstance(values, dict) and part in values):
            values = values[part]
            key.append(part)
        elif part == loc[-1] and isinstance(values, dict) and not str(part)[:1].isupper() and "[" not in str(part):
            key.append(part)  # a missing key
    return tuple(key)


def _explain(model: type[BaseModel], item: Any, key: Key) -> str:
    if item["type"] == "extra_forbidden":
        return f"unknown key {key[-1]!r}; {nearest(str(key[-1]), _fields(model, key[:-1]))}"
    if item["type"] == "missing":
        return "this key is required"
    if item["type"] in ("model_type", "dict_type"):
        return f"must be a mapping of keys to values (got {item['input']!r})"
    got = f" (got {item['input']!r})" if not isinstance(item["input"], dict | list) else ""
    if item["type"] == "string_pattern_mismatch" and SLUG in str(item.get("ctx")):
        return f"must be lower-case letters, digits, '+' and '-', beginning with a letter or digit{got}"
    return f"{item['msg'][0].lower()}{item['msg'][1:]}{got}"


def _fields(model: Any, key: Key) -> list[str]:
    """Names allowed under `key`: walk the annotations of the model."""
    for part in key:
        info = model.model_fields.get(str(part)) if isinstance(model, type) and issubclass(model, BaseModel) else None
        model = info.annotation if info else model
        while not (isinstance(model, type) and issubclass(model, BaseModel)):
            args = [a for a in getattr(model, "__args__", ()) if a is not type(None) and a is not str and a is not int]
            if not args:
                return []
            model = args[-1]
    return list(model.model_fields)


def load(path: Path) -> tuple[Config, Lines]:
    """Read and check one run's config file, and say where its keys stand; raises ConfigError with every problem."""
    values, lines = read(path)
    return parse(Config, values, lines), lines
