"""Inputs that a user may give: a valid run of one small study with every key, and what may be wrong with each.

`FILES` is valid and says every key of the schemas and every column. An `Input` is those files with one of them changed;
it says which key a message has to name, and whether nothing but a message will do. What the JSON schemas refuse must be
refused, so they are the judge of types, names and ranges; what no schema sees is said by the fault itself.
"""

import csv
import io
import json
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import yaml
from pydantic import TypeAdapter
from toy_claims import CLEAN, ROW

from touchstone.attacks import ATTACKS
from touchstone.data import reader
from touchstone.defenses import defense_spec
from touchstone.files import sum_of
from touchstone.models import model_spec
from touchstone.ranges import hint
from touchstone.registry import options
from touchstone.report.plots import PLOTS
from touchstone.study import claims, statements
from touchstone.study.config import Key, dotted
from touchstone.study.suites import SuitesFile
from touchstone.study.written import SCHEMAS

CONFIG, SUITES = "config.yaml", "studies/worst.yaml"
STUDY, CLAIMS, STATEMENTS, CAPTIONS, FIGURES = (
    f"studies/small/{name}" for name in ("study.yaml", "claims.csv", "qualitative.csv", "captions.yaml", "figures.csv")
)
YAMLS, SHEETS = (CONFIG, STUDY, SUITES, CAPTIONS), (CLAIMS, STATEMENTS, FIGURES)
OWN = b"pixels"  # what lies where the config says that data of the user's own do
WEIGHTS = b"weights"

_CONFIG = """
run: fuzz
studies: [small]
device: cuda
threads: 1
jobs: per_model
batch_size: 512
suite: quick
amp: bf16
compile: false
checkpoint: {epochs: 1, minutes: 10.0}
jobs_per_card: 1
code: [mine]
data:
  digits: {source: embedded}
  own: {source: {local: own.npz}}
  kmnist: {source: {mirror: "https://example.org/kmnist"}}
stand_in: {mnist: digits}
only:
  datasets: [mnist, own]
  models: [lenet]
  defenses: [std, adv]
  attacks: [pgd2, near, worst-linf]
caps:
  - {epochs: 1, seeds: 1, samples: 60, attack_steps: 1, assignments: 1}
  - where: {study: small, dataset: mnist, model: lenet, defense: adv, attack: worst-linf}
    steps: 2
    restarts: 1
    queries: 9
  - {where: {attack: cw}, binary_steps: 1}
pages: true
answers: {small: answers}
"""

