"""What a text may do in a report: be read. Studies, checkpoints and records come from anybody.

Between reading and writing a document pandoc gives it as a tree, {"t": kind, "c": content}. In that tree code in HTML
or typst, attributes such as `onclick`, links that run something and files from elsewhere become plain text, in whatever
Markdown they were written; only the few pieces of code that reports write themselves stay.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

# form of raw code -> what reports write of it themselves: what is folded, and a turned page
OWN_CODE = {"html": re.compile(r"</?(details|summary)>|<br>"), "typst": re.compile(r"#landscape\[|\]")}
LINK = re.compile(r"https?://[^\s\\]+|mailto:[^\s\\]+|(?!//)[\w./+-]*(#[\w.+-]+)?")  # no other scheme: no javascript:
IMAGE = re.compile(r"(?!/)(?!.*\.\./)[\w./+-]+\.(svg|png|pdf)")  # a figure beside the report


def harmless(document: str) -> str:
    """Return a document of pandoc, as JSON, in which texts are only read."""
    return json.dumps(_cleaned(json.loads(document)))


def _cleaned(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        inside = {key: _cleaned(value) for key, value in tree.items()}
        change = _CHANGES.get(str(tree.get("t")))
        return change(inside) if change else inside
    if isinstance(tree, list):
        inner = [_cleaned(item) for item in tree]
        return [*inner[:2], []] if _is_attributes(inner) else inner
    return tree


def _is_attributes(value: list[Any]) -> bool:
    """Say whether a list is [id, classes, [[key, value], ...]]."""
    if len(value) != 3 or not isinstance(value[0], str):
        return False
    pairs = value[2] if isinstance(value[2], list) else [""]
    return isinstance(value[1], list) and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)


def _code(element: dict[str, Any]) -> Any:
    form, text = element["c"]
    if form in OWN_CODE and OWN_CODE[form].fullmatch(text):
        return element
    words = {"t": "Str", "c": text}
    return {"t": "Plain", "c": [words]} if element["t"] == "RawBlock" else words


def _link(element: dict[str, Any]) -> Any:
    _, words, (target, _) = element["c"]
    return element if LINK.fullmatch(target) else _span(words)


def _image(element: dict[str, Any]) -> Any:
    _, words, (target, _) = element["c"]
    return element if IMAGE.fullmatch(target) else _span(words)


def _span(words: list[Any]) -> dict[str, Any]:
    return {"t": "Span", "c": [["", [], []], words]}


_CHANGES: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "RawInline": _code,
    "RawBlock": _code,
    "Link": _link,
    "Image": _image,
}
