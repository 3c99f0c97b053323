"""What values options may have: the words for the annotations of attacks, defenses, models and plots. No torch here.

An annotation is the one place that says what an option may be. `mismatch` holds a value against it: a study is checked
so before any job, from the text of the annotation, which must be made of the words of this module.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import AllowInfNan, ConfigDict, TypeAdapter, ValidationError

from touchstone.registry import LossName, meant

FINITE = AllowInfNan(allow_inf_nan=False)

MOST = 1_000_000_000  # of whatever is counted: beyond it nothing ends, or fits
Count = Annotated[int, Ge(1), Le(MOST)]
Whole = Annotated[int, Ge(0), Le(MOST)]
Positive = Annotated[float, Gt(0), FINITE]
NotNegative = Annotated[float, Ge(0), FINITE]
AtLeastOne = Annotated[float, Ge(1), FINITE]
Share = Annotated[float, Ge(0), Le(1)]
BelowOne = Annotated[float, Ge(0), Lt(1)]  # a share that is never all
PrintedOrCoded = Literal["printed", "coded"]  # the paper's text, the authors' code
Space = Literal["pixel", "normalized", "whitened"]  # touchstone.threat.SPACES

# what the text of an annotation may use, besides None
NAMES: dict[str, Any] = {
    **{kind.__name__: kind for kind in (int, float, str, bool, Sequence, Mapping, Ge, Gt, Le, Lt, MinLen)},
    **{"Annotated": Annotated, "Any": Any, "Literal": Literal, "FINITE": FINITE, "MOST": MOST, "LossName": LossName},
    **{"Count": Count, "Whole": Whole, "Positive": Positive, "NotNegative": NotNegative, "AtLeastOne": AtLeastOne},
    **{"Share": Share, "BelowOne": BelowOne, "PrintedOrCoded": PrintedOrCoded, "Space": Space},
}
# what it may be made of: without attributes, functions and loops nothing runs that NAMES do not name
_WORDS: tuple[type[ast.AST], ...] = (
    *(ast.Expression, ast.Name, ast.Load, ast.Constant, ast.Tuple, ast.List, ast.Subscript, ast.Call, ast.keyword),
    *(ast.BinOp, ast.BitOr, ast.UnaryOp, ast.USub),
)
# mark -> its sign, and where its number is
_LIMITS = {Ge: (">=", "ge"), Gt: (">", "gt"), Le: ("<=", "le"), Lt: ("<", "lt"), MinLen: ("of length >=", "min_length")}


@cache
def hint(annotation: str) -> Any:
    """Return what the text of an annotation means; of none, anything.

    Raises:
        ValueError: if it uses other words than NAMES, so that nothing could be held against it.
    """
    if not annotation:
        return Any
    try:
        tree = ast.parse(annotation, mode="eval")
        if strange := next(filter(None, map(_strange, _outside_literals(tree))), ""):
            raise ValueError(f"{strange} is no part of a range")
        return eval(compile(tree, "<annotation>", "eval"), {"__builtins__": {}}, NAMES)
    except Exception as error:  # whatever an expression can raise
        raise ValueError(f"no value can be held against the annotation {annotation!r}: {error}") from error


def _outside_literals(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of an expression but those of `Literal[...]`, which are values."""
    yield tree
    match tree:
        case ast.Subscript(ast.Name("Literal"), inside) if _is_literal(inside):
            return
    for node in ast.iter_child_nodes(tree):
        yield from _outside_literals(node)


def _is_literal(node: ast.expr) -> bool:
    return all(isinstance(one, ast.Constant) for one in (node.elts if isinstance(node, ast.Tuple) else [node]))


def _strange(node: ast.AST) -> str:
    """Say what a node is that no range is made of, "" for any other. A text would be read as a type, and so run."""
    text = isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    return "" if isinstance(node, _WORDS) and not text else f"{type(node).__name__} {ast.unparse(node)!r}"


@cache
def _adapter(allowed: Any) -> TypeAdapter[Any]:
    return TypeAdapter(allowed, config=ConfigDict(arbitrary_types_allowed=True))


def mismatch(value: Any, allowed: Any) -> str:
    """Return "" if a value is one of those that a hint allows, and else which it allows."""
    try:
        _adapter(allowed).validate_python(value, strict=True)
    except ValidationError:
        hint_at = meant(value, get_args(allowed)) if get_origin(allowed) is Literal and isinstance(value, str) else ""
        return f"{words(allowed)}, got {value!r}{hint_at}"
    return ""


def words(allowed: Any) -> str:
    """Say which values a hint allows."""
    origin, parts = get_origin(allowed), get_args(allowed)
    if origin is Annotated:
        kind, *marks = parts
        finite = "finite " if FINITE in marks else ""
        limits = " and ".join(_limit(mark) for mark in marks if mark is not FINITE)
        return f"{finite}{words(kind)} {limits}"
    if origin in (Union, UnionType):
        return " or ".join(words(part) for part in parts)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, parts))
    if origin is not None:  # a sequence or a mapping: of what stands last
        return f"{origin.__name__.lower()} of {words(parts[-1])}"
    return {NoneType: "None", Any: "anything"}.get(allowed) or str(allowed.__name__)


def _limit(mark: Any) -> str:
    sign, name = _LIMITS[type(mark)]
    return f"{sign} {getattr(mark, name)}"