_STUDY = f"""
study: small
title: A small study
citation: Nobody
headline: as it stands
report: study
seeds: {{mnist: 2}}
samples: {{first: 4}}
redraws: 1
datasets:
  own: {{fn: npz, sha256: {sum_of(OWN)}, shape: [1, 28, 28], classes: 10, mean: [0.5], std: [0.5], validation: 1}}
models:
  lenet: {{fn: lenet}}
  mlp: {{fn: mlp, init: msra, hidden: [8], normalize: {{mean: [0.5], std: [0.5]}}}}
recipes:
  mnist:
    optimizer: sgd
    lr: 0.1
    momentum: 0.9
    nesterov: true
    weight_decay: 0.001
    schedule: multistep
    milestones: [1]
    gamma: 0.5
    batch_size: 64
    epochs: 3
    validation_share: 0.1
    keep: last
    collapse: stop
    augment: {{crop: 1, translate: 0.1, fill: zero, flip: true, rotate: 5, resized_crop: true, probability: 0.5}}
  own: {{like: mnist}}
defenses:
  std:
    fn: ce
    adaptive: {{again: {{fn: pgd, steps: 2}}}}
  chosen: {{fn: ce, select: [{{l1: 0.1}}, {{l1: 0.2}}]}}
  adv:
    fn: adv
    norm: linf
    eps: {{mnist: 0.3}}
    attack_steps: 1
    step_size: 0.1
    phases: {{mnist: [{{init: std, optimizer: adam, betas: [0.9, 0.99], lr: 0.1, batch_size: 8}}]}}
  critic:
    fn: critic
    variant: coded
    lam: 0.1
    phases:
      - optimizer: sgd
        lr: 0.1
        momentum: 0.5
        nesterov: true
        weight_decay: 0.01
        schedule: multistep
        milestones: [1]
        gamma: 0.1
        epochs: 3
        batch_size: 8
        validation_share: 0.1
        keep: best_val
        collapse: finish
        augment: {{crop: 2}}
        groups:
          critic:
            {{optimizer: adam, betas: [0.5, 0.9], lr: 0.1, weight_decay: 0.1, schedule: exponential, gamma: 0.5}}
      - groups: {{critic: {{optimizer: sgd, lr: 0.1, momentum: 0.5, nesterov: true}}}}
weights:
  - dataset: mnist
    model: lenet
    defense: critic
    files: [{{file: critic.pt, sha256: {sum_of(WEIGHTS)}, key: net, format: torch}}]
selection:
  reference: std
  tolerance: {{mnist: 0.1}}
  seed: 1000
  epochs: {{mnist: 1}}
  probe: pgd2
  probe_samples: 10
  amended: [nothing yet]
threats:
  linf: {{norm: linf, space: {{mnist: pixel}}, bounds: data, epsilons: {{mnist: [0.1, 0.3]}}}}
  l2: {{norm: l2, space: pixel, epsilons: {{mnist: {{std: [1.0], chosen: [1.0], adv: [2], critic: [1.0]}}}}}}
attacks:
  clean: {{fn: clean}}
  near: {{fn: deepfool, threat: linf, budget_rule: shrink_and_retest}}
  pgd2: {{fn: pgd, threat: linf, steps: 2}}
  pgd4: {{fn: pgd, threat: linf, steps: {{mnist: 4}}, step_size: 0.1, restarts: 1, samples: {{first: 2}}}}
  tuned: {{fn: pgd, threat: linf, grid: {{step_size: [0.1, 0.2]}}}}
  taken: {{fn: pgd, threat: linf, steps: 3, grid_from: tuned}}
  cw: {{fn: cw, threat: l2, steps: 4, binary_steps: 2, lr: 0.01, init_const: 0.001}}
  moved: {{fn: transfer, threat: linf, attack: pgd, substitute: {{mnist: lenet/std}}, options: {{steps: 2}}}}
  foreign:
    fn: external-fixed
    threat: linf
    target: "touchstone.attacks.pgd:pgd"
    convention: call
    radius: eps
    options: {{steps: {{mnist: 3}}}}
worst: {{linf: [linf]}}
plain: {{mnist: lenet/std}}
cells:
  - {{datasets: [mnist, own], models: [lenet], defenses: [std, adv], attacks: [pgd2, taken]}}
  - {{datasets: [mnist], models: [lenet], defenses: [critic, chosen], attacks: [cw, moved]}}
people:
  cells: [{{datasets: [mnist], models: [lenet], defenses: [adv], attacks: [near]}}]
  seeds: 1
  assignments: 1
  images: 2
  seed: 0
readings:
  headline: {{}}
  more:
    mark: only with more steps
    attack: {{pgd2: pgd4}}
    defense: {{adv: critic}}
    model: {{lenet: mlp}}
    metric: {{accuracy: error}}
near_zero: {{headline: 0.01, thresholds: [0.01, 0.1], parameters: [net.conv1.weight]}}
paired: {{match: [clean]}}
monitor: {{defenses: [std], attack: {{mnist: pgd2}}, every: 1, samples: 4}}
labels: {{std: Std.}}
tables:
  table1:
    {{source_table: Table 1, title: Accuracy, dataset: mnist, shape: {{rows: attack, columns: defense, blocks: norm}}}}
  lost: {{lost: {{number: "2", metric: accuracy, defense: std}}, title: Lost, shape: {{rows: attack, columns: model}}}}
figures:
  worst-case: {{fn: worst-case}}
  gallery: {{fn: gallery, datasets: [mnist], models: [lenet], defenses: [std, adv], attacks: [pgd2], epsilon: 0.1}}
  features: {{fn: features, datasets: [mnist], defenses: [std], samples: 8, attacks: [near]}}
  sweep: {{fn: sweep, datasets: [mnist], defenses: [adv], attacks: [pgd2], along: [step_size], metrics: [accuracy]}}
"""

_SUITES = """
quick:
  linf:
    pgd-ce: {fn: pgd, steps: 2, restarts: 2}
    square: {fn: square, queries: 10}
    from-plain: {fn: transfer, substitute: plain}
"""
_CAPTIONS = {"claim": "It says so.", **{name: "It falls." for name in ("worst-case", "gallery", "features", "sweep")}}
_CLAIM = ROW | {"paper": "small", "epsilon_unit": "pixel01", "cell_attack": "pgd2", "std": "0.01", "n_runs": "3"}
_CLAIM |= {"attack_params": "steps=2", "threat": "white-box", "note": "read twice", "train_params": "epochs=3"}
_PAIRED = {"attack": "near", "cell_attack": "near", "attack_params": "", "source_table": "Table 3"}
_ROWS = [
    _CLAIM | {"alternative": "0.4;0.6", "source_ref": "page 3"},
    _CLAIM | {"id": "b", "defense": "adv", "cell_defense": "adv"} | CLEAN,
    _CLAIM | {"id": "c", "cited": "Somebody"},
    _CLAIM | dict.fromkeys([*claims.CELL, "cell_epsilon", "cell_metric"], "") | {"id": "d", "out_of_scope": "a plot"},
    _CLAIM | {"id": "e-lo", "metric": "accuracy_lo", "value": "0.1", "source_table": "Table 2"},
    _CLAIM | {"id": "e-hi", "metric": "accuracy_hi", "value": "0.2", "source_table": "Table 2"},
    _CLAIM | _PAIRED | {"id": "f", "against": "tuned"},
    _CLAIM | {"id": "g", "attack": "tuned", "cell_attack": "tuned", "attack_params": "", "source_table": "Table 3"},
]
_SAID = {"paper": "small", "claim": "adv is better", "evidence_table": "Table 1", "published_numbers_agree": "yes"}
_SAID |= dict.fromkeys(["how_to_test", "threshold"], "") | {"datasets": "mnist"}
_STATEMENTS = [
    _SAID | {"id": "s1", "how_to_test": "compare", "test": "above adv std under pgd2 near on lenet/adv"},
    _SAID | {"id": "s2", "test": "at-least 0.5 adv; more-robust rho_adv adv std", "threshold": "as printed"},
    _SAID | {"id": "s3", "test": "not-testable nobody measured it"},
]
_DRAWN = {"paper": "small", "figure": "Figure 1", "x": "epsilon", "y": "accuracy", "series": "std; adv"}
_FIGURES = [_DRAWN | {"claim": "It falls", "datasets_models": "mnist; lenet", "drawn": "worst-case"}]


class _Plain(yaml.CSafeDumper):
    """Without anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _sheet(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def dump(values: Any) -> str:
    """YAML with each key on a line of its own."""
    return yaml.dump(values, Dumper=_Plain, sort_keys=False, default_flow_style=False, width=10**9)


VALUES: dict[str, Any] = {
    **{CONFIG: yaml.safe_load(_CONFIG), STUDY: yaml.safe_load(_STUDY), SUITES: yaml.safe_load(_SUITES)},
    CAPTIONS: _CAPTIONS,
}
ROWS: dict[str, list[dict[str, str]]] = {CLAIMS: _ROWS, STATEMENTS: _STATEMENTS, FIGURES: _FIGURES}
FILES = {name: dump(values) for name, values in VALUES.items()} | {n: _sheet(rows) for n, rows in ROWS.items()}


# ---- what may stand where


class Schema(NamedTuple):
    """A JSON schema and the definitions that it refers to."""

    root: Mapping[str, Any]
    defs: Mapping[str, Any]

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> "Schema":
        return cls(schema, schema.get("$defs", {}))

    def alternatives(self) -> Iterator[Mapping[str, Any]]:
        """What it may be, each without a choice."""
        if "$ref" in self.root:
            yield from self._replace(root=self.defs[self.root["$ref"].rpartition("/")[2]]).alternatives()
        elif choices := self.root.get("anyOf", self.root.get("oneOf")):
            for one in choices:
                yield from self._replace(root=one).alternatives()
        else:
            yield self.root

    @property
    def free(self) -> bool:
        """Whether anything may stand there."""
        return not any(self.alternatives())

    def allows(self, value: Any) -> bool:
        return jsonschema.Draft202012Validator({**self.root, "$defs": self.defs}).is_valid(value)

    def below(self, part: str | int) -> "Schema":
        """What is said of a key or an item in any alternative; anything where nothing is."""
        inside = _item if isinstance(part, int) else _value
        found = [one for kind in self.alternatives() if isinstance(one := inside(kind, part), Mapping)]
        return self._replace(root={"anyOf": found} if found else {})


def _item(kind: Mapping[str, Any], part: Any) -> Any:
    first = kind.get("prefixItems", [])
    return first[part] if part < len(first) else kind.get("items")


def _value(kind: Mapping[str, Any], part: Any) -> Any:
    (named,) = kind.get("patternProperties", {"": kind.get("additionalProperties")}).values()
    return kind.get("properties", {}).get(part, named)


@cache
def schema_of(file: str) -> Schema:
    texts = {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}}
    made = {CONFIG: SCHEMAS["config"], STUDY: SCHEMAS["study"], SUITES: SuitesFile.model_json_schema}
    return Schema.of(made[file]() if file in made else texts)


_TARGETS: Mapping[str, Callable[[str], list[str]]] = {
    "datasets": lambda fn: [reader(fn)],
    "models": lambda fn: [model_spec(fn).fn],
    "defenses": lambda fn: [defense_spec(fn).fn],
    "attacks": lambda fn: [ATTACKS[one].fn for one in (fn, *ATTACKS[fn].wraps[:1])],
    "figures": lambda fn: [PLOTS[fn].fn, PLOTS[fn].read],
}


@cache
def option_at(file: str, path: Key) -> Schema | None:
    """What the signature of a function says of an option that a path leads to, by dataset too where that may be."""
    owners = [path[:n] for n in range(len(path)) if isinstance(one := at(file, path[:n]), dict) and "fn" in one]
    if not owners:
        return None
    fn, rest = at(file, owners[-1])["fn"], path[len(owners[-1]) :]
    section = "attacks" if file == SUITES or "adaptive" in owners[-1] else str(path[0])
    known = {name: one for target in _TARGETS[section](fn) for name, one in options(target).items()}
    found = next((part for part in reversed(rest) if part in known), None)
    if found is None or rest[0] == "phases" or rest[:2] == rest == ("grid", found):
        return None
    schema = Schema.of(TypeAdapter(hint(known[found].annotation)).json_schema())
    inside = rest[rest.index(found) + 1 :]
    if found == "options" and inside:  # of a foreign attack, which alone knows what they may be
        return None
    if rest[0] == "grid" or not any(isinstance(part, int) for part in inside):
        free = {"type": "object"} if section in ("attacks", "defenses") else {"not": {}}
        return Schema.of({**schema.defs, "anyOf": [schema.root, free]})
    return schema.below(inside[-1])


def at(file: str, path: Key) -> Any:
    found: Any = VALUES[file]
    for part in path:
        found = found[part]
    return found


# ---- what may be wrong with a value


class Fault(NamedTuple):
    """What a value becomes, and whether nothing but a message will do, whatever a schema says of it."""

    kind: str
    value: Any
    sure: bool = False


MARKUP = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    '"]) #eval("1") #read("/etc/passwd") $#panic()$ `x` \\ */ // <label>',
    "$(touch x); `touch x` | touch x && touch x {} {x} %s %(x)s ${x} 'x' \"x\"",
    "[a](javascript:alert(1)) ![b](file:///etc/passwd) **c** ::: {=html} ```{=typst}",
    "../../etc/passwd",
    "-x --help",
)
SURROGATE = "\ue000"  # no emitter writes half a character: this one stands for it until it is written
UNSEEN = ("\x00", "\x07", "\x1b[31m", "\r", "\x7f", "\x85", SURROGATE)
OTHERS = (True, 7, 7.5, "word", ["word"], {"word": "word"})  # of each type
WRITTEN = ("8/255", "30 %", "0.3px", "1,5", "1e-3 s", "1", "0x10", "1_000", "١")  # numbers to people, and not here


def of_value(value: Any, schema: Schema) -> Iterator[Fault]:
    """Everything that may be wrong with one value."""
    yield from (Fault("wrong type", other) for other in OTHERS if type(other) is not type(value))
    yield from (Fault("empty", nothing) for nothing in ("", [], {}, None) if nothing != value)
    yield from (Fault("not finite", number, sure=True) for number in (math.nan, math.inf, -math.inf))
    yield from (Fault("huge", much) for much in (10**30, -(10**30), 1e300, "x" * 100_000, ["x"] * 1000))
    yield from (Fault("out of range", number) for number in _beyond(schema))
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield from (Fault("foreign unit", text) for text in WRITTEN)
    if isinstance(value, str):
        yield from (Fault("control character", value + unseen, sure=True) for unseen in UNSEEN)
        yield from (Fault("markup", text) for text in MARKUP)
        yield from (
            Fault("another word", text) for text in (value.upper() + "Q", value + " ", value + "q", "é" + value)
        )
    if isinstance(value, list):
        yield Fault("twice", [*value, *value])


def _beyond(schema: Schema) -> Iterator[Any]:
    """Numbers and lists just outside of what a schema allows."""
    for kind in schema.alternatives():
        step = 1 if kind.get("type") == "integer" else 1e-6
        yield from (kind[key] - step for key in ("minimum",) if key in kind)
        yield from (kind[key] + step for key in ("maximum",) if key in kind)
        yield from (kind[key] for key in ("exclusiveMinimum", "exclusiveMaximum") if key in kind)


# ---- inputs


@dataclass(frozen=True, eq=False)
class Input:
    """One file of the run as somebody may have written it.

    Attributes:
        fault: its kind.
        file: which one it is.
        key: where the fault is, as a message has it; "" for the file as a whole.
        refused: whether nothing but a message that names the key will do.
        make: its content, and the line of the key, or where that is missing of what it is missing from; 0: none.
    """

    fault: str
    file: str
    key: str
    refused: bool
    make: Callable[[], tuple[bytes, int]]

    def __str__(self) -> str:
        return f"{self.file}: {self.key or 'all of it'}: {self.fault}"


def walk(file: str) -> Iterator[tuple[Key, Any, Schema]]:
    """Every value of a YAML file, the file's own first, with what may stand there."""

    def below(path: Key, value: Any, schema: Schema) -> Iterator[tuple[Key, Any, Schema]]:
        yield path, value, schema
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for part, one in inner:
            place = (*path, part)
            said = schema.below(part)
            yield from below(place, one, option_at(file, place) or said if said.free else said)

    return below((), VALUES[file], schema_of(file))


def of_yaml(file: str) -> Iterator[Input]:
    """Every single fault of a YAML file."""
    for path, value, schema in walk(file):
        for fault in of_value(value, schema) if path else ():
            yield _with(file, path, fault, sure=not schema.allows(fault.value))
        if isinstance(value, dict):
            option = "fn" in value or bool({"options", "select"} & {*path})
            for key in value:
                rest = {name: one for name, one in value.items() if name != key}
                yield _with(file, (*path, key), Fault("missing", ...), sure=not schema.allows(rest))
                yield _twice(file, (*path, key))
            unknown = Fault("unknown key", 7, sure=option)
            yield _with(file, (*path, "zzz"), unknown, sure=not schema.allows({**value, "zzz": unknown.value}))


def _with(file: str, path: Key, fault: Fault, *, sure: bool) -> Input:
    """Another value at a path; of what is wrong within the list that an option is a message names the option."""
    listed = isinstance(path[-1], int) and option_at(file, path) and "grid" not in path
    named = path[:-1] if listed else path

    def make() -> tuple[bytes, int]:
        document = deepcopy(VALUES[file])
        inside = document
        for part in path[:-1]:
            inside = inside[part]
        if fault.value is ...:
            del inside[path[-1]]
        else:
            inside[path[-1]] = fault.value
        text = dump(document)
        lines = lines_of(text)
        return text.replace(r"\uE000", r"\uD800").encode(), lines.get(named, lines[path[:-1]])[0]

    return Input(fault.kind, file, dotted(named), fault.sure or sure, make)


def _twice(file: str, path: Key) -> Input:
    """A key with its value stands there once more."""

    def make() -> tuple[bytes, int]:
        start, end = lines_of(FILES[file])[path]
        lines = FILES[file].splitlines()
        first = re.sub(r"^( *)- ", r"\1  ", lines[start - 1])  # where a list's item begins
        block = [first, *lines[start : end - 1]]
        return "\n".join([*lines[: end - 1], *block, *lines[end - 1 :], ""]).encode(), end

    return Input("duplicate key", file, dotted(path), True, make)


def lines_of(text: str) -> dict[Key, tuple[int, int]]:
    """Path -> its first line, and the one after its last; read by another parser than that of the package."""
    found: dict[Key, tuple[int, int]] = {(): (1, 1)}

    def below(path: Key, node: yaml.Node) -> None:
        pairs: list[tuple[Any, yaml.Node, yaml.Node]] = []
        if isinstance(node, yaml.MappingNode):
            pairs = [(key.value, key, inner) for key, inner in node.value]
        elif isinstance(node, yaml.SequenceNode):
            pairs = [(number, inner, inner) for number, inner in enumerate(node.value)]
        for part, start, inner in pairs:
            on_the_line = isinstance(inner, yaml.ScalarNode) or inner.flow_style
            found[*path, part] = (start.start_mark.line + 1, inner.end_mark.line + 1 + bool(on_the_line))
            below((*path, part), inner)

    below((), yaml.compose(text, Loader=yaml.CSafeLoader))
    return found


# ---- of a sheet

_NUMBERS = ("value", "epsilon", "std", "n_runs", "cell_epsilon")
_NAMES = ("id", "paper", "norm", "epsilon_unit", "unit", "certainty", "metric", *claims.CELL, "cell_metric", "against")
_NAMES += ("test", "drawn")
_OPTIONAL = (*claims.OPTIONAL, *statements.OPTIONAL)
NO_NUMBERS = ("word", "nan", "inf", "-inf", "1e400", "8/255", "30 %", "0.3px", "1,5", "1_0", "0x10", "١", " 1", "=1+1")
OF_CSV = tuple(unseen for unseen in UNSEEN if unseen != SURROGATE)  # UTF-8 has none


def of_sheet(file: str) -> Iterator[Input]:
    """Every single fault of a CSV file: in each column of its first rows, of a column, and of a line."""
    rows = ROWS[file]
    for number, column in product(range(len(rows)), rows[0]):
        there = bool(rows[number][column])
        about = {"metric": "cell_metric", "epsilon_unit": "epsilon"}.get(column, column)  # without it a word is free
        named = column in _NAMES and there and bool(rows[number][about])
        texts = [Fault("control character", "a" + unseen, sure=True) for unseen in OF_CSV]
        texts += [Fault("markup", text, sure=named) for text in MARKUP]
        texts += [Fault("huge", text, sure=column in _NUMBERS) for text in ("x" * 100_000, "9" * 400)]
        if column in _NUMBERS:
            texts += [Fault("no number", text, sure=True) for text in NO_NUMBERS]
            texts += [Fault("out of range", text) for text in ("-1", "1e9", "0")]
        elif column in _NAMES:
            texts += [
                Fault("another word", text, sure=named) for text in ("Zzz", "é", *(["zzz"] if column != "id" else []))
            ]
        texts += [Fault("empty", "", sure=column in ("id", "paper", "value"))] if there else []
        for fault in texts:
            yield _cell(file, number, column, fault)
    for column in rows[0]:
        rest = [{name: text for name, text in row.items() if name != column} for row in rows]
        yield Input("missing", file, column, column not in _OPTIONAL, partial(_first_line, _sheet(rest)))
        twice = _sheet(rows).replace(f'"{column}"', f'"{column}","{column}"', 1)
        yield Input("duplicate key", file, column, True, partial(_first_line, twice))
    yield Input("unknown key", file, "zzz", True, partial(_first_line, _sheet([{**row, "zzz": "7"} for row in rows])))
    for number in range(len(rows)):
        lines = _sheet(rows).splitlines()
        for fault, text in (
            ("short line", lines[number + 1].rpartition(",")[0]),
            ("long line", lines[number + 1] + ',"x"'),
        ):
            lines[number + 1] = text
            yield Input(fault, file, "", True, partial(_at_line, "\n".join(lines), number + 2))


def _cell(file: str, number: int, column: str, fault: Fault) -> Input:
    def make() -> tuple[bytes, int]:
        rows = deepcopy(ROWS[file])
        rows[number][column] = fault.value
        return _sheet(rows).encode(), number + 2

    return Input(fault.kind, file, column, fault.sure, make)


def _first_line(text: str) -> tuple[bytes, int]:
    return _at_line(text, 1)


def _at_line(text: str, line: int) -> tuple[bytes, int]:
    return text.encode(), line


# ---- of a whole file

LAUGHS = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))
TAILS: Mapping[str, str] = {  # of a YAML file, none of which is one then
    "tab": "\tx: 1\n",
    "bracket": "x: [1\n",
    "quote": 'x: "1\n',
    "nul": "x: \0\n",
    "tag": "x: !!python/object/apply:os.system [touch x]\n",
    "unknown tag": "x: !mine 1\n",
    "second document": "---\nx: 1\n",
    "alias of nothing": "x: *nothing\n",
    "alias in itself": "x: &x [*x]\n",
    "many brackets": f"x: {'[' * 3000}{']' * 3000}\n",
    "many aliases": "l0: &l0 [1]\n" + LAUGHS,
    "key that is a list": "? [1, 2]\n: 3\n",
    "key that is no text": "7: 8\n",
    "key that is nothing": "~: 8\n",
    "long number": f"x: {'9' * 5000}\n",
    "wrong date": "x: 2001-13-45\n",
    "merge of no mapping": "<<: 7\n",
    "percent": "%x\n",
}


def of_file(file: str, rng: random.Random) -> Iterator[Input]:
    """Faults of a file as a whole: its encoding, its ends, and bytes that somebody has lost."""
    text = FILES[file]
    accents = text.replace("It falls", "Es f\u00e4llt").replace("Nobody", "N\u00e9mo").replace("read twice", "\u00fc")
    content = text.encode()
    whole: dict[str, tuple[bytes, bool]] = {
        "latin-1": (accents.encode("latin-1"), accents != text),
        "cp1252": (text.encode() + "# \u201c".encode("cp1252"), True),
        "utf-16": (text.encode("utf-16"), True),
        "utf-16 without a mark": (text.encode("utf-16-le"), True),
        "utf-32": (text.encode("utf-32"), True),
        "mark": (b"\xef\xbb\xbf" + content, False),
        "two marks": (b"\xef\xbb\xbf" * 2 + content, True),
        "crlf": (content.replace(b"\n", b"\r\n"), False),
        "cr": (content.replace(b"\n", b"\r"), False),
        "no end": (content.rstrip(b"\n"), False),
        "blank lines": (b"\n\n" + content + b"\n\n", False),
        "nothing": (b"", file not in (STATEMENTS, FIGURES)),
        "white": (b"  \n\n", file not in (STATEMENTS, FIGURES)),
        "nul bytes": (b"\0" * 100, True),
        "noise": (rng.randbytes(2000), True),
        "page": (b"<!DOCTYPE html><html><body>404: not found</body></html>", True),
        "json": (json.dumps({"x": 1}).encode(), True),
        "list": (b"- 1\n- 2\n", True),
    }
    for fault, (made, sure) in whole.items():
        yield Input(fault, file, "", sure, partial(_bytes, made))
    for fault, tail in TAILS.items() if file in YAMLS else ():
        yield Input(fault, file, "", True, partial(_bytes, content + tail.encode()))
    for _ in range(20):
        yield Input("cut", file, "", False, partial(_bytes, content[: rng.randrange(len(content))]))
        spoilt = bytearray(content)
        spoilt[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        yield Input("flipped bit", file, "", False, partial(_bytes, bytes(spoilt)))
        lines = content.splitlines(keepends=True)
        del lines[rng.randrange(len(lines))]
        yield Input("lost line", file, "", False, partial(_bytes, b"".join(lines)))
        rng.shuffle(lines)
        yield Input("shuffled lines", file, "", False, partial(_bytes, b"".join(lines)))


def _bytes(content: bytes) -> tuple[bytes, int]:
    return content, 0


@cache
def inputs(file: str) -> list[Input]:
    """All of one file, in an order of chance that is always the same; each kind of fault is among the first of them."""
    rng = random.Random(file)
    found = [*(of_yaml if file in YAMLS else of_sheet)(file), *of_file(file, rng)]
    rng.shuffle(found)
    first = {one.fault: one for one in reversed(found)}
    return [*first.values(), *(one for one in found if first[one.fault] is not one)]


def write(folder: Path) -> None:
    """Write the valid run, and what it names."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "own.npz").write_bytes(OWN)
    (folder / STUDY).with_name("critic.pt").write_bytes(WEIGHTS)
    for name in ("mine", "answers"):
        (folder / name).mkdir()
